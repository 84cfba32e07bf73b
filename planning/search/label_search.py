"""Best-first label-setting search for additive costs, exact where side constraints break dynamic programming."""

import heapq
from itertools import count
from math import inf, isfinite

import numpy as np

from planning.search.arrays import Array, Index
from planning.search.beam import Front, Steps, search_beam
from planning.search.chain_path import cost_to_go
from planning.search.cost_tables import CostMeasure, Tables
from planning.search.labels import Frontier, Holdings, Label, SearchOutcome, traced_path
from planning.search.limits import Limits


class AdditiveJudge:
    """Judges a beam by an additive cost and its cost to go; see `beam.Judge`."""

    def __init__(self, measure: CostMeasure, togo: Array) -> None:
        """Start with nothing placed; ``togo`` is the cost to go of ``measure``, [B + 1, D]."""
        self._measure, self._togo = measure, togo
        self._cost: Array = np.empty(0)

    def start(self) -> Array:
        """Return the least cost of beginning on every node."""
        return np.asarray(self._measure.first + self._measure.start + self._measure.run[:, 0] + self._togo[1])

    def ways(self, done: int, front: Front) -> tuple[Array, Array]:
        """Return the least cost of every extension."""
        score = self._costs(done, front) + self._togo[done + 1]
        return score, np.zeros_like(score)

    def ends(self, front: Front) -> Array:
        """Return the cost with the result's way to the sink."""
        return self._cost[:, None] + self._measure.finish[:, front.node].T

    def take(self, done: int, front: Front | None, steps: Steps) -> None:
        """Keep the costs of the chosen ways."""
        if front is None:
            self._cost = (self._measure.first + self._measure.start + self._measure.run[:, 0])[steps.node]
        else:
            self._cost = self._costs(done, front)[steps.origin, steps.codec, steps.node]

    def _costs(self, done: int, front: Front) -> Array:
        """Return the cost after every extension, [W, E, D]."""
        rows = np.arange(len(front.node))
        sent = self._measure.move[done][:, front.node, :].transpose(1, 0, 2) + self._measure.start
        sent[rows, 0, front.node] = 0.0
        return np.asarray(self._cost[:, None, None] + sent + self._measure.run[:, done])


def search_labels(tables: Tables, measure: CostMeasure, latency: CostMeasure | None, limits: Limits) -> SearchOutcome:
    """Return the cheapest path within ``limits``.

    A* over labels (Hart, Nilsson & Raphael, IEEE Trans. Systems Science and Cybernetics 4(2), 1968). The cost to go
    without side constraints is a consistent bound: constraints only remove paths. A label is dropped when another at
    the same block and node is no worse in cost, latency, memory and devices used. Every continuation of the dropped
    label also continues the other. The search is exponential in the worst case, so the number of labels is limited. If
    it is reached, the path is that of a beam search.

    Args:
        tables: the stream's arrays.
        measure: the additive cost.
        latency: the latency measure, if the deadline is a side constraint of another cost. None if ``measure`` is the
            latency itself: the deadline then bounds the cost.
        limits: the side constraints.
    """
    return _LabelSearch(tables, measure, latency, limits).run()


