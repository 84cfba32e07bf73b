"""Masud: an adaptive heuristic that weighs latency against the bottleneck and energy under the present load."""

from dataclasses import dataclass

import numpy as np

from services.planner.strategies.candidates import keeps_constraints
from services.planner.strategies.diagnosis import diagnose
from services.planner.strategies.neurosurgeon import no_split
from services.planner.strategies.strategy import conclude, uniform
from services.planner.strategies.tables import Array, Tables, build_tables, latency_measure
from shared.plan.cost import CostModel
from shared.plan.plan import Infeasible, Plan, Route, StreamPlan
from shared.plan.problem import Problem, Stream

LEVELS = 24
"""How many bounds of the slowest stage are tried between the tightest and none."""


@dataclass(frozen=True, slots=True)
class Masud:
    """Contiguous segments that minimise latency_weight x latency + (1 - latency_weight) x slowest stage.

    The proposal describes monitoring, a load-aware heuristic and a learned partitioner in prose only; this is the
    heuristic made concrete. Block times are divided by the idle share of a device, which is what a load factor says.
    For each of LEVELS bounds of the slowest stage, the quickest chain of segments that keeps it, by dynamic
    programming over cuts and devices, O(LEVELS B^2 D^2); the best weighted sum wins. ``energy_weight_ms_per_j`` adds
    energy. Hysteresis (a gain of 10 % for three samples, every 5 s at most) is the policy's min_gain and cooldown.
    """

    name: str = "masud"
    description: str = "load-aware chain of segments: weighted latency, slowest stage and energy"
    citation: str = (
        "Masud, Optimizing distributed DNN inference for low latency and energy efficiency on edge devices; "
        "measured later as ParetoPipe (arXiv 2601.08025)"
    )
    latency_weight: float = 0.5
    energy_weight_ms_per_j: float = 0.0

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the best weighted chain for every stream on its own."""
        plans: dict[str, StreamPlan] = {}
        for stream in problem.streams:
            route = self._best(problem, stream)
            if route is None:
                reasons = diagnose(problem, stream, time_budget_s) or (no_split(stream, self.name),)
                return Infeasible(self.name, problem.policy.objective, reasons)
            plans[stream.name] = uniform(route, stream.jobs)
        return conclude(problem, self.name, plans)

    def _best(self, problem: Problem, stream: Stream) -> Route | None:
        chains = _Chains(build_tables(problem, stream))
        costs = CostModel(problem)
        best: tuple[tuple[float, float], Route] | None = None
        for bound_ms in chains.levels():
            route = chains.quickest(bound_ms)
            if route is None or not keeps_constraints(problem, stream, route):
                continue
            slowest_ms = max(costs.busy_ms(stream, route).values(), default=0.0)
            latency_ms = costs.latency_ms(stream, route)
            score = self.latency_weight * latency_ms + (1 - self.latency_weight) * slowest_ms
            score += self.energy_weight_ms_per_j * costs.energy_j(stream, route)
            if best is None or (score, latency_ms) < best[0]:
                best = (score, latency_ms), route
        return None if best is None else best[1]


class _Chains:
    """Chains of segments over one stream's tables; what is sent travels in the encoding that is there soonest."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        nodes, blocks = tables.run_ms.shape
        sums = np.concatenate([np.zeros((nodes, 1)), np.cumsum(tables.run_ms, axis=1)], axis=1)
        with np.errstate(invalid="ignore"):
            spans = sums[:, None, :] - sums[:, :, None]
        self._span: Array = np.where(np.isnan(spans), np.inf, spans) + tables.start_ms[:, None, None]
        latency = latency_measure(tables)
        self._first = latency.first
        self._finish, self._finish_codec = latency.finish.min(axis=0), latency.finish.argmin(axis=0)
        self._move, self._codec = latency.move.min(axis=1), latency.move.argmin(axis=1)
        self._blocks = blocks

    def levels(self) -> list[float]:
        """Return bounds from the largest single piece that cannot be avoided up to none."""
        least = float(self._tables.run_ms.min(axis=0).max())
        whole = float(np.where(np.isfinite(self._span[:, 0, -1]), self._span[:, 0, -1], 0.0).max())
        if not np.isfinite(least) or whole <= 0:
            return [np.inf]
        return [*np.geomspace(max(least, whole / 1000), max(whole, least), LEVELS).tolist(), np.inf]

    def quickest(self, bound_ms: float) -> Route | None:
        """Return the quickest chain in which no segment and no transfer takes longer than ``bound_ms``."""
        blocks, nodes = self._blocks, len(self._tables.nodes)
        togo = np.full((blocks + 1, nodes), np.inf)
        stops = np.zeros((blocks, nodes), dtype=np.int64)
        after = np.zeros((blocks + 1, nodes), dtype=np.int64)
        leave = np.full((blocks + 1, nodes), np.inf)
        leave[blocks] = np.where(self._finish <= bound_ms, self._finish, np.inf)
        for start in range(blocks - 1, -1, -1):
            span = self._span[:, start, start + 1 :]
            total = np.where(span <= bound_ms, span + leave[start + 1 :].T, np.inf)
            stops[start] = start + 1 + total.argmin(axis=1)
            togo[start] = total.min(axis=1)
            if start:
                moves = np.where(self._move[start] <= bound_ms, self._move[start], np.inf) + togo[start]
                after[start] = moves.argmin(axis=1)
                leave[start] = moves.min(axis=1)
        begin = np.where(self._first <= bound_ms, self._first, np.inf) + togo[0]
        node, cut = int(begin.argmin()), 0
        if not np.isfinite(begin[node]):
            return None
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
