"""Delays of many choices in arrays, with each offloaded part at the server from its arrival on.

Shapes: K choices, N tasks.
"""

from collections.abc import Sequence

import numpy as np

from planning.scheduling.shared_server import Offload
from planning.search.arrays import Array, Index
from shared.policy import QueueDiscipline


class ArrivalDelays:
    """Sources, their links and the server's queue, for many choices in arrays; O(K N^2) time.

    The delays equal those of the common simulation if results stay at the server, nothing else works there, and devices
    are first come, first served. With round robin or shortest job first every task also needs a source of its own.
    Elsewhere they are an approximation. Earliest deadline first is approximated by first come, first served.
    """

    def __init__(self, tasks: Sequence[Offload], discipline: QueueDiscipline) -> None:
        """Lay the tasks' times side by side."""
        shape = len(tasks), max(len(task.routes) for task in tasks)
        self._source, self._send, self._server, self._after = (np.zeros(shape) for _ in range(4))
        for row, task in enumerate(tasks):
            columns = slice(len(task.routes))
            self._source[row, columns], self._send[row, columns] = task.source_ms, task.send_ms
            self._server[row, columns] = task.server_ms
            # The rest of the time, such as the result's way to the sink, follows the server and depends on no other
            # task.
            self._after[row, columns] = task.before_ms - task.source_ms - task.send_ms
        self._order = starting_order(tasks)
        self._discipline = discipline

    def delays_ms(self, choices: Index) -> Array:
        """Return the delays in ms of every choice, [K, N] as the choices."""
        columns = np.arange(choices.shape[1])
        arrival_ms, sizes_ms = self._arrival_ms(choices), self._server[columns, choices]
        if self._discipline is QueueDiscipline.ROUND_ROBIN:
            ends_ms = _shared_ms(arrival_ms, sizes_ms)
        else:
            ends_ms = _queued_ms(arrival_ms, sizes_ms, self._discipline is QueueDiscipline.SHORTEST_JOB_FIRST)
        return np.asarray(ends_ms + self._after[columns, choices])

    def _arrival_ms(self, choices: Index) -> Array:
        """Return when each task has left its source, [K, N] in ms.

        A source computes and sends its tasks one at a time, in starting order. It is a two-machine flow shop.
        """
        columns = np.arange(choices.shape[1])
        source, send = self._source[columns, choices], self._send[columns, choices]
        arrival = np.empty_like(source)
        for own in self._order:
            computed, sent = np.zeros(len(choices)), np.zeros(len(choices))
            # All jobs start at time 0, so that those which need no computing queue for the link before all others.
            for task in own:
                raw = source[:, task] == 0
                sent = np.where(raw, sent + send[:, task], sent)
                arrival[:, task] = sent
            for task in own:
                raw = source[:, task] == 0
                computed = computed + source[:, task]
                sends = ~raw & (send[:, task] > 0)
                sent = np.where(sends, np.maximum(sent, computed) + send[:, task], sent)
                arrival[:, task] = np.where(raw, arrival[:, task], np.where(sends, sent, computed))
        return arrival


def _queued_ms(arrival_ms: Array, sizes_ms: Array, shortest_first: bool) -> Array:
    """Return when each part ends at a server that works on one at a time, [K, N]; without a part, its arrival.

    Args:
        arrival_ms: [K, N] when each part is at the server.
        sizes_ms: [K, N] its time there; 0 if there is no part.
        shortest_first: whether the server takes the shortest part of those that are there, otherwise the earliest.
    """
    ends_ms, rows = arrival_ms.copy(), np.arange(len(arrival_ms))
    waiting = np.where(sizes_ms > 0, arrival_ms, np.inf)
    clock = np.zeros(len(arrival_ms))
    for _ in range(arrival_ms.shape[1]):
        # An idle server waits for the next arrival. Of the parts that are there then, one is served to its end.
        first = waiting.min(axis=1)
        clock = np.where(np.isfinite(first), np.maximum(clock, first), clock)
        here = waiting <= clock[:, None]
        if shortest_first:
            # Of equal sizes the earliest arrival is served first, which the argmin below decides.
            here &= sizes_ms == np.where(here, sizes_ms, np.inf).min(axis=1)[:, None]
        chosen = np.where(here, waiting, np.inf).argmin(axis=1)
        served = here[rows, chosen]
        clock = np.where(served, clock + sizes_ms[rows, chosen], clock)
        ends_ms[rows[served], chosen[served]] = clock[served]
        # In a row without waiting parts this changes nothing: the chosen entry is infinite already.
        waiting[rows, chosen] = np.inf
    return ends_ms


def _shared_ms(arrival_ms: Array, sizes_ms: Array) -> Array:
    """Return when each part ends at a server that shares its time equally, [K, N]; without a part, its arrival.

    With n parts there, each has 1 / n of the server until the next event. An event is an arrival, or the end of the
    part with the least left. Every part arrives once and ends once, so that 2 N events are enough.

    Args:
        arrival_ms: [K, N] when each part is at the server.
        sizes_ms: [K, N] its time there with the server to itself; 0 if there is no part.
    """
    ends_ms, left_ms = arrival_ms.copy(), sizes_ms.copy()
    clock = np.zeros((len(arrival_ms), 1))
    for _ in range(2 * arrival_ms.shape[1]):
        here = (arrival_ms <= clock) & (left_ms > 0)
        count = np.maximum(here.sum(axis=1, keepdims=True), 1)
        coming = np.where((arrival_ms > clock) & (left_ms > 0), arrival_ms, np.inf).min(axis=1, keepdims=True)
        least_ms = np.where(here, left_ms, np.inf).min(axis=1, keepdims=True)
        until = np.minimum(coming, clock + count * least_ms)
        until = np.where(np.isfinite(until), until, clock)
        # An end and an arrival at one instant: the end counts first, so the arrival finds one part fewer.
        done = here & (left_ms <= least_ms) & (clock + count * least_ms <= coming)
        left_ms = np.where(here, np.maximum(left_ms - (until - clock) / count, 0.0), left_ms)
        # Rounding may leave a remainder, which would count as one more part at the server.
        left_ms[done] = 0.0
        ends_ms = np.where(done, until, ends_ms)
        clock = until
    return ends_ms


def starting_order(tasks: Sequence[Offload]) -> list[list[int]]:
    """Return the tasks of every source, by index, in the order in which they start: streams take turns."""
    turns: dict[str, int] = {}
    ranked: dict[str, list[tuple[int, int]]] = {}
    for place, task in enumerate(tasks):
        turn = turns[task.stream] = turns.get(task.stream, -1) + 1
        ranked.setdefault(task.source, []).append((turn, place))
    return [[place for _, place in sorted(own)] for own in ranked.values()]
