"""Estimated times of bursts that are too long to be simulated."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from planning.cost.cost_model import CostModel
from planning.cost.route_costs import RouteCost
from planning.problem.plan import Route, StreamPlan
from planning.problem.problem import Stream
from planning.queueing.operations import Operation
from shared.policy import QueueDiscipline


class BatchedCosts(CostModel):
    """The predictions of ``exact``, with the ends of jobs from a simulation in which jobs travel in batches.

    A batch holds jobs on one route that start near each other. It takes the sum of their times at every resource, and
    they end one after the other. A burst of many batches ends at most some batches' latencies later than its jobs,
    which may be in work at several resources at once.

    Attributes:
        exact: the cost model, whose figures of routes this one shares.
        batch_size: jobs of a batch, at most.
        is_estimate: whether a prediction so far came from batches.
    """

    def __init__(self, exact: CostModel, batch_size: int) -> None:
        """Predict what ``exact`` does, in batches."""
        super().__init__(exact.problem, exact.links)
        self.exact = exact
        self.batch_size = batch_size
        self.is_estimate = False
        # The last plans, disciplines and turns, and the ends of their jobs: a cost follows the prediction of its plan.
        self._last: tuple[object, object, object, tuple[float, ...]] | None = None

    def operations(self, stream: Stream, route: Route) -> tuple[Operation, ...]:
        """Return the operations of a request on ``route``, in order; see `CostModel.operations`."""
        return self.exact.operations(stream, route)

    def route_cost(self, stream: Stream, route: Route) -> RouteCost:
        """Return the costs of one request on ``route``; see `CostModel.route_cost`."""
        return self.exact.route_cost(stream, route)

    def delays_ms(
        self,
        plans: Mapping[str, StreamPlan],
        disciplines: Mapping[str, QueueDiscipline] | None = None,
        turns: Sequence[str] = (),
    ) -> tuple[float, ...]:
        """Return about when each job ends, in ms; see `CostModel.delays_ms`."""
        last = self._last
        if last is not None and last[0] is plans and last[1] is disciplines and last[2] is turns:
            return last[3]
        ends_ms = super().delays_ms(plans, disciplines, turns)
        self._last = plans, disciplines, turns, ends_ms
        return ends_ms

    def simulated_ms(
        self,
        names: Sequence[str],
        kinds: Sequence[tuple[Operation, ...]],
        kind_of_job: NDArray[np.int64],
        disciplines: Mapping[str, QueueDiscipline] | None,
    ) -> tuple[float, ...]:
        """Return about when each job ends, [jobs] in ms; see `CostModel.simulated_ms`."""
        self.is_estimate = True
        members = [np.flatnonzero(kind_of_job == kind) for kind in range(len(kinds))]
        sizes = [_batch_sizes(len(own), self.batch_size) for own in members]
        # A batch starts where the middle one of its jobs does.
        middles = [own[np.cumsum(size) - (size + 1) // 2] for own, size in zip(members, sizes, strict=True)]
        order = np.argsort(np.concatenate(middles), kind="stable")
        kind_of_batch = np.repeat(np.arange(len(kinds)), [len(size) for size in sizes])[order]
        size_of_batch = np.concatenate(sizes)[order]
        # Batches of one route and size are alike.
        pairs, alike = np.unique(np.stack([kind_of_batch, size_of_batch]), axis=1, return_inverse=True)
        batches = [_batch(kinds[kind], size) for kind, size in pairs.T.tolist()]
        owners = [names[kind] for kind in pairs[0].tolist()]
        ends_ms = np.empty(len(order))
        ends_ms[order] = super().simulated_ms(owners, batches, alike.reshape(-1).astype(np.int64), disciplines)
        return tuple(self._job_ends_ms(kinds, members, sizes, ends_ms).tolist())

    def _job_ends_ms(
        self,
        kinds: Sequence[tuple[Operation, ...]],
        members: Sequence[NDArray[np.int64]],
        sizes: Sequence[NDArray[np.int64]],
        batch_ends_ms: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the ends of jobs, [jobs] in ms, whose batches, by route, end at ``batch_ends_ms``."""
        ends_ms = np.empty(sum(len(own) for own in members))
        first = 0
        for kind, own, size in zip(kinds, members, sizes, strict=True):
            last_ms = kind[-1].duration_ms if kind else 0.0
            followers = np.repeat(np.cumsum(size), size) - np.arange(len(own)) - 1
            ends_ms[own] = np.repeat(batch_ends_ms[first : first + len(size)], size) - followers * last_ms
            first += len(size)
        return ends_ms


def _batch_sizes(jobs: int, most: int) -> NDArray[np.int64]:
    """Return the sizes of as few batches as possible, which differ by 1 at most."""
    count = -(-jobs // most)
    return np.diff(np.arange(count + 1) * jobs // count) if count else np.zeros(0, dtype=np.int64)


def _batch(kind: tuple[Operation, ...], size: int) -> tuple[Operation, ...]:
    return tuple(replace(operation, duration_ms=size * operation.duration_ms) for operation in kind)