class _LabelSearch:
    """The state of one search.

    Invariant: every path within the limits continues a label of ``_open``, or one that a settled label dominates. So
    the least bound of ``_open`` bounds all paths, and the first whole path that is popped is the cheapest.
    """

    def __init__(self, tables: Tables, measure: CostMeasure, latency: CostMeasure | None, limits: Limits) -> None:
        self._tables, self._measure, self._latency, self._limits = tables, measure, latency or measure, limits
        self._nodes, self._blocks = measure.run.shape
        self._togo = cost_to_go(measure)
        self._late_togo = self._togo if latency is None else cost_to_go(latency)
        # By number of blocks and node: labels there have the same extensions, so that they can dominate each other.
        self._settled: dict[tuple[int, int], Frontier] = {}
        self._open: list[tuple[float, int, Label]] = []
        self._ticket = count()

    def run(self) -> SearchOutcome:
        nodes = np.arange(self._nodes)
        self._enter(None, nodes, nodes * 0, self._measure.first, self._latency.first)
        settled = 0
        while self._open:
            bound, _, label = heapq.heappop(self._open)
            # A whole path comes up when nothing open has a smaller bound: it is optimal.
            if label.done > self._blocks:
                return SearchOutcome(traced_path(label), True, label.cost)
            held = label.holdings
            values = (label.cost, label.latency_ms, *held.parameter_bytes, *held.working_bytes)
            rivals = self._settled.setdefault((label.done, label.node), Frontier(len(values)))
            if not rivals.admit(values, held.used):
                continue
            # The least open bound is that of this label, which the limit leaves unexpanded.
            settled += 1
            self._limits.clock.check()
            if settled > self._limits.label_limit:
                judge = AdditiveJudge(self._measure, self._togo)
                width = self._limits.beam_width
                paths = search_beam(self._tables, self._latency, self._late_togo, self._limits, judge, width, 1)
                return SearchOutcome(paths[0] if paths else None, False, bound)
            if label.done == self._blocks:
                self._finish(label)
            else:
                self._extend(label)
        return SearchOutcome(None, True, inf)

    def _extend(self, label: Label) -> None:
        """Open the labels with one more block, first on the same node, then on others."""
        here, nothing = np.array([label.node]), np.zeros(1)
        self._enter(label, here, here * 0, nothing, nothing)
        sent = self._measure.move[label.done, :, label.node, :]
        codecs, nodes = np.nonzero(np.isfinite(sent))
        self._enter(
            label, nodes, codecs, sent[codecs, nodes], self._latency.move[label.done, codecs, label.node, nodes]
        )

    def _finish(self, label: Label) -> None:
        """Open the whole paths that end with ``label``, one per encoding of the result."""
        for codec in range(self._measure.finish.shape[0]):
            cost = label.cost + float(self._measure.finish[codec, label.node])
            late = label.latency_ms + float(self._latency.finish[codec, label.node])
            self._push(Label(label.done + 1, label.node, cost, late, label.holdings, label, codec), 0.0, 0.0)

    def _enter(self, parent: Label | None, nodes: Index, codecs: Index, costs: Array, lates: Array) -> None:
        """Open the labels of the next block on each of ``nodes``, [K].

        Args:
            parent: the label that they continue; None for the first block.
            nodes: where the block runs.
            codecs: the encoding in which its input travels.
            costs: the cost of sending the input.
            lates: the time of sending the input, in ms.
        """
        done = 0 if parent is None else parent.done
        costs = costs + self._measure.run[nodes, done]
        lates = lates + self._latency.run[nodes, done]
        # A segment starts with the first block and wherever the node changes.
        starting = np.full(len(nodes), True) if parent is None else nodes != parent.node
        costs = costs + starting * self._measure.start[nodes]
        lates = lates + starting * self._latency.start[nodes]
        if parent is not None:
            costs, lates = costs + parent.cost, lates + parent.latency_ms
        possible = np.isfinite(costs + self._togo[done + 1, nodes])
        if self._limits.deadline_ms is not None:
            possible &= lates + self._late_togo[done + 1, nodes] <= self._limits.deadline_ms
        before = Holdings() if parent is None else parent.holdings
        for place in np.flatnonzero(possible).tolist():
            node, cost, late = int(nodes[place]), float(costs[place]), float(lates[place])
            holdings = before.with_block(self._limits, node, done)
            if holdings is not None:
                label = Label(done + 1, node, cost, late, holdings, parent, int(codecs[place]))
                self._push(label, float(self._togo[done + 1, node]), float(self._late_togo[done + 1, node]))

    def _push(self, label: Label, togo: float, late_togo: float) -> None:
        """Open a label, unless its bound says that no path within the limits continues it."""
        bound, deadline_ms = label.cost + togo, self._limits.deadline_ms
        if isfinite(bound) and (deadline_ms is None or label.latency_ms + late_togo <= deadline_ms):
            heapq.heappush(self._open, (bound, next(self._ticket), label))
