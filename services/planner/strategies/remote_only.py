"""Everything on one other device."""

from dataclasses import dataclass, field

import numpy as np

from services.planner.search.answers import conclude, uniform
from services.planner.search.diagnosis import diagnose, no_split
from services.planner.search.network import Network, network_of
from services.planner.search.one_cut import best_route, one_cuts
from shared.plan.plan import Infeasible, Plan, StreamPlan
from shared.plan.problem import Problem


@dataclass(frozen=True, slots=True)
class RemoteOnly:
    """The baseline that uploads every input (CO in Duan & Wu): the helper with the least latency; O(D B)."""

    name: str = "remote_only"
    description: str = "every block on the one other device with the least latency"
    citation: str = "baseline CO in Duan & Wu, Optimizing job offloading schedule for collaborative DNN inference"
    network: Network | None = field(default=None, repr=False, compare=False)

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the remote plan."""
        network = network_of(problem, self.network)
        plans: dict[str, StreamPlan] = {}
        for stream in problem.streams:
            cuts = one_cuts(problem, stream, network)
            route = best_route(cuts, np.where(cuts.cut == 0, cuts.latency_ms, np.inf))
            if route is None or route.stages[0].device == stream.source:
                reasons = diagnose(problem, stream, time_budget_s) or (no_split(stream, self.name),)
                return Infeasible(self.name, problem.policy.objective, reasons)
            plans[stream.name] = uniform(route, stream.jobs)
        return conclude(problem, self.name, plans, costs=network.costs)
