"""The frame of strategies that plan every stream for itself."""

from collections.abc import Callable

from planning.problem.plan import Infeasible, Plan, Route, StreamPlan
from planning.problem.problem import Problem, Stream
from planning.search.device_network import Kind, kind_of
from planning.search.infeasibility import diagnose, no_plan, no_split
from planning.search.planning_context import PlanningContext
from planning.search.result import make_plan, same_route_for_all

# From a stream to its route for all jobs, or its plan; None if the strategy finds none.
RouteChooser = Callable[[Stream], Route | StreamPlan | None]


def plan_each_stream(
    context: PlanningContext, strategy: str, choose: RouteChooser, time_budget_s: float
) -> Plan | Infeasible:
    """Return the plan in which every stream takes what ``choose`` returns for it.

    Streams that differ in their name only get the same plan, and ``choose`` is called once for them.

    Args:
        context: look-ups of the problem.
        strategy: name of the algorithm.
        choose: the algorithm's decision for one stream.
        time_budget_s: of the strategy; a tenth of it for each search for the reason why a stream has no plan.
    """
    problem = context.problem
    plans: dict[str, StreamPlan] = {}
    alike: dict[Kind, StreamPlan] = {}
    for stream in problem.streams:
        # In a crowd, many streams run the same model from the same source.
        kind = kind_of(stream)
        plan = alike.get(kind)
        if plan is None:
            chosen = choose(stream)
            if chosen is None:
                return no_plan_for(problem, stream, strategy, time_budget_s)
            plan = alike[kind] = same_route_for_all(chosen, stream.jobs) if isinstance(chosen, Route) else chosen
        plans[stream.name] = plan
    return make_plan(problem, strategy, plans, costs=context.costs)


def no_plan_for(problem: Problem, stream: Stream, strategy: str, time_budget_s: float) -> Infeasible:
    """Return the answer of a strategy that finds no plan for ``stream``: the constraints, or the shape of its plans."""
    reasons = diagnose(problem, stream, time_budget_s)
    return no_plan(problem, strategy, reasons or (no_split(stream, strategy),), time_budget_s, proved=bool(reasons))
