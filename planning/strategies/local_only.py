"""The baseline that computes everything on the source device."""

from dataclasses import dataclass, field
from typing import ClassVar

from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.search.planning_context import PlanningContext, context_of
from planning.search.simple_routes import local_route
from planning.search.stream_by_stream import plan_each_stream
from planning.strategies.traits import CostClass, Traits, Trial


@dataclass(frozen=True, slots=True)
class LocalOnly:
    """The baseline without a network (LO in Duan & Wu); O(B) per stream."""

    traits: ClassVar[Traits] = Traits(objectives=frozenset(), cost_class=CostClass.PER_STREAM, budgeted=False)

    name: str = "local_only"
    description: str = "every block on the source device"
    citation: str = "baseline LO in Duan & Wu, Optimizing job offloading schedule for collaborative DNN inference"
    trial: Trial | None = field(default=Trial(turn=210))

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the local plan."""
        context = context_of(problem, context)
        costs = context.costs
        return plan_each_stream(context, self.name, lambda stream: local_route(problem, stream, costs), time_budget_s)
