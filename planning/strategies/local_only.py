"""Everything on the source device."""

from dataclasses import dataclass, field

from planning.problem.plan import Infeasible, Plan, StreamPlan
from planning.problem.problem import Problem
from planning.search.device_network import DeviceNetwork, network_of
from planning.search.infeasibility import diagnose, no_split
from planning.search.result import make_plan, same_route_for_all
from planning.search.simple_routes import local_route


@dataclass(frozen=True, slots=True)
class LocalOnly:
    """The baseline without a network (LO in Duan & Wu); O(B)."""

    name: str = "local_only"
    description: str = "every block on the source device"
    citation: str = "baseline LO in Duan & Wu, Optimizing job offloading schedule for collaborative DNN inference"
    network: DeviceNetwork | None = field(default=None, repr=False, compare=False)

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the local plan."""
        network = network_of(problem, self.network)
        plans: dict[str, StreamPlan] = {}
        for stream in problem.streams:
            route = local_route(problem, stream, network.costs)
            if route is None:
                reasons = diagnose(problem, stream, time_budget_s) or (no_split(stream, self.name),)
                return Infeasible(self.name, problem.policy.objective, reasons)
            plans[stream.name] = same_route_for_all(route, stream.jobs)
        return make_plan(problem, self.name, plans, costs=network.costs)
