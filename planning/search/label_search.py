"""Best-first label-setting search: exact where side constraints make plain dynamic programming wrong."""

import heapq
from dataclasses import dataclass
from itertools import count
from math import inf, isfinite

import numpy as np

from planning.search.arrays import Array, Index
from planning.search.beam import Front, Steps, search_beam
from planning.search.chain_path import Path, cost_to_go
from planning.search.cost_tables import CostMeasure, Tables
from planning.search.limits import Limits
from planning.search.pareto import Frontier


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """The best path within the limits (None: there is none), whether that is proved, and a bound of the cost."""

    path: Path | None
    proved: bool
    bound: float


@dataclass(frozen=True, slots=True)
class _Label:
    """A partial route: blocks [0, done) are placed, the last of them on ``node``."""

    done: int
    node: int
    cost: float
    latency_ms: float
    used: int
    memory: tuple[float, ...]
    parent: "_Label | None"
    codec: int


class AdditiveJudge:
    """Judges a beam by an additive cost and its cost to go; see `beam.Judge`."""

    def __init__(self, measure: CostMeasure, togo: Array) -> None:
        """Start with nothing placed; ``togo`` is [B + 1, D]."""
        self._measure, self._togo = measure, togo
        self._cost: Array = np.empty(0)

    def start(self) -> Array:
        """Return the least cost of beginning on every node."""
        return np.asarray(self._measure.first + self._measure.start + self._measure.run[:, 0] + self._togo[1])

    def ways(self, done: int, front: Front) -> tuple[Array, Array]:
        """Return the least cost of every way on."""
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
        rows = np.arange(len(front.node))
        sent = self._measure.move[done][:, front.node, :].transpose(1, 0, 2) + self._measure.start
        sent[rows, 0, front.node] = 0.0
        return np.asarray(self._cost[:, None, None] + sent + self._measure.run[:, done])


def search_labels(tables: Tables, measure: CostMeasure, latency: CostMeasure | None, limits: Limits) -> SearchOutcome:
    """Return the cheapest path within ``limits``.

    A* over labels: the cost to go without side constraints is an exact, consistent bound. A label is dropped when
    another at the same block and node is no worse in cost, latency, devices used and memory. Exponential in the worst
    case, hence the label limit; when it is reached, a beam search gives what it finds.

    Args:
        tables: the stream's arrays.
        measure: the additive cost.
        latency: the latency measure, when the deadline is a side constraint of another cost. When ``measure`` is
            the latency itself, None: the deadline then bounds the cost.
        limits: the side constraints.
    """
    return _Search(tables, measure, latency, limits).run()


