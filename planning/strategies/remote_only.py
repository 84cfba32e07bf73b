"""The baseline that computes everything on one other device."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from planning.problem.plan import Infeasible, Plan, Route
from planning.problem.problem import Problem, Stream
from planning.search.device_network import DeviceNetwork
from planning.search.planning_context import PlanningContext, context_of
from planning.search.stream_by_stream import plan_each_stream
from planning.search.two_device_splits import cheapest_split, split_table
from planning.strategies.traits import CostClass, Traits, Trial
from shared.policy import Objective


@dataclass(frozen=True, slots=True)
class RemoteOnly:
    """The baseline that uploads every input (CO in Duan & Wu) to the helper of least latency; O(D B) per stream."""

    traits: ClassVar[Traits] = Traits(
        objectives=frozenset({Objective.LATENCY}), cost_class=CostClass.PER_STREAM, budgeted=False
    )

    name: str = "remote_only"
    description: str = "every block on the one other device with the least latency"
    citation: str = "baseline CO in Duan & Wu, Optimizing job offloading schedule for collaborative DNN inference"
    trial: Trial | None = field(default=Trial(turn=220))

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the remote plan."""
        context = context_of(problem, context)
        network = context.network
        return plan_each_stream(context, self.name, lambda stream: _remote_route(network, stream), time_budget_s)


def _remote_route(network: DeviceNetwork, stream: Stream) -> Route | None:
    splits = split_table(network.problem, stream, network)
    route = cheapest_split(splits, np.where(splits.cut == 0, splits.latency_ms, np.inf))
    return None if route is None or route.stages[0].device == stream.source else route
