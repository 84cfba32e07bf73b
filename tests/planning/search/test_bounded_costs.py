import random
from collections.abc import Callable
from dataclasses import replace
from math import isnan

import pytest

from planning.cost.cost_model import CostModel
from planning.problem.plan import Plan, Route, StreamPlan
from planning.problem.problem import Problem
from planning.search.bounded_costs import SKIPPED_MS, BoundedCosts, SimulationBudget, rank
from planning.search.cached_costs import CachedCosts
from planning.search.result import make_plan, same_route_for_all
from planning.strategies.exhaustive import every_route
from shared.policy import Objective


def _bounded(problem: Problem, time_budget_s: float) -> BoundedCosts:
    return BoundedCosts(CachedCosts(CostModel(problem)), SimulationBudget.of_seconds(time_budget_s))


@pytest.mark.parametrize("objective", list(Objective))
def test_plans_are_ranked_as_by_the_cost_model_and_completed_to_the_same(
    make_problem: Callable[..., Problem], objective: Objective
) -> None:
    rng = random.Random(f"ranking {objective}")
    compared = 0
    for _ in range(12):
        problem = make_problem(rng, objective, codecs=True, most_blocks=3)
        ranking, stream = _bounded(problem, 1.0), problem.streams[0]
        for route in every_route(problem, stream):
            plans = {"s": same_route_for_all(route, stream.jobs)}
            brief = make_plan(problem, "any", plans, costs=ranking)
            whole = make_plan(problem, "any", plans, costs=CostModel(problem))
            if isinstance(brief, Plan) and isinstance(whole, Plan):
                assert brief.cost == whole.cost
                assert brief.predicted.latency_ms == whole.predicted.latency_ms
                assert _bounded(problem, 1.0).completed(brief) == whole
                compared += 1
    assert compared > 20


def _long_burst(make_problem: Callable[..., Problem]) -> tuple[Problem, dict[str, StreamPlan]]:
    """A burst of two routes in turns, which no closed form tells."""
    rng = random.Random("allowance")
    while True:
        problem = make_problem(rng, Objective.MAKESPAN, most_blocks=3)
        stream = replace(problem.streams[0], jobs=1000)
        problem = replace(problem, streams=(stream,))
        routes = [Route(route.stages, 500) for route in every_route(problem, stream)][:2]
        if len(routes) == 2:
            return problem, {"s": StreamPlan(tuple(routes), tuple(range(1000)))}


def test_a_burst_beyond_the_allowance_is_not_simulated_before_it_is_chosen(
    make_problem: Callable[..., Problem],
) -> None:
    problem, plans = _long_burst(make_problem)
    costs = _bounded(problem, 0.0)
    answer = make_plan(problem, "any", plans, costs=costs)
    assert isinstance(answer, Plan)
    assert (answer.cost, costs.budget.skipped) == (SKIPPED_MS, 1)
    exact = CostModel(problem).makespan_ms(plans)
    found = costs.completed(answer)
    assert (found.cost, found.predicted.makespan_ms) == (exact, exact)


def test_a_burst_within_the_allowance_costs_what_it_costs(make_problem: Callable[..., Problem]) -> None:
    problem, plans = _long_burst(make_problem)
    costs = _bounded(problem, 1.0)
    assert costs.makespan_ms(plans) == CostModel(problem).makespan_ms(plans)
    assert costs.budget.skipped == 0


def test_what_does_not_rank_a_plan_is_left_out(make_problem: Callable[..., Problem]) -> None:
    problem = make_problem(random.Random("brief"), Objective.ENERGY, most_blocks=2)
    plans = {"s": same_route_for_all(next(every_route(problem, problem.streams[0])), 1)}
    assert isnan(_bounded(problem, 1.0).predict(plans).makespan_ms)


def test_a_simulation_that_is_known_takes_nothing_from_the_budget(make_problem: Callable[..., Problem]) -> None:
    problem, plans = _long_burst(make_problem)
    costs = _bounded(problem, 1.0)
    ends_ms = costs.delays_ms(plans)
    left = costs.budget.events
    assert costs.delays_ms(plans) == ends_ms
    assert costs.budget.events == left < SimulationBudget.of_seconds(1.0).events


def test_a_budget_counts_what_it_cannot_pay() -> None:
    budget = SimulationBudget(10.0)
    assert [budget.take(events) for events in (6.0, 6.0, 4.0, 1.0)] == [True, False, True, False]
    assert (budget.events, budget.skipped) == (0.0, 2)


@pytest.mark.parametrize("objective", [Objective.MAKESPAN, Objective.TOTAL_DELAY, Objective.DELAY_VARIANCE])
def test_a_plan_that_was_not_simulated_is_ranked_near_its_cost(
    make_problem: Callable[..., Problem], objective: Objective
) -> None:
    problem, plans = _long_burst(make_problem)
    problem = replace(problem, policy=replace(problem.policy, objective=objective))
    skipped = make_plan(problem, "test", plans, costs=_bounded(problem, 0.0))
    simulated = make_plan(problem, "test", plans)
    assert isinstance(skipped, Plan)
    assert isinstance(simulated, Plan)
    assert skipped.cost == SKIPPED_MS
    assert rank(simulated)[0] == simulated.cost
    assert simulated.cost < rank(skipped)[0] < 1.5 * simulated.cost
