"""Everything on one other device."""

from dataclasses import dataclass

from services.planner.strategies.candidates import helpers, keeps_constraints, split_route
from services.planner.strategies.diagnosis import diagnose
from services.planner.strategies.neurosurgeon import no_split
from services.planner.strategies.strategy import conclude, uniform
from shared.plan.cost import CostModel
from shared.plan.plan import Infeasible, Plan, StreamPlan
from shared.plan.problem import Problem


@dataclass(frozen=True, slots=True)
class RemoteOnly:
    """The baseline that uploads every input (CO in Duan & Wu): the helper with the least latency; O(D B)."""

    name: str = "remote_only"
    description: str = "every block on the one other device with the least latency"
    citation: str = "baseline CO in Duan & Wu, Optimizing job offloading schedule for collaborative DNN inference"

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the remote plan."""
        costs = CostModel(problem)
        plans: dict[str, StreamPlan] = {}
        for stream in problem.streams:
            routes = [split_route(problem, stream, helper, 0) for helper in helpers(problem, stream)]
            kept = [route for route in routes if keeps_constraints(problem, stream, route)]
            if not kept:
                reasons = diagnose(problem, stream, time_budget_s) or (no_split(stream, self.name),)
                return Infeasible(self.name, problem.policy.objective, reasons)
            times_ms = [costs.latency_ms(stream, route) for route in kept]
            plans[stream.name] = uniform(kept[times_ms.index(min(times_ms))], stream.jobs)
        return conclude(problem, self.name, plans)
