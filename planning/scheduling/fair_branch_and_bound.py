"""The fairest cuts of tasks that share a server, exactly: branch and bound over the order in which it serves them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf

import numpy as np

from planning.scheduling.shared_server import ASKED, Offload
from planning.search.arrays import Array, Flags, Index

CHUNK = 512
"""How many partial choices are looked at together."""


class ServiceOrder(StrEnum):
    """When a task's part is done at the server.

    The first two are the snapshot, in which all parts are there at time 0: ``SHORTEST`` job first, or ``SHARED`` in
    infinitely small slots. ``FIRST_COME`` serves parts in the order in which they arrive, when they do.
    """

    SHORTEST = "shortest"
    SHARED = "shared"
    FIRST_COME = "first_come"


class FairnessMeasure(StrEnum):
    """What is made small: the variance of all delays, or the largest."""

    VARIANCE = "variance"
    LARGEST = "largest"


@dataclass(frozen=True, slots=True, eq=False)
class FairChoice:
    """A cut per task, or None if nothing is below what was known; its value; whether all have been ruled out."""

    choice: list[int] | None
    value: float
    proved: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Partial:
    """Partial choices: the tasks that are served first. ``value`` is the sum of squares, or the largest delay."""

    cuts: Index
    clock_ms: Array
    key: Array
    task: Index
    mean_ms: Array
    value: Array

    def take(self, rows: Index) -> "_Partial":
        return _Partial(
            self.cuts[rows],
            self.clock_ms[rows],
            self.key[rows],
            self.task[rows],
            self.mean_ms[rows],
            self.value[rows],
        )


def fairest(
    tasks: Sequence[Offload],
    service: ServiceOrder,
    measure: FairnessMeasure,
    *,
    steps: int,
    known: float = inf,
    allowed: Callable[[Sequence[int]], bool] = lambda choice: True,
) -> FairChoice:
    """Return the choice of least variance, or of the least largest delay.

    Tasks are placed in the order of service, so that the delays of those placed are final, and every choice of cuts
    has one order. Variance: with k tasks placed around mean m, whatever follows costs at least the least of
    k t^2 + sum of (e_j - t)^2 over those of e_j > t, where e_j is how far every delay that task j may still get is from
    m. Exponential; depth first, most promising first.

    Args:
        tasks: with what each takes at every cut.
        service: how the server treats its queue.
        measure: what is made small.
        steps: how many pairs of partial choice and cut may be looked at.
        known: the value of a choice that is known; only better ones are looked for.
        allowed: whether a choice may be taken; asked only of those that would be.
    """
    return _Search(tasks, service, measure).run(known, steps, allowed)


class _Search:
    """The tasks' times as arrays, [N, S], and the best choice so far."""

    def __init__(self, tasks: Sequence[Offload], service: ServiceOrder, measure: FairnessMeasure) -> None:
        self._count, widest = len(tasks), max(len(task.routes) for task in tasks)
        self._service, self._measure = service, measure
        self._before_ms, self._server_ms = np.full((self._count, widest), inf), np.zeros((self._count, widest))
        self._arrival_ms = np.full((self._count, widest), inf)
        for row, task in enumerate(tasks):
            columns = slice(len(task.routes))
            self._before_ms[row, columns], self._server_ms[row, columns] = task.before_ms, task.server_ms
            self._arrival_ms[row, columns] = task.source_ms + task.send_ms
        self._remote = self._server_ms > 0
        self._key = self._arrival_ms if service is ServiceOrder.FIRST_COME else self._server_ms
        self._most_ms = self._server_ms.max(axis=1)
        # of equal tasks the first is placed first; a task without an equal before it follows "none", which is placed
        self._twin = np.array(
            [
                max((other for other in range(row) if tasks[other] is tasks[row]), default=self._count)
                for row in range(self._count)
            ]
        )

    def run(self, known: float, steps: int, allowed: Callable[[Sequence[int]], bool]) -> FairChoice:
        best = known * self._count if self._measure is FairnessMeasure.VARIANCE else known
        choice: list[int] | None = None
        none, zero = np.full((1, self._count), -1), np.zeros(1)
        stack = [_Partial(none, zero, np.full(1, -inf), np.full(1, -1), zero, zero)]
        while stack and steps >= 0:
            partial = stack.pop()
            partial = partial.take(np.flatnonzero(partial.value < best * (1 - 1e-9)))
            steps -= len(partial.cuts) * self._before_ms.size
            if not len(partial.cuts) or steps < 0:
                continue
            depth = int((partial.cuts[0] >= 0).sum())
            following = self._expand(partial, depth, best)
            if not len(following.cuts):
                continue
            order = np.argsort(-following.value, kind="stable")
            if depth + 1 == self._count:
                leaves = following.take(order[::-1])
                asked = next((at for at, cuts in enumerate(leaves.cuts.tolist()) if allowed(cuts)), None)
                if asked is not None:
                    best, choice = float(leaves.value[asked]), leaves.cuts[asked].tolist()
                steps -= ASKED * self._before_ms.size * (len(order) if asked is None else asked)
                continue
            stack += [following.take(order[at : at + CHUNK]) for at in range(0, len(order), CHUNK)]
        value = best / self._count if self._measure is FairnessMeasure.VARIANCE else best
        return FairChoice(choice, value, steps >= 0)

    def _expand(self, partial: _Partial, depth: int, best: float) -> _Partial:
        """Return what a task more makes of every partial choice that may still be below ``best``."""
        free = partial.cuts < 0
        clock_ms, delay_ms = self._served(partial.clock_ms, depth)
        later = free[:, :, None] & (self._key >= partial.key[:, None, None]) & np.isfinite(self._before_ms)
        bound = self._bound(partial, depth, free, later, delay_ms)
        placed = np.concatenate([~free, np.ones((len(free), 1), dtype=np.bool_)], axis=1)
        index = np.arange(self._count)[:, None]
        follows = (self._key > partial.key[:, None, None]) | (index > partial.task[:, None, None])
        if self._measure is FairnessMeasure.VARIANCE:
            gap_ms = np.where(later, delay_ms - partial.mean_ms[:, None, None], 0.0)
            value = partial.value[:, None, None] + depth / (depth + 1) * gap_ms**2
        else:
            value = np.maximum(partial.value[:, None, None], delay_ms)
        value = np.maximum(value, bound[:, None, None]) if self._measure is FairnessMeasure.LARGEST else value
        kept = later & follows & placed[:, self._twin][:, :, None] & (value < best * (1 - 1e-9))
        kept &= (bound < best * (1 - 1e-9))[:, None, None]
        row, task, cut = np.nonzero(kept)
        cuts = partial.cuts[row]
        cuts[np.arange(len(row)), task] = cut
        delays_ms = delay_ms[row, task, cut]
        mean_ms = partial.mean_ms[row] + (delays_ms - partial.mean_ms[row]) / (depth + 1)
        return _Partial(cuts, clock_ms[row, task, cut], self._key[task, cut], task, mean_ms, value[row, task, cut])

    def _served(self, clock_ms: Array, depth: int) -> tuple[Array, Array]:
        """Return the server's clock and the delay, [K, N, S], of each task at each cut if it is served next."""
        clock = clock_ms[:, None, None]
        before_ms, server_ms = self._before_ms, self._server_ms
        if self._service is ServiceOrder.FIRST_COME:
            started = np.maximum(clock, self._arrival_ms)
            waited_ms = np.maximum(clock - self._arrival_ms, 0.0) * self._remote
            return np.where(self._remote, started + server_ms, clock), before_ms + waited_ms + server_ms
        ends = clock + server_ms
        own = clock + (self._count - depth) * server_ms if self._service is ServiceOrder.SHARED else ends
        return ends, before_ms + np.where(self._remote, own, 0.0)

    def _bound(self, partial: _Partial, depth: int, free: Flags, later: Flags, next_ms: Array) -> Array:
        """Return what no way to go on can be below, [K]; ``next_ms`` is a task's delay if it is served next."""
        low_ms = high_ms = next_ms
        others_ms = (free * self._most_ms).sum(axis=1)[:, None] - self._most_ms
        if self._service is ServiceOrder.SHARED:
            ahead_ms = (self._count - depth - 1) * np.maximum(partial.key, 0.0) + partial.clock_ms
            low_ms = self._before_ms + np.where(self._remote, ahead_ms[:, None, None] + self._server_ms, 0.0)
        elif self._service is ServiceOrder.FIRST_COME:
            high_ms = next_ms + np.where(self._remote, others_ms[:, :, None], 0.0)
        else:
            behind_ms = np.minimum(others_ms[:, :, None], (self._count - depth - 1) * self._server_ms)
            high_ms = next_ms + np.where(self._remote, behind_ms, 0.0)
        if self._measure is FairnessMeasure.LARGEST:
            least_ms = np.where(later, low_ms, inf).min(axis=2)
            return np.asarray(np.maximum(partial.value, np.where(free, least_ms, -inf).max(axis=1)))
        if not depth:
            return partial.value
        mean_ms = partial.mean_ms[:, None, None]
        away_ms = np.where(later, np.maximum(np.maximum(low_ms - mean_ms, mean_ms - high_ms), 0.0), inf).min(axis=2)
        away_ms = -np.sort(-np.where(free, away_ms, 0.0), axis=1)
        dead = np.isinf(away_ms[:, 0])
        away_ms[dead] = 0.0
        total, size = away_ms.cumsum(axis=1), depth + 1 + np.arange(self._count)
        least = np.where(total / size <= away_ms, (away_ms**2).cumsum(axis=1) - total**2 / size, 0.0).max(axis=1)
        return np.asarray(np.where(dead, inf, partial.value + least))
