"""Masud: an adaptive heuristic that weighs latency, the bottleneck and energy under the present load."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from planning.cost.cost_model import CostModel
from planning.problem.plan import Infeasible, Plan, Route
from planning.problem.problem import Problem, Stream
from planning.search.arrays import Index
from planning.search.cost_tables import Tables, build_tables, latency_measure, spans_ms, with_source
from planning.search.planning_context import PlanningContext, context_of
from planning.search.result import unsupported
from planning.search.simple_routes import keeps_constraints
from planning.search.stream_by_stream import plan_each_stream
from planning.strategies.traits import CostClass, Traits, Trial
from shared.policy import Objective

# Largest number of devices; beyond it, chains over all of them take too long.
MAX_DEVICES = 300

# Largest number of segments (devices x blocks squared): about a second and 240 MB.
MAX_SPANS = 10_000_000

# Bounds of the slowest stage that are tried, beside none.
LEVELS = 24


@dataclass(frozen=True, slots=True)
class Masud:
    """Contiguous segments that minimise latency_weight x latency + (1 - latency_weight) x slowest stage.

    The proposal describes monitoring, a load-aware heuristic and a learned partitioner in prose only. This is the
    heuristic made concrete. Block times are divided by the idle share of a device: multiplied by its load factor.
    LEVELS bounds of the slowest stage are tried. For each, dynamic programming over cuts and devices finds the quickest
    chain of segments that keeps it, O(LEVELS B^2 D^2). The best weighted sum wins. ``energy_weight_ms_per_j`` adds
    energy. The proposal's hysteresis (a gain of 10 % for three samples, every 5 s at most) is the policy's min_gain and
    cooldown.
    """

    traits: ClassVar[Traits] = Traits(
        objectives=frozenset({Objective.LATENCY, Objective.THROUGHPUT, Objective.ENERGY}),
        cost_class=CostClass.PER_STREAM,
        budgeted=False,
    )

    name: str = "masud"
    description: str = "load-aware chain of segments: weighted latency, slowest stage and energy"
    citation: str = (
        "Masud, Optimizing distributed DNN inference for low latency and energy efficiency on edge devices; "
        "measured later as ParetoPipe (arXiv 2601.08025)"
    )
    trial: Trial | None = field(default=Trial(turn=40))
    latency_weight: float = 0.5
    energy_weight_ms_per_j: float = 0.0

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the best weighted chain for every stream on its own."""
        context = context_of(problem, context)
        network, costs = context.network, context.costs
        devices = max(len(network.able(stream.model)) for stream in problem.streams)
        if devices > MAX_DEVICES:
            return unsupported(problem, self.name, f"{devices} devices, more than {MAX_DEVICES}")
        spans = max(
            len(network.able(stream.model)) * len(problem.models[stream.model].blocks) ** 2
            for stream in problem.streams
        )
        if spans > MAX_SPANS:
            return unsupported(problem, self.name, f"{spans} segments to compare, more than {MAX_SPANS}")
        # Streams of one model over the same devices share the dynamic programme, wherever they start.
        shared: dict[tuple[str, tuple[str, ...], int | None], _Chains] = {}

        def choose(stream: Stream) -> Route | None:
            tables = build_tables(problem, stream, network)
            key = stream.model, tables.nodes, tables.sink
            chains = shared.get(key)
            if chains is None:
                chains = shared[key] = _Chains(tables)
            return self._best(costs, stream, chains.quickest(tables))

        return plan_each_stream(context, self.name, choose, time_budget_s)

    def _best(self, costs: CostModel, stream: Stream, routes: Sequence[Route]) -> Route | None:
        best: tuple[tuple[float, float], Route] | None = None
        for route in dict.fromkeys(routes):
            if not keeps_constraints(costs.problem, stream, route, costs):
                continue
            slowest_ms = max(costs.busy_ms(stream, route).values(), default=0.0)
            latency_ms = costs.latency_ms(stream, route)
            score = self.latency_weight * latency_ms + (1 - self.latency_weight) * slowest_ms
            score += self.energy_weight_ms_per_j * costs.energy_j(stream, route)
            if best is None or (score, latency_ms) < best[0]:
                best = (score, latency_ms), route
        return None if best is None else best[1]


