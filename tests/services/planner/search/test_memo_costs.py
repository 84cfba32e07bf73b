import random
from collections.abc import Callable

from services.planner.search.answers import uniform
from services.planner.search.memo_costs import MemoCosts
from services.planner.strategies.exhaustive import every_route
from shared.plan.cost import CostModel
from shared.plan.policy import Objective
from shared.plan.problem import Problem


def test_predictions_are_those_of_the_cost_model_however_often_asked(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("memo")
    compared = 0
    for _ in range(20):
        problem = make_problem(rng, Objective.TOTAL_DELAY, codecs=True, most_blocks=3)
        stream, memo, plain = problem.streams[0], MemoCosts(problem), CostModel(problem)
        plans = [{"s": uniform(route, jobs)} for route in every_route(problem, stream) for jobs in (1, 3)]
        for plan in [*plans, *plans[::-1]]:
            assert memo.predict(plan) == plain.predict(plan)
            assert memo.delays_ms(plan) == plain.delays_ms(plan)
            compared += 1
    assert compared > 200
