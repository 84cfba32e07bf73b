"""The fairest cuts of tasks that share a server, exactly: branch and bound over the order in which it serves them.

Kafetzis & Koutsopoulos minimise the variance of the tasks' delays by a greedy. Here tasks are placed in the order of
service: the delay of a task then depends on the tasks before it only, and is final once it is placed. Every choice of
cuts has exactly one order, so that the tree of partial orders has every choice once.

Shapes: K partial choices, N tasks, S cuts of the task that has the most.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf

import numpy as np

from planning.scheduling.shared_server import EVALUATIONS_PER_CHECK, Offload
from planning.search.arrays import Array, Flags, Index

# Partial choices that are expanded together.
CHUNK = 512

# A choice has to be better than the best one by this share, so that rounding errors do not count as progress.
_MIN_GAIN = 1e-9


class ServiceOrder(StrEnum):
    """The order in which the server works on the tasks' parts, and when a part is done.

    The first two are the snapshot, in which all parts are there at time 0: ``SHORTEST`` job first, or ``SHARED`` in
    infinitely small slots. ``FIRST_COME`` serves parts in the order of their arrival, from then on.
    """

    SHORTEST = "shortest"
    SHARED = "shared"
    FIRST_COME = "first_come"


class FairnessMeasure(StrEnum):
    """The measure that is minimised: the variance of all delays, or the largest delay."""

    VARIANCE = "variance"
    LARGEST = "largest"


@dataclass(frozen=True, slots=True, eq=False)
class FairChoice:
    """The result of the search.

    Attributes:
        choice: a cut per task; None if no choice is better than the known one.
        value: the variance (ms^2) or the largest delay (ms) of ``choice``, or the known value.
        proved: whether all other choices have been ruled out.
    """

    choice: list[int] | None
    value: float
    proved: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Partial:
    """K partial choices with the same number of tasks placed: those that are served first.

    Attributes:
        cuts: [K, N] the cut of every task; -1 if it is not placed.
        clock_ms: [K] when the server has done the placed parts.
        key: [K] the sort key of the task placed last.
        task: [K] the index of the task placed last.
        mean_ms: [K] mean delay of the placed tasks.
        value: [K] sum of squared deviations from that mean (ms^2), or the largest delay (ms).
    """

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

    Exponential time. Depth first, the most promising partial choice first.

    Args:
        tasks: the tasks, with their times at every cut.
        service: how the server treats its queue.
        measure: the measure to minimise.
        steps: bound of the work, in pairs of partial choice and cut.
        known: the value of a known choice; only better ones are looked for.
        allowed: whether a choice may be taken; asked only of those that would be.
    """
    return _FairSearch(tasks, service, measure).run(known, steps, allowed)


