"""Best-first search for the largest throughput: the busiest device or sender per request decides.

Revisits are part of the search space, so a device's busy time is summed over all its segments, as the definition of
throughput says. That makes the problem NP-hard (it contains scheduling on unrelated machines). The search is exact when
it ends. Otherwise it returns the best plan of a beam, and the least bound that is still open.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from math import inf

import numpy as np

from planning.queueing.operations import Work
from planning.search.arrays import Array, Index
from planning.search.beam import Front, Steps, search_beam
from planning.search.bottleneck_bounds import BottleneckBounds
from planning.search.bottleneck_local_search import BottleneckLocalSearch
from planning.search.busy_times import BusyTimes, BusyWays
from planning.search.chain_path import Path, cost_to_go
from planning.search.coarsening import coarsened
from planning.search.cost_tables import CostMeasure, Tables, latency_measure
from planning.search.labels import Frontier, Holdings, Label, SearchOutcome, traced_path
from planning.search.limits import Limits

# Number of routes of the beam that local search improves.
IMPROVED_ROUTES = 6


def search_bottleneck(
    tables: Tables,
    latency: CostMeasure,
    late_togo: Array,
    limits: Limits,
    busy: tuple[float, ...] | None = None,
    weights: Mapping[tuple[str, Work], float] | None = None,
) -> SearchOutcome:
    """Return the path with the least bottleneck, in ms per round, within ``limits``.

    A round is one request, or with ``busy`` all jobs of the stream. The search is A* over labels under
    `BottleneckBounds`. A label is dropped when another at the same block and node is no worse in latency, every busy
    time, memory and devices used. The search is exponential in the worst case, so the number of labels is limited.

    Args:
        tables: the stream's arrays.
        latency: its latency measure.
        late_togo: [B + 1, D] latency to go, in ms.
        limits: side constraints; the label limit ends the search early.
        busy: [2 D] busy times in ms that other streams already cause.
        weights: multipliers of the busy times that add up to 1, from the best fractional mix of routes.
    """
    return _BottleneckSearch(tables, latency, late_togo, limits, busy, weights or {}).run()


class BottleneckJudge:
    """Judges a beam by the bounds of the bottleneck; see `beam.Judge`."""

    def __init__(self, bounds: BottleneckBounds, times: BusyTimes) -> None:
        """Start with nothing placed."""
        self._bounds, self._times = bounds, times
        self._busy: Array = times.begin()
        self._known: tuple[Front, BusyWays] | None = None

    def start(self) -> Array:
        """Return the bound of beginning on every node."""
        return self._bounds.of_routes(1, np.arange(self._times.nodes), self._busy)

    def ways(self, done: int, front: Front) -> tuple[Array, Array]:
        """Return the bound of every extension; of equal ones the least sum of all busy times is better."""
        ways, shape = self._ways(done, front), (len(front.node), -1, self._times.nodes)
        bound = self._bounds.of_ways(done, front.node, self._busy, ways)
        total = self._busy.sum(axis=1)[:, None] + ways.sent + ways.encoded + ways.worked
        return bound.reshape(shape), total.reshape(shape)

    def ends(self, front: Front) -> Array:
        """Return the bottleneck of finished routes."""
        return self._times.finish_ms(self._busy, front.node)

    def take(self, done: int, front: Front | None, steps: Steps) -> None:
        """Keep the busy times of the chosen ways."""
        if front is None:
            self._busy = self._busy[steps.node]
        else:
            chosen = steps.codec * self._times.nodes + steps.node
            self._busy = self._times.advance(self._busy, front.node, self._ways(done, front), steps.origin, chosen)

    def _ways(self, done: int, front: Front) -> BusyWays:
        """Return the extensions of a front; `take` asks again for those of `ways`."""
        if self._known is None or self._known[0] is not front:
            self._known = front, self._times.ways(done, front.node)
        return self._known[1]


@dataclass(frozen=True, slots=True, eq=False)
class _BusyLabel(Label):
    """A label whose cost is its bound: of a whole route the bottleneck. Without a deadline its latency is 0.

    Attributes:
        busy: [2 D] its busy times.
    """

    busy: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Ways:
    """The K possible extensions from all labels at one block and node.

    Attributes:
        node, codec: [K] where the next block runs, and the encoding in which its input travels.
        added: [K, 2 D] added to the busy times, in ms per round.
        latency_ms: [K] added to the latency.
        late_togo_ms: [K] least latency after that.
    """

    node: Index
    codec: Index
    added: Array
    latency_ms: Array
    late_togo_ms: Array


class _BottleneckSearch:
    """The state of one search.

    Invariant: every route below the incumbent, the best bottleneck known, continues a label of ``_open`` or one that a
    settled label dominates. So the least bound of ``_open`` bounds all of them.
    """

    def __init__(
        self,
        tables: Tables,
        latency: CostMeasure,
        late_togo: Array,
        limits: Limits,
        busy: tuple[float, ...] | None,
        weights: Mapping[tuple[str, Work], float],
    ) -> None:
        self._tables, self._latency, self._late_togo, self._limits = tables, latency, late_togo, limits
        self._nodes, self._blocks = tables.run_ms.shape
        self._weight = float(tables.stream.jobs) if busy is not None else 1.0
        self._initial = np.array(busy or (0.0,) * (2 * self._nodes))
        self._multipliers = weights
        self._times = BusyTimes(tables, self._weight, self._initial)
        self._bounds = BottleneckBounds(tables, latency, self._times, weights)
        self._known: dict[tuple[int, int], _Ways] = {}
        # By number of blocks and node: labels there have the same extensions, so that they can dominate each other.
        self._settled: dict[tuple[int, int], Frontier] = {}
        self._open: list[tuple[float, int, int, _BusyLabel]] = []
        self._ticket = count()
        self._incumbent_ms = inf

    def run(self) -> SearchOutcome:
        best = self._beam_route()
        self._incumbent_ms = inf if best is None else best.cost
        self._begin()
        settled = 0
        while self._open:
            bound, _, _, label = heapq.heappop(self._open)
            if bound >= self._incumbent_ms:
                break
            # A whole route comes up when nothing open has a smaller bound: it is optimal.
            if label.done > self._blocks:
                return SearchOutcome(traced_path(label), True, label.cost)
            if not self._settle(label):
                continue
            settled += 1
            if settled > self._limits.label_limit or self._limits.clock.is_over():
                return SearchOutcome(best, False, bound)
            if label.done == self._blocks:
                self._finish(label)
            else:
                self._extend(label)
        return SearchOutcome(best, True, self._incumbent_ms)

    def _beam_route(self) -> Path | None:
        """Return the best route of a beam after local search: the first incumbent."""
        starts = self._coarse_routes()
        if not starts:
            judge = BottleneckJudge(self._bounds, self._times)
            width = self._limits.beam_width
            starts = search_beam(
                self._tables, self._latency, self._late_togo, self._limits, judge, width, IMPROVED_ROUTES
            )
        local_search = BottleneckLocalSearch(self._tables, self._limits, self._initial, self._weight)
        return min((local_search.improve(path) for path in starts), key=lambda path: path.cost, default=None)

    def _coarse_routes(self) -> list[Path]:
        """Return improved routes of runs of blocks where the chain is too long for a beam; else none."""
        if self._blocks <= self._limits.beam_blocks:
            return []
        coarse = coarsened(self._tables, self._limits, self._limits.beam_blocks)
        latency = latency_measure(coarse.tables)
        times = BusyTimes(coarse.tables, self._weight, self._initial)
        judge = BottleneckJudge(BottleneckBounds(coarse.tables, latency, times, self._multipliers), times)
        late_togo, width = cost_to_go(latency), coarse.limits.beam_width
        starts = search_beam(coarse.tables, latency, late_togo, coarse.limits, judge, width, IMPROVED_ROUTES)
        local_search = BottleneckLocalSearch(coarse.tables, coarse.limits, self._initial, self._weight)
        return [coarse.fine(local_search.improve(path)) for path in starts]

    def _settle(self, label: _BusyLabel) -> bool:
        """Return whether no settled label at the same block and node is at least as good everywhere."""
        held = label.holdings
        values = (label.latency_ms, *label.busy.tolist(), *held.parameter_bytes, *held.working_bytes)
        rivals = self._settled.setdefault((label.done, label.node), Frontier(len(values)))
        return rivals.admit(values, held.used)

    def _begin(self) -> None:
        """Open the labels of the first block on every node."""
        late = self._latency.first + self._latency.start + self._latency.run[:, 0]
        busy = self._times.begin()
        bounds = self._bounds.of_routes(1, np.arange(self._nodes), busy)
        possible = self._limits.in_time(late + self._late_togo[1])
        for node in np.flatnonzero(possible).tolist():
            self._place(None, node, 0, float(late[node]), busy[node], float(bounds[node]))

    def _extend(self, label: _BusyLabel) -> None:
        """Open the labels with one more block."""
        ways, deadline_ms = self._ways(label.done, label.node), self._limits.deadline_ms
        busy = label.busy + ways.added
        bounds = self._bounds.of_routes(label.done + 1, ways.node, busy)
        # As good as the incumbent is not better.
        possible = bounds < self._incumbent_ms
        if deadline_ms is not None:
            possible &= label.latency_ms + ways.latency_ms + ways.late_togo_ms <= deadline_ms
        for way in np.flatnonzero(possible).tolist():
            latency_ms = label.latency_ms + float(ways.latency_ms[way])
            self._place(label, int(ways.node[way]), int(ways.codec[way]), latency_ms, busy[way], float(bounds[way]))

    def _ways(self, done: int, node: int) -> _Ways:
        """Return the possible extensions from a block on ``node``.

        Staying comes first, then node by node: of labels with equal bounds the first to open is settled first.
        """
        known = self._known.get((done, node))
        if known is None:
            ways = self._times.ways(done, np.array([node]))
            latency_ms = self._latency.move[done, :, node, :] + self._latency.start
            latency_ms[0, node] = 0.0
            latency_ms = (latency_ms + self._latency.run[:, done]).ravel()
            late_togo_ms = self._late_togo[done + 1, ways.node]
            order = np.lexsort((ways.codec, ways.node, ways.node != node))
            order = order[np.isfinite(latency_ms + late_togo_ms)[order]]
            known = self._known[done, node] = _Ways(
                ways.node[order],
                ways.codec[order],
                self._times.vectors(node, ways)[order],
                latency_ms[order],
                late_togo_ms[order],
            )
        return known

    def _place(
        self, parent: _BusyLabel | None, node: int, codec: int, latency_ms: float, busy: Array, bound: float
    ) -> None:
        """Open the label of the next block on ``node``, unless that breaks memory or the number of devices."""
        done = 0 if parent is None else parent.done
        holdings = (Holdings() if parent is None else parent.holdings).with_block(self._limits, node, done)
        if holdings is not None:
            # Without a deadline, latency would only keep labels from dominating each other.
            latency_ms = 0.0 if self._limits.deadline_ms is None else latency_ms
            self._push(_BusyLabel(done + 1, node, bound, latency_ms, holdings, parent, codec, busy))

    def _finish(self, label: _BusyLabel) -> None:
        """Open the whole routes that end with ``label``, one per encoding of the result."""
        costs = self._times.finish_ms(label.busy[None, :], np.array([label.node]))[0]
        late = label.latency_ms + self._latency.finish[:, label.node]
        for codec in np.flatnonzero(self._limits.in_time(late) & (costs < self._incumbent_ms)).tolist():
            cost, latency_ms = float(costs[codec]), float(late[codec])
            end = _BusyLabel(label.done + 1, label.node, cost, latency_ms, label.holdings, label, codec, label.busy)
            self._push(end)

    def _push(self, label: _BusyLabel) -> None:
        """Open a label. Of equal bounds the one with more blocks done comes first, then the earlier one."""
        heapq.heappush(self._open, (label.cost, -label.done, next(self._ticket), label))
