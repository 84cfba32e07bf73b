"""Everything on one other device."""

from dataclasses import dataclass, field

import numpy as np

from planning.problem.plan import Infeasible, Plan, StreamPlan
from planning.problem.problem import Problem
from planning.search.device_network import DeviceNetwork, network_of
from planning.search.infeasibility import diagnose, no_split
from planning.search.result import make_plan, same_route_for_all
from planning.search.two_device_splits import cheapest_split, split_table


@dataclass(frozen=True, slots=True)
class RemoteOnly:
    """The baseline that uploads every input (CO in Duan & Wu): the helper with the least latency; O(D B)."""

    name: str = "remote_only"
    description: str = "every block on the one other device with the least latency"
    citation: str = "baseline CO in Duan & Wu, Optimizing job offloading schedule for collaborative DNN inference"
    network: DeviceNetwork | None = field(default=None, repr=False, compare=False)

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the remote plan."""
        network = network_of(problem, self.network)
        plans: dict[str, StreamPlan] = {}
        for stream in problem.streams:
            cuts = split_table(problem, stream, network)
            route = cheapest_split(cuts, np.where(cuts.cut == 0, cuts.latency_ms, np.inf))
            if route is None or route.stages[0].device == stream.source:
                reasons = diagnose(problem, stream, time_budget_s) or (no_split(stream, self.name),)
                return Infeasible(self.name, problem.policy.objective, reasons)
            plans[stream.name] = same_route_for_all(route, stream.jobs)
        return make_plan(problem, self.name, plans, costs=network.costs)