class _Search:
    """The state of one search."""

    def __init__(self, tables: Tables, measure: CostMeasure, latency: CostMeasure | None, limits: Limits) -> None:
        self._tables, self._measure, self._latency, self._limits = tables, measure, latency or measure, limits
        self._nodes, self._blocks = measure.run.shape
        self._togo = cost_to_go(measure)
        self._late = self._togo if latency is None else cost_to_go(latency)
        self._kept: dict[tuple[int, int], Frontier] = {}
        self._heap: list[tuple[float, int, _Label]] = []
        self._ticket = count()

    def run(self) -> SearchOutcome:
        nodes = np.arange(self._nodes)
        self._enter(None, nodes, nodes * 0, self._measure.first, self._latency.first)
        settled = 0
        while self._heap:
            bound, _, label = heapq.heappop(self._heap)
            if label.done > self._blocks:
                return SearchOutcome(_path(label), True, label.cost)
            values = (label.cost, label.latency_ms, *label.memory)
            rivals = self._kept.setdefault((label.done, label.node), Frontier(len(values)))
            if not rivals.admit(values, label.used):
                continue
            settled += 1
            if settled > self._limits.label_limit:
                judge = AdditiveJudge(self._measure, self._togo)
                width = self._limits.beam_width
                paths = search_beam(self._tables, self._latency, self._late, self._limits, judge, width, 1)
                return SearchOutcome(paths[0] if paths else None, False, bound)
            self._expand(label)
        return SearchOutcome(None, True, inf)

    def _expand(self, label: _Label) -> None:
        if label.done == self._blocks:
            for codec in range(self._measure.finish.shape[0]):
                cost = label.cost + float(self._measure.finish[codec, label.node])
                late = label.latency_ms + float(self._latency.finish[codec, label.node])
                self._push(_Label(label.done + 1, label.node, cost, late, label.used, label.memory, label, codec), 0, 0)
            return
        here, nothing = np.array([label.node]), np.zeros(1)
        self._enter(label, here, here * 0, nothing, nothing)
        sent = self._measure.move[label.done, :, label.node, :]
        codecs, nodes = np.nonzero(np.isfinite(sent))
        self._enter(
            label, nodes, codecs, sent[codecs, nodes], self._latency.move[label.done, codecs, label.node, nodes]
        )

    def _enter(self, parent: _Label | None, nodes: Index, codecs: Index, costs: Array, lates: Array) -> None:
        """Put the next block on each of ``nodes``, after sending at the given costs and latencies."""
        done = 0 if parent is None else parent.done
        costs = costs + self._measure.run[nodes, done]
        lates = lates + self._latency.run[nodes, done]
        starting = np.full(len(nodes), True) if parent is None else nodes != parent.node
        costs = costs + starting * self._measure.start[nodes]
        lates = lates + starting * self._latency.start[nodes]
        if parent is not None:
            costs, lates = costs + parent.cost, lates + parent.latency_ms
        possible = np.isfinite(costs + self._togo[done + 1, nodes])
        if self._limits.deadline_ms is not None:
            possible &= lates + self._late[done + 1, nodes] <= self._limits.deadline_ms
        for place in np.flatnonzero(possible).tolist():
            node = int(nodes[place])
            self._place(parent, node, int(codecs[place]), float(costs[place]), float(lates[place]))

    def _place(self, parent: _Label | None, node: int, codec: int, cost: float, late: float) -> None:
        done = 0 if parent is None else parent.done
        used = 0
        if self._limits.max_devices is not None:
            used = (0 if parent is None else parent.used) | 1 << node
            if used.bit_count() > self._limits.max_devices:
                return
        memory: tuple[float, ...] = ()
        if self._limits.memory_bytes is not None:
            held = (0.0,) * (2 * self._nodes) if parent is None else parent.memory
            memory = self._hold(held, node, done)
            if memory[2 * node] + memory[2 * node + 1] > self._limits.memory_bytes[node]:
                return
        label = _Label(done + 1, node, cost, late, used, memory, parent, codec)
        self._push(label, float(self._togo[done + 1, node]), float(self._late[done + 1, node]))

    def _hold(self, memory: tuple[float, ...], node: int, block: int) -> tuple[float, ...]:
        """Add a block's parameters, and keep the largest activation, in the pair of numbers of ``node``."""
        parameters = memory[2 * node] + self._limits.parameter_bytes[block]
        working = max(memory[2 * node + 1], self._limits.working_bytes[block])
        return (*memory[: 2 * node], parameters, working, *memory[2 * node + 2 :])

    def _push(self, label: _Label, togo: float, late: float) -> None:
        deadline = self._limits.deadline_ms
        bound = label.cost + togo
        if not isfinite(bound) or (deadline is not None and label.latency_ms + late > deadline):
            return
        heapq.heappush(self._heap, (bound, next(self._ticket), label))


def _path(label: _Label) -> Path:
    """Read the path backwards from the label that has reached the sink."""
    cost, codecs, devices = label.cost, [label.codec], []
    step = label.parent
    while step is not None:
        devices.append(step.node)
        codecs.append(step.codec)
        step = step.parent
    return Path(cost, devices[::-1], codecs[-2::-1])
