"""Exact plans for chains over any number of devices: the cheapest path through blocks x devices x encodings."""

from dataclasses import dataclass

from services.planner.strategies.bottleneck_search import search_bottleneck
from services.planner.strategies.chain_path import Path, cheapest_path, cost_to_go
from services.planner.strategies.diagnosis import diagnose
from services.planner.strategies.label_search import Found, Limits, limits_of, search
from services.planner.strategies.route_mix import mix_routes
from services.planner.strategies.strategy import conclude, uniform
from services.planner.strategies.tables import (
    Measure,
    Tables,
    build_tables,
    energy_measure,
    latency_measure,
    off_source_measure,
)
from shared.plan.constraints import memory_bytes, memory_violations
from shared.plan.cost import CostModel
from shared.plan.pipeline import Work
from shared.plan.plan import Constraint, Infeasible, Plan, StreamPlan, Violation
from shared.plan.policy import Objective
from shared.plan.problem import Problem, Stream

_ADDITIVE = (Objective.LATENCY, Objective.ENERGY, Objective.DEADLINE)


@dataclass(frozen=True, slots=True)
class ShortestPath:
    """Least latency, energy or off-source work, or largest throughput, of one route per stream.

    Latency, energy: dynamic programming, O(B E D^2), exact; a device may be visited again. With constraints that
    dynamic programming cannot see (memory, number of devices, deadline of another objective), and for throughput, a
    label-setting search, exact while it stays within the time budget. Several streams are planned each for itself; if
    their segments do not fit together, one after the other in the order given, which proves nothing.

    For makespan, total delay and delay variance the route that is best for ``route_objective`` (without it: latency,
    which is exact for one job) is taken for all jobs.
    """

    name: str = "shortest_path"
    description: str = "exact cheapest path over blocks, devices and encodings; throughput by label-setting search"
    citation: str = (
        "Bellman, On a routing problem, 1958; for pipelines PipeEdge (arXiv 2110.14895), EdgeShard (2405.14371)"
    )
    route_objective: Objective | None = None

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the cheapest plan; see the class."""
        joint = _solve_streams(problem, self._searched(problem), time_budget_s, in_turn=False)
        bound = joint.bound
        if not joint.missing and memory_violations(problem, joint.plans):
            joint = _solve_streams(problem, self._searched(problem), time_budget_s, in_turn=True)
        if joint.missing:
            return Infeasible(self.name, problem.policy.objective, _reasons(problem, *joint.missing, time_budget_s))
        plans, proved = joint.plans, joint.proved
        jobs = sum(stream.jobs for stream in problem.streams)
        objective = problem.policy.objective
        own = self._searched(problem) is _searched(objective)
        simple = own and (objective in _ADDITIVE or (jobs == 1 and objective is not Objective.THROUGHPUT))
        alone = own and objective is Objective.THROUGHPUT and jobs == 1
        optimal = proved and (simple or alone)
        known = bound / jobs if (simple and objective is not Objective.DEADLINE) or alone else None
        if own and objective is Objective.TOTAL_DELAY:
            known = bound
        return conclude(problem, self.name, plans, optimal=optimal, lower_bound=known)

    def _searched(self, problem: Problem) -> Objective:
        return self.route_objective or _searched(problem.policy.objective)


@dataclass(frozen=True, slots=True)
class _Joint:
    """One route per stream; or the stream that has none, with the search that failed."""

    plans: dict[str, StreamPlan]
    proved: bool
    bound: float
    missing: tuple[Stream, Found] | None = None


def _solve_streams(problem: Problem, objective: Objective, time_budget_s: float, *, in_turn: bool) -> _Joint:
    """Plan every stream for itself, or, ``in_turn``, within the memory that the earlier ones leave.

    For throughput the busy times of earlier streams count either way. The streams share the time budget.
    """
    own_budget_s = time_budget_s / len(problem.streams)
    plans: dict[str, StreamPlan] = {}
    proved, bound = not in_turn, 0.0
    for stream in problem.streams:
        tables = build_tables(problem, stream)
        held = memory_bytes(problem, plans) if in_turn else {}
        found = _solve_stream(problem, tables, plans, held, objective, own_budget_s)
        if found.path is None:
            return _Joint(plans, False, bound, (stream, found))
        plans[stream.name] = uniform(tables.route(found.path.devices, found.path.codecs, 1), stream.jobs)
        proved = proved and found.proved
        bound += found.bound * stream.jobs
    return _Joint(plans, proved, bound)


def _searched(objective: Objective) -> Objective:
    """Return the objective that a single route is searched for."""
    return objective if objective in (*_ADDITIVE, Objective.THROUGHPUT) else Objective.LATENCY


def _solve_stream(
    problem: Problem,
    tables: Tables,
    plans: dict[str, StreamPlan],
    held: dict[str, float],
    objective: Objective,
    time_budget_s: float,
) -> Found:
    """Return the best path for one stream, given the plans of earlier ones and the memory that is held."""
    limits = limits_of(problem, tables, time_budget_s, held)
    latency = latency_measure(tables)
    togo = cost_to_go(latency)
    if objective is Objective.THROUGHPUT:
        busy = _busy(problem, tables, plans)
        weights = mix_routes(problem, [tables]).weights
        return search_bottleneck(tables, latency, togo, limits, busy, weights)
    measure = _measure(tables, objective, latency, limits)
    path = cheapest_path(measure, togo if measure is latency else None)
    if path is None:
        return Found(None, True, float("inf"))
    if _within(problem, tables, path, limits):
        return Found(path, True, path.cost)
    return search(measure, None if measure is latency else latency, limits)


def _measure(tables: Tables, objective: Objective, latency: Measure, limits: Limits) -> Measure:
    if objective is Objective.ENERGY:
        return energy_measure(tables)
    if objective is Objective.DEADLINE:
        local = cheapest_path(latency)
        scale_ms = limits.deadline_ms or (1.0 if local is None else _slowest_ms(tables, local))
        return off_source_measure(tables, latency, scale_ms)
    return latency


def _slowest_ms(tables: Tables, fastest: Path) -> float:
    """Return a latency that no route with the fewest blocks off the source and the least latency exceeds."""
    local = tables.run_ms[tables.source].sum() + tables.start_ms[tables.source]
    return float(local) if local < float("inf") else 1e6 * max(1.0, fastest.cost)


def _within(problem: Problem, tables: Tables, path: Path, limits: Limits) -> bool:
    """Say whether a path of the plain dynamic programme keeps the constraints it did not know of."""
    route = tables.route(path.devices, path.codecs, 1)
    if limits.max_devices is not None and len(route.devices) > limits.max_devices:
        return False
    if limits.deadline_ms is not None:
        latency_ms = CostModel(problem).latency_ms(tables.stream, route)
        if latency_ms > limits.deadline_ms:
            return False
    if limits.memory_bytes is None:
        return True
    need = memory_bytes(problem, {tables.stream.name: uniform(route, 1)})
    return all(need.get(name, 0.0) <= room for name, room in zip(tables.nodes, limits.memory_bytes, strict=True))


def _busy(problem: Problem, tables: Tables, plans: dict[str, StreamPlan]) -> tuple[float, ...] | None:
    """Return the busy times on the nodes of ``tables`` that earlier streams cause; None if there are none."""
    if not plans:
        return None if len(problem.streams) == 1 else (0.0,) * (2 * len(tables.nodes))
    costs = CostModel(problem)
    busy: dict[tuple[str, Work], float] = {}
    for name, plan in plans.items():
        for route in plan.routes:
            for resource, time_ms in costs.busy_ms(problem.stream(name), route).items():
                busy[resource] = busy.get(resource, 0.0) + route.jobs * time_ms
    return tuple(busy.get((name, work), 0.0) for work in (Work.COMPUTE, Work.SEND) for name in tables.nodes)


def _reasons(problem: Problem, stream: Stream, found: Found, time_budget_s: float) -> tuple[Violation, ...]:
    reasons = diagnose(problem, stream, time_budget_s)
    if found.proved and reasons:
        return reasons
    message = f"stream {stream.name}: no plan found within the time budget, beside the other streams"
    return (*reasons, Violation(Constraint.SUPPORT, stream.name, message))
