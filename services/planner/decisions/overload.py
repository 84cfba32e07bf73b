"""Overload of a stream: requests come faster than its routes can serve them.

Objectives of a single request, such as latency, do not take the rate of requests into account.
"""

from collections.abc import Sequence

from planning.cost.cost_model import CostModel
from planning.cost.utilisation import busiest, describe_resource, utilisation
from planning.problem.problem import Problem
from services.planner.decisions.committed_routes import broken_constraints, burst_jobs, to_plan
from shared.messages.streams import PlanRoute
from shared.policy import Objective

# Utilisations at which an overload begins and ends. They differ because measured rates are noisy.
_BEGINS, _ENDS = 1.05, 0.95


def overload(problem: Problem, routes: Sequence[PlanRoute], rate_hz: float, *, already: bool) -> str:
    """Return the busiest resource if it does not keep up, as a sentence without figures; empty if all keep up.

    A figure would change with every measurement, and each time publish the status again.

    Args:
        problem: of the stream alone, in the present state.
        routes: in force.
        rate_hz: requests per second; 0 if not known.
        already: an overload was found before and has not ended.
    """
    if rate_hz <= 0 or burst_jobs(problem) > 1 or broken_constraints(problem, routes):
        return ""
    name = problem.streams[0].name
    found = busiest(utilisation(CostModel(problem), to_plan(problem, routes), {name: rate_hz}))
    if found is None or found[1] <= (_ENDS if already else _BEGINS):
        return ""
    text = f"requests come faster than {describe_resource(found[0])} can take them, so they wait: send fewer"
    if problem.policy.objective is Objective.THROUGHPUT:
        return text
    return f"{text}, or try the objective throughput (segue policy set {name} --objective throughput)"