class _Chains:
    """Chains of segments over one stream's tables; every transfer has the encoding that arrives soonest."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._span = spans_ms(tables)
        latency = latency_measure(tables)
        self._latency = latency
        self._finish, self._finish_codec = latency.finish.min(axis=0), latency.finish.argmin(axis=0)
        self._move, self._codec = latency.move.min(axis=1), latency.move.argmin(axis=1)
        self._blocks = tables.blocks
        self._bound_ms = np.array(self._levels())
        self._decide()

    def _levels(self) -> list[float]:
        """Return ascending bounds of the slowest stage in ms, from the largest unavoidable block up to none."""
        least = float(self._tables.run_ms.min(axis=0).max())
        whole = float(np.where(np.isfinite(self._span[:, 0, -1]), self._span[:, 0, -1], 0.0).max())
        if not np.isfinite(least) or whole <= 0:
            return [np.inf]
        return [*np.geomspace(max(least, whole / 1000), max(whole, least), LEVELS).tolist(), np.inf]

    def _decide(self) -> None:
        """Compute, per level and from every cut, the quickest chain without longer segments or transfers."""
        blocks, nodes = self._blocks, len(self._tables.nodes)
        bound_ms = self._bound_ms[:, None, None]
        count = len(self._bound_ms)
        togo = np.full((blocks + 1, count, nodes), np.inf)
        stops = np.zeros((blocks, count, nodes), dtype=np.int64)
        after = np.zeros((blocks + 1, count, nodes), dtype=np.int64)
        leave = np.full((count, nodes, blocks + 1), np.inf)
        leave[:, :, blocks] = np.where(self._finish <= bound_ms[:, 0], self._finish, np.inf)
        # Backwards over the cuts, for all levels in arrays. togo[c] is the least time of the blocks from cut c on if
        # the next segment starts on a node. leave[..., c] is the least time after a segment on a node that stops at cut
        # c. Both are infinite where some stage would exceed the bound of the level.
        for start in range(blocks - 1, -1, -1):
            span = self._span[:, start, start + 1 :]
            total = np.where(span <= bound_ms, span + leave[:, :, start + 1 :], np.inf)
            stops[start] = start + 1 + total.argmin(axis=2)
            togo[start] = total.min(axis=2)
            if start:
                sent = self._move[start]
                moves = np.where(sent <= bound_ms, sent, np.inf) + togo[start][:, None, :]
                after[start] = moves.argmin(axis=2)
                leave[:, :, start] = moves.min(axis=2)
        self._togo, self._stops, self._after = togo[0], stops, after

    def quickest(self, tables: Tables) -> list[Route]:
        """Return the quickest chain of every level from the source of ``tables``, where there is one."""
        first = with_source(self._latency, tables).first
        begin = np.where(first <= self._bound_ms[:, None], first, np.inf) + self._togo
        routes = []
        for level, node in enumerate(begin.argmin(axis=1).tolist()):
            if np.isfinite(begin[level, node]):
                routes.append(self._read(self._stops[:, level], self._after[:, level], node))
        return routes

    def _read(self, stops: Index, after: Index, node: int) -> Route:
        """Return the chain that begins on ``node``, from the decisions at every cut."""
        blocks, cut = self._blocks, 0
        devices: list[int] = []
        codecs: list[int] = []
        while cut < blocks:
            stop = int(stops[cut, node])
            following = int(after[stop, node]) if stop < blocks else node
            codec = self._codec[stop, node, following] if stop < blocks else self._finish_codec[node]
            devices += [node] * (stop - cut)
            codecs += [int(codec)] * (stop - cut)
            node, cut = following, stop
        return self._tables.route(devices, codecs, 1)


VARIANTS = (
    Masud(name="masud:latency", description="weighs latency alone", trial=Trial(turn=200), latency_weight=1.0),
    Masud(
        name="masud:bottleneck",
        description="weighs the slowest stage alone",
        trial=Trial(turn=200),
        latency_weight=0.0,
    ),
)
