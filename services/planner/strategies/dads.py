"""DADS: one cut between source and server, for latency under light load and for the bottleneck under heavy load."""

from dataclasses import dataclass

from services.planner.strategies.candidates import keeps_constraints, splits
from services.planner.strategies.diagnosis import diagnose
from services.planner.strategies.neurosurgeon import no_split
from services.planner.strategies.strategy import conclude, uniform
from shared.plan.cost import CostModel
from shared.plan.plan import Infeasible, Plan, Route, StreamPlan
from shared.plan.problem import Problem, Stream


@dataclass(frozen=True, slots=True)
class Dads:
    """DSL: the cut with the least sum of edge, transfer and cloud time. DSH: the one with the least of their maximum.

    DSL is used while each of its three stages keeps up with the stream's rate (``rate_hz``; without one the load is
    light), else DSH. Exact on chains by a scan of all cuts, O(B) predictions per server. For branching models plans
    are limited to contiguous blocks; ``min_cut.cheapest_division`` has the original's minimum cut over all closed sets.
    """

    name: str = "dads"
    description: str = "one cut to one server: least sum under light load, least maximum under heavy load"
    citation: str = "Hu, Bao, Wang, Liu, Dynamic adaptive DNN surgery for inference acceleration, INFOCOM 2019"

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return DSL's or DSH's cut for every stream."""
        plans: dict[str, StreamPlan] = {}
        for stream in problem.streams:
            routes = [route for route, _, _ in splits(problem, stream) if keeps_constraints(problem, stream, route)]
            if not routes:
                reasons = diagnose(problem, stream, time_budget_s) or (no_split(stream, self.name),)
                return Infeasible(self.name, problem.policy.objective, reasons)
            plans[stream.name] = uniform(_surgery(problem, stream, routes), stream.jobs)
        return conclude(problem, self.name, plans)


def _surgery(problem: Problem, stream: Stream, routes: list[Route]) -> Route:
    costs = CostModel(problem)
    light = min(routes, key=lambda route: costs.latency_ms(stream, route))
    period_ms = float("inf") if stream.rate_hz is None else 1000 / stream.rate_hz
    if _slowest_stage_ms(costs, stream, light) < period_ms:
        return light
    return min(routes, key=lambda route: _slowest_stage_ms(costs, stream, route))


def _slowest_stage_ms(costs: CostModel, stream: Stream, route: Route) -> float:
    return max((operation.duration_ms for operation in costs.operations(stream, route)), default=0.0)
