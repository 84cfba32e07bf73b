"""Best-first label-setting search: exact where side constraints make plain dynamic programming wrong."""

import heapq
from dataclasses import dataclass
from itertools import count
from math import inf, isfinite

from services.planner.strategies.chain_path import Path, cost_to_go
from services.planner.strategies.frontier import Frontier
from services.planner.strategies.tables import Measure, Tables
from shared.plan.constraints import SLACK
from shared.plan.problem import Problem

LABELS_PER_SECOND = 20_000
"""How many labels a second of time budget buys."""


BEAM_WIDTH = 64
"""How many partial routes a greedy pass keeps per block."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Side constraints of a search.

    Attributes:
        deadline_ms: bound of the latency.
        max_devices: bound of the number of devices that compute.
        memory_bytes: what is left on every node; None if all fits anyway.
        parameter_bytes: of every block.
        working_bytes: largest activation of every block.
        label_limit: give up after so many labels.
    """

    deadline_ms: float | None
    max_devices: int | None
    memory_bytes: tuple[float, ...] | None
    parameter_bytes: tuple[float, ...]
    working_bytes: tuple[float, ...]
    label_limit: int


@dataclass(frozen=True, slots=True)
class Found:
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


def limits_of(problem: Problem, tables: Tables, time_budget_s: float, held: dict[str, float] | None = None) -> Limits:
    """Return the side constraints of the stream of ``tables``; ``held`` bytes of memory are already taken."""
    model = problem.models[tables.stream.model]
    parameters = tuple(block.parameter_bytes for block in model.blocks)
    working = tuple(block.working_bytes for block in model.blocks)
    need = sum(parameters) + max(working)
    room = []
    for name in tables.nodes:
        limit = problem.devices[name].memory_bytes
        room.append(inf if limit is None else limit + SLACK * max(1.0, limit) - (held or {}).get(name, 0.0))
    deadline = problem.deadline_ms(tables.stream)
    most = problem.policy.max_devices
    return Limits(
        None if deadline is None else deadline + SLACK * max(1.0, deadline),
        None if most is None or most >= min(len(tables.nodes), tables.blocks) else most,
        None if min(room) >= need else tuple(room),
        parameters,
        working,
        1000 + int(LABELS_PER_SECOND * time_budget_s),
    )


def search(measure: Measure, latency: Measure | None, limits: Limits) -> Found:
    """Return the cheapest path within ``limits``.

    A* over labels: the cost to go without side constraints is an exact, consistent bound. A label is dropped when
    another at the same block and node is no worse in cost, latency, devices used and memory. Exponential in the worst
    case, hence the label limit; when it is reached, a beam search gives what it finds.

    Args:
        measure: the additive cost.
        latency: the latency measure, when the deadline is a side constraint of another cost. When ``measure`` is
            the latency itself, None: the deadline then bounds the cost.
        limits: the side constraints.
    """
    return _Search(measure, latency, limits).run()


class _Search:
    """The state of one search."""

    def __init__(self, measure: Measure, latency: Measure | None, limits: Limits) -> None:
        self._measure, self._latency, self._limits = measure, latency or measure, limits
        self._nodes, self._blocks = measure.run.shape
        self._togo = cost_to_go(measure)
        self._late = self._togo if latency is None else cost_to_go(latency)
        self._kept: dict[tuple[int, int], Frontier] = {}
        self._heap: list[tuple[float, int, _Label]] = []
        self._ticket = count()

    def run(self) -> Found:
        for node in range(self._nodes):
            self._enter(None, node, 0, float(self._measure.first[node]), float(self._latency.first[node]))
        settled = 0
        while self._heap:
            bound, _, label = heapq.heappop(self._heap)
            if label.done > self._blocks:
                return Found(_path(label), True, label.cost)
            values = (label.cost, label.latency_ms, *label.memory)
            rivals = self._kept.setdefault((label.done, label.node), Frontier(len(values)))
            if not rivals.admit(values, label.used):
                continue
            settled += 1
            if settled > self._limits.label_limit:
                best = self._beam()
                return Found(None if best is None else _path(best), False, bound)
            self._expand(label)
        return Found(None, True, inf)

    def _beam(self) -> _Label | None:
        """Return the best route of a breadth-first pass that keeps a bounded number of labels per block."""
        self._heap.clear()
        for node in range(self._nodes):
            self._enter(None, node, 0, float(self._measure.first[node]), float(self._latency.first[node]))
        for _ in range(self._blocks):
            front = heapq.nsmallest(BEAM_WIDTH, self._heap)
            self._heap.clear()
            for _, _, label in front:
                self._expand(label)
        return min(self._heap)[2] if self._heap else None

    def _expand(self, label: _Label) -> None:
        if label.done == self._blocks:
            for codec in range(self._measure.finish.shape[0]):
                cost = label.cost + float(self._measure.finish[codec, label.node])
                late = label.latency_ms + float(self._latency.finish[codec, label.node])
                self._push(_Label(label.done + 1, label.node, cost, late, label.used, label.memory, label, codec), 0, 0)
            return
        for node in range(self._nodes):
            if node == label.node:
                self._enter(label, node, 0, 0.0, 0.0)
                continue
            for codec in range(self._measure.move.shape[1]):
                place = label.done, codec, label.node, node
                self._enter(label, node, codec, float(self._measure.move[place]), float(self._latency.move[place]))

    def _enter(self, parent: _Label | None, node: int, codec: int, cost: float, late: float) -> None:
        """Put the next block on ``node``, after sending at the given cost and latency."""
        done = 0 if parent is None else parent.done
        if parent is None or parent.node != node:
            cost += float(self._measure.start[node])
            late += float(self._latency.start[node])
        cost += float(self._measure.run[node, done])
        late += float(self._latency.run[node, done])
        used = 0 if self._limits.max_devices is None else 1 << node
        memory: tuple[float, ...] = ()
        if parent is not None:
            cost, late, used = cost + parent.cost, late + parent.latency_ms, used | parent.used
        if self._limits.max_devices is not None and used.bit_count() > self._limits.max_devices:
            return
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
