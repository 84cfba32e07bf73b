"""The route that the user has put into the policy."""

from dataclasses import dataclass
from typing import ClassVar, Final

from planning.problem.plan import Constraint, Infeasible, Plan, Route, Violation
from planning.problem.problem import Problem
from planning.problem.route_reading import RouteTextError, read_route
from planning.search.planning_context import PlanningContext, context_of
from planning.search.stream_by_stream import plan_each_stream
from planning.strategies.traits import CostClass, Traits, Trial

PINNED: Final = "pinned"


@dataclass(frozen=True, slots=True)
class Pinned:
    """The route of `Policy.route` for every stream, whatever it costs; O(1) per stream."""

    traits: ClassVar[Traits] = Traits(objectives=frozenset(), cost_class=CostClass.PER_STREAM, budgeted=False)

    name: str = PINNED
    description: str = "the route that the policy states (`route`)"
    citation: str = "for operators and experiments"
    trial: Trial | None = None

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the pinned route as a plan."""
        context = context_of(problem, context)
        try:
            if problem.policy.route is None:
                raise RouteTextError("the policy states none (`route`)")
            route = read_route(problem.policy.route)
        except RouteTextError as error:
            reason = Violation(Constraint.SUPPORT, self.name, f"strategy {self.name} has no route: {error}")
            return Infeasible(self.name, problem.policy.objective, (reason,))
        fault = _fault(problem, route)
        if fault is not None:
            return Infeasible(self.name, problem.policy.objective, (fault,))
        return plan_each_stream(context, self.name, lambda stream: route, time_budget_s)


def _fault(problem: Problem, route: Route) -> Violation | None:
    """Return why a route is none of a problem's models and devices: its costs are undefined then."""
    for device in route.devices:
        if device not in problem.devices:
            return Violation(Constraint.ROUTE, device, f"device {device} of the pinned route is not there")
    stop = route.stages[-1].stop
    for stream in problem.streams:
        blocks = len(problem.models[stream.model].blocks)
        if stop != blocks:
            text = f"stream {stream.name}: the pinned route ends after block {stop}, and the model has {blocks} blocks"
            return Violation(Constraint.ROUTE, stream.name, text)
    return None