class _FairSearch:
    """The tasks' times as arrays, [N, S] with inf or 0 beyond a task's cuts, and the search over them."""

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
        # The order of service: by arrival, or by size. Both disciplines of the snapshot finish small parts first.
        self._key = self._arrival_ms if service is ServiceOrder.FIRST_COME else self._server_ms
        self._most_ms = self._server_ms.max(axis=1)
        # Symmetry breaking: of identical tasks the one with the lowest index is placed first. ``_twin`` is the previous
        # identical task, or the sentinel column ``count``, which always counts as placed.
        self._twin = np.array(
            [
                max((other for other in range(row) if tasks[other] is tasks[row]), default=self._count)
                for row in range(self._count)
            ]
        )

    def run(self, known: float, steps: int, allowed: Callable[[Sequence[int]], bool]) -> FairChoice:
        # Variances are compared as sums of squares.
        best = known * self._count if self._measure is FairnessMeasure.VARIANCE else known
        choice: list[int] | None = None
        none, zero = np.full((1, self._count), -1), np.zeros(1)
        stack = [_Partial(none, zero, np.full(1, -inf), np.full(1, -1), zero, zero)]
        while stack and steps >= 0:
            partial = stack.pop()
            partial = partial.take(np.flatnonzero(partial.value < best * (1 - _MIN_GAIN)))
            steps -= len(partial.cuts) * self._before_ms.size
            if not len(partial.cuts) or steps < 0:
                continue
            depth = int((partial.cuts[0] >= 0).sum())
            following = self._expand(partial, depth, best)
            if not len(following.cuts):
                continue
            # Descending: the last chunk, with the least values, is popped first.
            order = np.argsort(-following.value, kind="stable")
            if depth + 1 == self._count:
                leaves = following.take(order[::-1])
                asked = next((at for at, cuts in enumerate(leaves.cuts.tolist()) if allowed(cuts)), None)
                if asked is not None:
                    best, choice = float(leaves.value[asked]), leaves.cuts[asked].tolist()
                steps -= EVALUATIONS_PER_CHECK * self._before_ms.size * (len(order) if asked is None else asked)
                continue
            stack += [following.take(order[at : at + CHUNK]) for at in range(0, len(order), CHUNK)]
        value = best / self._count if self._measure is FairnessMeasure.VARIANCE else best
        return FairChoice(choice, value, steps >= 0)

    def _expand(self, partial: _Partial, depth: int, best: float) -> _Partial:
        """Return the partial choices with one more task that may still be below ``best``.

        Args:
            partial: the partial choices.
            depth: the number of tasks that they place.
            best: the value to beat.
        """
        free = partial.cuts < 0
        clock_ms, delay_ms = self._served(partial.clock_ms, depth)
        # [K, N, S]: the cuts that may still be served, now or later. Keys never fall along an order.
        later = free[:, :, None] & (self._key >= partial.key[:, None, None]) & np.isfinite(self._before_ms)
        bound = self._completion_bound(partial, depth, later, delay_ms)
        value = self._next_value(partial, depth, later, delay_ms)
        if self._measure is FairnessMeasure.LARGEST:
            value = np.maximum(value, bound[:, None, None])
        # Of equal keys the lower index is served first, so that every choice of cuts has one order only.
        index = np.arange(self._count)[:, None]
        follows = (self._key > partial.key[:, None, None]) | (index > partial.task[:, None, None])
        placed = np.concatenate([~free, np.ones((len(free), 1), dtype=np.bool_)], axis=1)
        kept = later & follows & placed[:, self._twin][:, :, None] & (value < best * (1 - _MIN_GAIN))
        kept &= (bound < best * (1 - _MIN_GAIN))[:, None, None]
        row, task, cut = np.nonzero(kept)
        cuts = partial.cuts[row]
        cuts[np.arange(len(row)), task] = cut
        delays_ms = delay_ms[row, task, cut]
        mean_ms = partial.mean_ms[row] + (delays_ms - partial.mean_ms[row]) / (depth + 1)
        return _Partial(cuts, clock_ms[row, task, cut], self._key[task, cut], task, mean_ms, value[row, task, cut])

    def _next_value(self, partial: _Partial, depth: int, later: Flags, delay_ms: Array) -> Array:
        """Return the value with each task at each cut served next, [K, N, S].

        The sum of squares follows Welford's recurrence (Technometrics 4(3), 1962): the delay d of a further task adds
        k / (k + 1) (d - m)^2 to that of k tasks with mean m.
        """
        if self._measure is FairnessMeasure.LARGEST:
            return np.maximum(partial.value[:, None, None], delay_ms)
        gap_ms = np.where(later, delay_ms - partial.mean_ms[:, None, None], 0.0)
        return np.asarray(partial.value[:, None, None] + depth / (depth + 1) * gap_ms**2)

    def _served(self, clock_ms: Array, depth: int) -> tuple[Array, Array]:
        """Return the server's clock and the delay, [K, N, S] each, of each task at each cut if it is served next."""
        clock = clock_ms[:, None, None]
        before_ms, server_ms = self._before_ms, self._server_ms
        if self._service is ServiceOrder.FIRST_COME:
            started = np.maximum(clock, self._arrival_ms)
            waited_ms = np.maximum(clock - self._arrival_ms, 0.0) * self._remote
            return np.where(self._remote, started + server_ms, clock), before_ms + waited_ms + server_ms
        ends = clock + server_ms
        # In slots, all tasks that are not done have had as much of the server as this one when it ends.
        own = clock + (self._count - depth) * server_ms if self._service is ServiceOrder.SHARED else ends
        return ends, before_ms + np.where(self._remote, own, 0.0)

    def _completion_bound(self, partial: _Partial, depth: int, later: Flags, next_ms: Array) -> Array:
        """Return a value that no completion of each partial choice is below, [K].

        Args:
            partial: the partial choices.
            depth: the number of tasks that they place.
            later: [K, N, S] the cuts that may still be served.
            next_ms: [K, N, S] the delay of each task at each cut if it is served next.
        """
        low_ms, high_ms = self._delay_range_ms(partial, depth, next_ms)
        if self._measure is FairnessMeasure.LARGEST:
            return self._largest_bound(partial, later, low_ms)
        return self._variance_bound(partial, depth, later, low_ms, high_ms)

    def _delay_range_ms(self, partial: _Partial, depth: int, next_ms: Array) -> tuple[Array, Array]:
        """Return the least and the largest delay that each task at each cut may still get, [K, N, S] each.

        Let c be the server's clock, and s the task's part. Let n be the number of other tasks that are not placed, and
        x a part that is served before s.

        - Shortest first: the delay is least if the task is next. Each x adds x, and x <= s. So all others add at most n
          s, and at most the sum of their largest parts.
        - In slots: the delay is largest if the task is next, c + (n + 1) s, because each x takes s - x off. It is least
          if all others are served before it; each x is at least the key of the task placed last.
        - First come: the delay is least if the task is next. All others add at most the sum of their largest parts.
        """
        free, others = partial.cuts < 0, self._count - depth - 1
        others_ms = (free * self._most_ms).sum(axis=1)[:, None] - self._most_ms
        if self._service is ServiceOrder.SHARED:
            ahead_ms = others * np.maximum(partial.key, 0.0) + partial.clock_ms
            least_ms = np.where(self._remote, ahead_ms[:, None, None] + self._server_ms, 0.0)
            return self._before_ms + least_ms, next_ms
        if self._service is ServiceOrder.FIRST_COME:
            return next_ms, next_ms + np.where(self._remote, others_ms[:, :, None], 0.0)
        added_ms = np.minimum(others_ms[:, :, None], others * self._server_ms)
        return next_ms, next_ms + np.where(self._remote, added_ms, 0.0)

    def _largest_bound(self, partial: _Partial, later: Flags, low_ms: Array) -> Array:
        """Return a bound of the largest delay, [K].

        It is the present largest delay, or the largest of the least possible delays.
        """
        least_ms = np.where(later, low_ms, inf).min(axis=2)
        free = partial.cuts < 0
        return np.asarray(np.maximum(partial.value, np.where(free, least_ms, -inf).max(axis=1)))

    def _variance_bound(self, partial: _Partial, depth: int, later: Flags, low_ms: Array, high_ms: Array) -> Array:
        """Return a sum of squares that no completion is below, [K].

        Let k tasks be placed, with mean m and sum of squares Q. Let e(j) >= 0 be the least distance from m of the
        delays that task j may still get. Let the mean of all tasks be t away from m. Around it the placed tasks have Q
        + k t^2, and task j adds at least max(e(j) - t, 0)^2. So the sum of squares is at least

            Q + min over t of F(t),  F(t) = k t^2 + sum over j of max(e(j) - t, 0)^2.

        Let the e be descending, and G(t) the same with the first n of them only, so that F >= G. Without the maximum,
        G would have its minimum at t(n) = (e(1) + ... + e(n)) / (k + n), with the value

            e(1)^2 + ... + e(n)^2 - (e(1) + ... + e(n))^2 / (k + n).

        If t(n) <= e(n), no maximum is in effect there, and t(n) is the minimum of G, which is convex. So every such n
        gives a bound, and the largest holds. A task that can get no delay at all makes the bound infinite.
        """
        if not depth:
            return partial.value
        mean_ms = partial.mean_ms[:, None, None]
        away_ms = np.maximum(np.maximum(low_ms - mean_ms, mean_ms - high_ms), 0.0)
        away_ms = np.where(later, away_ms, inf).min(axis=2)
        away_ms = -np.sort(-np.where(partial.cuts < 0, away_ms, 0.0), axis=1)
        dead = np.isinf(away_ms[:, 0])
        away_ms[dead] = 0.0
        sums, members = away_ms.cumsum(axis=1), depth + 1 + np.arange(self._count)
        by_members = (away_ms**2).cumsum(axis=1) - sums**2 / members
        least = np.where(sums / members <= away_ms, by_members, 0.0).max(axis=1)
        return np.asarray(np.where(dead, inf, partial.value + least))
