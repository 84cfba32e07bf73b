"""Neurosurgeon: the one cut between the source and a server with the least latency or energy."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from planning.problem.plan import Infeasible, Plan, Route
from planning.problem.problem import Problem
from planning.search.planning_context import PlanningContext, context_of
from planning.search.stream_by_stream import plan_each_stream
from planning.search.two_device_splits import SplitTable, cheapest_split, split_table
from planning.strategies.traits import CostClass, Traits, Trial
from shared.policy import Objective


@dataclass(frozen=True, slots=True)
class Neurosurgeon:
    """A scan of all cuts, O(B) per server.

    Choices that the paper leaves open, also because it assumes a single server:

    - Times come from profile tables instead of regressions.
    - With several servers, the best pair of server and cut is taken.
    - The server's load factor K counts as 1 unless ``server_load_aware``, as in the original's first variant.
    - The energy variant is used for the objective energy, the latency variant for every other.
    - Cuts that break a constraint are left out.
    - Every encoding that the policy allows at a cut is a candidate of its own.
    """

    traits: ClassVar[Traits] = Traits(
        objectives=frozenset({Objective.LATENCY, Objective.ENERGY}), cost_class=CostClass.SEARCH, budgeted=False
    )

    name: str = "neurosurgeon"
    description: str = "best single cut between source and one server, for latency or energy"
    citation: str = (
        "Kang et al., Neurosurgeon: collaborative intelligence between the cloud and mobile edge, ASPLOS 2017"
    )
    trial: Trial | None = field(default=Trial(turn=130))
    server_load_aware: bool = False

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the best pair of server and cut for every stream."""
        context = context_of(problem, context)
        network = context.network
        return plan_each_stream(
            context, self.name, lambda stream: self._best(split_table(problem, stream, network)), time_budget_s
        )

    def _best(self, splits: SplitTable) -> Route | None:
        problem = splits.problem
        price = splits.energy_j if problem.policy.objective is Objective.ENERGY else splits.latency_ms
        if problem.policy.objective is not Objective.ENERGY and not self.server_load_aware:
            load = np.array([*(problem.devices[name].slowdown for name in splits.helpers), 1.0])[splits.helper]
            price = price + splits.blocks_ms / load - splits.blocks_ms
        return cheapest_split(splits, price)


VARIANTS = (
    Neurosurgeon(
        name="neurosurgeon:load_aware",
        description="knows the load of the server (the original's factor K)",
        trial=Trial(turn=140),
        server_load_aware=True,
    ),
)
