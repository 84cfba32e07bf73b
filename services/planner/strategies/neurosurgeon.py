"""Neurosurgeon: the one cut between the source and a server with the least latency or energy."""

from dataclasses import dataclass

from services.planner.strategies.candidates import keeps_constraints, splits
from services.planner.strategies.diagnosis import diagnose
from services.planner.strategies.strategy import conclude, uniform
from shared.plan.cost import CostModel
from shared.plan.plan import Constraint, Infeasible, Plan, Route, StreamPlan, Violation
from shared.plan.policy import Objective
from shared.plan.problem import Problem, Stream


@dataclass(frozen=True, slots=True)
class Neurosurgeon:
    """Scan of all cuts, O(B) per server (B cost predictions, each O(B)).

    Resolutions: profile tables instead of regressions; with several servers the best pair; the server's load factor K
    is taken as 1 unless ``server_load_aware``, as in the original's first variant; the energy variant is used for the
    objective energy, latency for every other. Cuts that break a constraint are not considered. Every
    encoding that the policy allows at a cut counts as a cut of its own.
    """

    name: str = "neurosurgeon"
    description: str = "best single cut between source and one server, for latency or energy"
    citation: str = (
        "Kang et al., Neurosurgeon: collaborative intelligence between the cloud and mobile edge, ASPLOS 2017"
    )
    server_load_aware: bool = False

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the best pair and cut for every stream."""
        plans: dict[str, StreamPlan] = {}
        for stream in problem.streams:
            route = self._best(problem, stream)
            if route is None:
                reasons = diagnose(problem, stream, time_budget_s) or (no_split(stream, self.name),)
                return Infeasible(self.name, problem.policy.objective, reasons)
            plans[stream.name] = uniform(route, stream.jobs)
        return conclude(problem, self.name, plans)

    def _best(self, problem: Problem, stream: Stream) -> Route | None:
        costs = CostModel(problem)
        best: tuple[float, Route] | None = None
        for route, helper, cut in splits(problem, stream):
            if problem.policy.objective is Objective.ENERGY:
                seen = costs.energy_j(stream, route)
            else:
                seen = costs.latency_ms(stream, route)
                if not self.server_load_aware and helper != stream.source:
                    loaded_ms = costs.compute_ms(helper, stream.model, cut, len(problem.models[stream.model].blocks))
                    seen += loaded_ms / problem.devices[helper].load_factor - loaded_ms
            if (best is None or seen < best[0]) and keeps_constraints(problem, stream, route):
                best = seen, route
        return None if best is None else best[1]


def no_split(stream: Stream, strategy: str) -> Violation:
    """Return the reason of an algorithm that finds no plan of its shape although there may be others."""
    message = f"stream {stream.name}: no plan of the shape that {strategy} considers keeps the constraints"
    return Violation(Constraint.ROUTE, stream.name, message)
