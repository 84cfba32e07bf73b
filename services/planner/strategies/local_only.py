"""Everything on the source device."""

from dataclasses import dataclass, field

from services.planner.search.answers import conclude, uniform
from services.planner.search.candidates import local_route
from services.planner.search.diagnosis import diagnose, no_split
from services.planner.search.network import Network, network_of
from shared.plan.plan import Infeasible, Plan, StreamPlan
from shared.plan.problem import Problem


@dataclass(frozen=True, slots=True)
class LocalOnly:
    """The baseline without a network (LO in Duan & Wu); O(B)."""

    name: str = "local_only"
    description: str = "every block on the source device"
    citation: str = "baseline LO in Duan & Wu, Optimizing job offloading schedule for collaborative DNN inference"
    network: Network | None = field(default=None, repr=False, compare=False)

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the local plan."""
        network = network_of(problem, self.network)
        plans: dict[str, StreamPlan] = {}
        for stream in problem.streams:
            route = local_route(problem, stream, network.costs)
            if route is None:
                reasons = diagnose(problem, stream, time_budget_s) or (no_split(stream, self.name),)
                return Infeasible(self.name, problem.policy.objective, reasons)
            plans[stream.name] = uniform(route, stream.jobs)
        return conclude(problem, self.name, plans, costs=network.costs)
