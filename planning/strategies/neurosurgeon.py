"""Neurosurgeon: the one cut between the source and a server with the least latency or energy."""

from dataclasses import dataclass, field

import numpy as np

from planning.problem.plan import Infeasible, Plan, Route, StreamPlan
from planning.problem.problem import Problem
from planning.search.device_network import DeviceNetwork, network_of
from planning.search.infeasibility import diagnose, no_split
from planning.search.result import make_plan, same_route_for_all
from planning.search.two_device_splits import SplitTable, cheapest_split, split_table
from shared.policy import Objective


@dataclass(frozen=True, slots=True)
class Neurosurgeon:
    """Scan of all cuts, O(B) per server.

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
    network: DeviceNetwork | None = field(default=None, repr=False, compare=False)

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the best pair and cut for every stream."""
        network = network_of(problem, self.network)
        plans: dict[str, StreamPlan] = {}
        for stream in problem.streams:
            route = self._best(split_table(problem, stream, network))
            if route is None:
                reasons = diagnose(problem, stream, time_budget_s) or (no_split(stream, self.name),)
                return Infeasible(self.name, problem.policy.objective, reasons)
            plans[stream.name] = same_route_for_all(route, stream.jobs)
        return make_plan(problem, self.name, plans, costs=network.costs)

    def _best(self, cuts: SplitTable) -> Route | None:
        problem = cuts.problem
        seen = cuts.energy_j if problem.policy.objective is Objective.ENERGY else cuts.latency_ms
        if problem.policy.objective is not Objective.ENERGY and not self.server_load_aware:
            load = np.array([*(problem.devices[name].load_factor for name in cuts.helpers), 1.0])[cuts.helper]
            seen = seen + cuts.blocks_ms / load - cuts.blocks_ms
        return cheapest_split(cuts, seen)
