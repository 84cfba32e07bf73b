import random
from collections.abc import Callable

from planning.cost.cost_model import CostModel
from planning.problem.plan import Route
from planning.problem.problem import Problem, Stream
from planning.queueing.operations import Operation
from planning.search.cached_costs import CachedCosts
from planning.search.result import same_route_for_all
from planning.strategies.exhaustive import every_route
from shared.policy import Objective


def test_predictions_are_those_of_the_cost_model_however_often_asked(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("memo")
    compared = 0
    for _ in range(20):
        problem = make_problem(rng, Objective.TOTAL_DELAY, codecs=True, most_blocks=3)
        stream, memo, plain = problem.streams[0], CachedCosts(CostModel(problem)), CostModel(problem)
        plans = [{"s": same_route_for_all(route, jobs)} for route in every_route(problem, stream) for jobs in (1, 3)]
        for plan in [*plans, *plans[::-1]]:
            assert memo.predict(plan) == plain.predict(plan)
            assert memo.delays_ms(plan) == plain.delays_ms(plan)
            compared += 1
    assert compared > 200


class _CountingModel(CostModel):
    """A cost model that counts how often it is asked for operations."""

    asked = 0

    def operations(self, stream: Stream, route: Route) -> tuple[Operation, ...]:
        self.asked += 1
        return super().operations(stream, route)


def test_the_wrapped_model_is_asked_once_per_route(make_problem: Callable[..., Problem]) -> None:
    problem = make_problem(random.Random("wrapped"), Objective.LATENCY, most_blocks=3)
    stream, model = problem.streams[0], _CountingModel(problem)
    costs, routes = CachedCosts(model), list(every_route(problem, stream))
    for _ in range(3):
        for route in routes:
            costs.route_cost(stream, route)
            costs.predict({"s": same_route_for_all(route, 5)})
    assert model.asked == len(routes) > 1


def test_a_declined_simulation_is_not_remembered(make_problem: Callable[..., Problem]) -> None:
    problem = make_problem(random.Random("declined"), Objective.MAKESPAN, most_blocks=3)
    costs = CachedCosts(CostModel(problem))
    plans = {"s": same_route_for_all(next(every_route(problem, problem.streams[0])), 3)}
    assert costs.remembered_ms(plans, None, (), lambda: None) is None
    assert costs.remembered_ms(plans, None, (), lambda: (1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)
    assert costs.delays_ms(plans) == (1.0, 2.0, 3.0)
