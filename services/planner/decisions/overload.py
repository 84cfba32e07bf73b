"""Whether a stream's routes keep up with the requests that come; the objectives of one request do not ask. Pure."""

from collections.abc import Sequence

from planning.cost.cost_model import CostModel
from planning.cost.utilisation import busiest, describe_resource, utilisation
from planning.problem.problem import Problem
from services.planner.decisions.committed_routes import broken_constraints, burst_jobs, to_plan
from shared.messages.streams import PlanRoute
from shared.policy import Objective

_BEGINS, _ENDS = 1.05, 0.95
"""Utilisations at which an overload is said to begin and to end: measured rates are noisy."""


def overload(problem: Problem, routes: Sequence[PlanRoute], rate_hz: float, *, already: bool) -> str:
    """Say which device cannot keep up; nothing if all do.

    Without figures, so that noise is not news.

    Args:
        problem: of the stream alone, in the present state.
        routes: in force.
        rate_hz: requests per second; 0 if not known.
        already: that was said before.
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
