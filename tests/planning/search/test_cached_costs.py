import random
from collections.abc import Callable

from planning.cost.cost_model import CostModel
from planning.problem.problem import Problem
from planning.search.cached_costs import CachedCosts
from planning.search.result import same_route_for_all
from planning.strategies.exhaustive import every_route
from shared.policy import Objective


def test_predictions_are_those_of_the_cost_model_however_often_asked(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("memo")
    compared = 0
    for _ in range(20):
        problem = make_problem(rng, Objective.TOTAL_DELAY, codecs=True, most_blocks=3)
        stream, memo, plain = problem.streams[0], CachedCosts(problem), CostModel(problem)
        plans = [{"s": same_route_for_all(route, jobs)} for route in every_route(problem, stream) for jobs in (1, 3)]
        for plan in [*plans, *plans[::-1]]:
            assert memo.predict(plan) == plain.predict(plan)
            assert memo.delays_ms(plan) == plain.delays_ms(plan)
            compared += 1
    assert compared > 200
