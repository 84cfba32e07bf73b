"""The answers of algorithms: a plan with its predicted cost, or the reasons why there is none."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isfinite

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.problem.plan import Constraint, Infeasible, Plan, Route, StreamPlan, Violation
from planning.problem.problem import Problem
from planning.search.cached_costs import CachedCosts
from planning.search.tiled_bounds import may_split, sends_overlap, tiled_bound
from shared.policy import Objective, QueueDiscipline

# Relative rounding error by which a plan may seem to beat a bound.
BOUND_SLACK = 1e-9


def proves(bound: float | None, cost: float) -> bool:
    """Return whether the bound proves that no plan costs less."""
    return bound is not None and cost <= bound * (1 + BOUND_SLACK)


def same_route_for_all(route: Route, jobs: int) -> StreamPlan:
    """Return the plan that sends all jobs of a stream along one route."""
    return StreamPlan((Route(route.stages, jobs),), _usual_order(jobs))


@lru_cache(maxsize=1)
def _usual_order(jobs: int) -> tuple[int, ...]:
    """Return the numbers of all jobs. Many candidates for one long burst share them."""
    return tuple(range(jobs))


def policy_queues(problem: Problem, plans: Mapping[str, StreamPlan]) -> dict[str, QueueDiscipline]:
    """Return the policy's discipline for every device that computes."""
    used = dict.fromkeys(device for plan in plans.values() for route in plan.routes for device in route.devices)
    return {device: problem.policy.queue for device in used}


def make_plan(
    problem: Problem,
    strategy: str,
    plans: Mapping[str, StreamPlan],
    *,
    optimal: bool = False,
    lower_bound: float | None = None,
    turns: Sequence[str] = (),
    costs: CostModel | None = None,
) -> Plan | Infeasible:
    """Return the plan with its predicted cost, or the constraints that it breaks.

    Strategies prove optimality and bounds for stages that are not split into tiles, and for devices that send one thing
    after the other. Where a stage could be split, or sendings overlap, `tiled_bound` takes the place of their bound.

    Args:
        problem: the problem that was solved.
        strategy: name of the algorithm.
        plans: routes per stream.
        optimal: whether it is proved that no plan costs less.
        lower_bound: a proved bound of the cost, if one is known.
        turns: the order in which the jobs of several streams start.
        costs: the cost model of the problem; without it a new one is made.
    """
    objective = problem.policy.objective
    costs = costs or CachedCosts(CostModel(problem))
    broken = violations(costs, plans)
    if broken:
        return Infeasible(strategy, objective, broken)
    by_name = {stream.name: stream for stream in problem.streams}
    queues = policy_queues(problem, plans)
    predicted = costs.predict(plans, queues, turns)
    streams = {
        name: StreamPlan(
            plan.routes, plan.order, predicted if len(plans) == 1 else costs.predict_stream(by_name[name], plan)
        )
        for name, plan in plans.items()
    }
    cost = costs.cost(objective, plans, predicted, queues, turns)
    if (optimal or lower_bound is not None) and not _covers_all(problem):
        lower_bound = tiled_bound(problem)
        optimal = proves(lower_bound, cost)
    if optimal:
        lower_bound = cost
    # Rounding may lift a bound above the cost of the plan that attains it.
    elif lower_bound is not None:
        lower_bound = min(lower_bound, cost) if isfinite(lower_bound) else None
    return Plan(strategy, objective, streams, predicted, cost, optimal, lower_bound, None, queues, tuple(turns))


def _covers_all(problem: Problem) -> bool:
    """Return whether a bound of routes without tiles, whose devices send one thing after the other, holds for all."""
    return not may_split(problem) and not (
        sends_overlap(problem)
        and problem.policy.objective not in (Objective.LATENCY, Objective.ENERGY, Objective.DEADLINE)
    )


def unsupported(problem: Problem, strategy: str, message: str) -> Infeasible:
    """Return the answer of an algorithm that does not handle this kind of problem."""
    violation = Violation(Constraint.SUPPORT, strategy, f"{strategy}: {message}")
    return Infeasible(strategy, problem.policy.objective, (violation,))
