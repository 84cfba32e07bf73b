"""Lower bounds of the bottleneck of every route that continues a partial one."""

from collections.abc import Mapping

import numpy as np

from planning.queueing.operations import Work
from planning.search.arrays import Array, Index
from planning.search.busy_times import BusyTimes, BusyWays
from planning.search.chain_path import cost_to_go
from planning.search.cost_tables import CostMeasure, Tables, busy_measure


class BottleneckBounds:
    """Four lower bounds of the bottleneck; the largest of them holds.

    Let b(r) be the busy time of resource r so far, and c(r) >= 0 the busy time that the rest of the route adds. A
    resource is the computing or the sending of a node. The bottleneck of the whole route is T = max over r of
    b(r) + c(r).

    1. So far: T >= max of b(r), because c(r) >= 0.
    2. Piece (`piece_ms`): the rest consists of pieces, one per block and per transfer, and each keeps one resource busy
       without a break. So T is at least the largest piece of the rest. The least largest piece over all completions is
       a bottleneck shortest path, by dynamic programming from the sink backwards.
    3. Shared (`shared_ms`): T is at least the mean of b(r) + c(r) over the computing of the W nodes that can run a
       block. Their c(r) add up to at least the sum of the blocks' fastest times.
    4. Weighted (`weighted_ms`): for multipliers w(r) >= 0 that add up to 1, T >= sum of w(r) (b(r) + c(r)). The least
       sum of w(r) c(r) over all completions is a shortest path. This is the Lagrangian bound of "minimise T subject to
       b(r) + c(r) <= T" (Fisher, Management Science 27(1), 1981); the best multipliers are the duals of the linear
       programme over mixes of routes (`planning.scheduling.column_generation`).

    Side constraints only remove routes, so that the bounds hold with them, too.
    """

    def __init__(
        self, tables: Tables, latency: CostMeasure, times: BusyTimes, weights: Mapping[tuple[str, Work], float]
    ) -> None:
        """Prepare the parts that depend on the rest of a route only.

        Args:
            tables: the stream's arrays.
            latency: its latency measure.
            times: the busy times that are bounded.
            weights: the multipliers of the weighted bound; without any it is 0.
        """
        weight, self._times = times.weight, times
        computing = np.array([weights.get((name, Work.COMPUTE), 0.0) for name in tables.nodes])
        sending = np.array([weights.get((name, Work.SEND), 0.0) for name in tables.nodes])
        self._multipliers = np.concatenate([computing, sending])
        self._piece_to_go = _largest_piece_to_go(tables, latency, weight)
        self._weighted_to_go: Array = np.zeros((tables.blocks + 1, times.nodes))
        if weights:
            self._weighted_to_go = weight * cost_to_go(busy_measure(tables, computing, sending))
        runs = np.isfinite(tables.run_ms)
        fastest_ms = np.where(runs, tables.run_ms, np.inf).min(axis=0)
        # [B + 1]: computing of blocks [i, B) if each ran on its fastest node
        self._work_to_go: Array = np.array([*(weight * np.cumsum(fastest_ms[::-1])[::-1]), 0.0])
        self._workers = np.flatnonzero(runs.any(axis=1))

    def of_routes(self, done: int, node: Index, busy: Array) -> Array:
        """Return the bounds of N partial routes, [N].

        Args:
            done: the number of blocks placed, at least 1.
            node: [N] where the last of them runs.
            busy: [N, 2 D] busy times; inf where a route is impossible.
        """
        computing = busy[:, self._workers].sum(axis=1)
        # A multiplier of 0 times an impossible busy time would be no number; the largest busy time rules it out.
        weighted = np.where(np.isfinite(busy), busy, 0.0) @ self._multipliers
        return self._largest(done, node, busy.max(axis=1), computing, weighted)

    def of_ways(self, done: int, node: Index, busy: Array, ways: BusyWays) -> Array:
        """Return the bounds of every extension, [W, K]: those of `of_routes`, from the present sums and the additions.

        Args:
            done: the block that is placed next.
            node: [W] where the block before it runs.
            busy: [W, 2 D] present busy times, all finite.
            ways: the extensions from there.
        """
        nodes = self._times.nodes
        # In this order the sum is that of a route on a single node, so that rounding does not reopen such a route.
        computing = busy[:, self._workers].sum(axis=1)[:, None] + ways.encoded + ways.worked
        sent, worked = (np.where(np.isfinite(part), part, 0.0) for part in (ways.sent, ways.worked))
        weighted = (busy @ self._multipliers)[:, None] + self._multipliers[nodes + node, None] * sent
        weighted = weighted + self._multipliers[node, None] * ways.encoded + self._multipliers[ways.node] * worked
        return self._largest(done + 1, ways.node, self._times.worst_ms(busy, node, ways), computing, weighted)

    def _largest(self, done: int, node: Index, worst: Array, computing: Array, weighted: Array) -> Array:
        """Return the largest of the four bounds. All arguments but ``node`` are present values, in ms per round."""
        bound = np.maximum(worst, self.piece_ms(done, node))
        bound = np.maximum(bound, self.shared_ms(done, computing))
        return np.asarray(np.maximum(bound, self.weighted_ms(done, node, weighted)))

    def piece_ms(self, done: int, node: Index) -> Array:
        """Return the least largest piece of the rest after ``done`` blocks, the last of them on ``node``."""
        return np.asarray(self._piece_to_go[done, node])

    def shared_ms(self, done: int, computing: Array) -> Array:
        """Return the mean computing of a worker; ``computing`` is that of all workers so far."""
        return np.asarray((computing + self._work_to_go[done]) / max(1, len(self._workers)))

    def weighted_ms(self, done: int, node: Index, weighted: Array) -> Array:
        """Return a bound of the final weighted sum of all busy times; ``weighted`` is the present sum."""
        return np.asarray(weighted + self._weighted_to_go[done, node])


def _largest_piece_to_go(tables: Tables, latency: CostMeasure, weight: float) -> Array:
    """Return the least largest piece of the rest once blocks [0, i) are done, the last of them on d: [B + 1, D].

    In ms per round; inf where there is no way. Row 0 has no meaning. The recurrence is that of
    `chain_path.cost_to_go` with the maximum in place of the sum.
    """
    blocks, nodes = tables.blocks, len(tables.nodes)
    togo = np.zeros((blocks + 1, nodes))
    togo[-1] = np.where(np.isfinite(latency.finish.min(axis=0)), 0.0, np.inf)
    if tables.sink is not None:
        sent = tables.transfer_ms[-1, :, :, tables.sink].min(axis=0)
        sent[tables.sink] = 0.0
        togo[-1] = sent * weight
    for done in range(blocks - 1, 0, -1):
        enter = np.maximum(tables.run_ms[:, done] * weight, togo[done + 1])
        # The fastest encoding of each pair of nodes, without encoding and decoding: both only lower the bound.
        sent = tables.transfer_ms[done].min(axis=0) * weight
        np.fill_diagonal(sent, 0.0)
        togo[done] = np.maximum(sent, enter[None, :]).min(axis=1)
    return togo
