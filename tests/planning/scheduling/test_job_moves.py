"""Moves of single jobs lower the cost, and orders of a burst are compared by simulation."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from planning.cost.cost_model import CostModel
from planning.problem.plan import Route, sequential_route
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.scheduling.burst_planning import indexed_plan
from planning.scheduling.flow_shop import johnson_order
from planning.scheduling.job_moves import moved_jobs, ordered_plan
from planning.search.result import same_route_for_all
from planning.strategies.exhaustive import every_route
from shared.policy import Objective, Policy


def test_jobs_that_all_queue_at_one_helper_spread_over_two() -> None:
    """Four jobs of 10 ms take 40 ms at one helper, and 20 ms at two."""
    devices = {"a": Device({})} | {name: Device({"m": (10.0,)}) for name in ("b", "c")}
    links = (Link("a", "b", 1e9), Link("a", "c", 1e9))
    stream = Stream("s", "m", "a", jobs=4)
    policy = Policy(objective=Objective.MAKESPAN)
    problem = Problem({"m": Model(0, (Block("x", 0),))}, devices, links, (stream,), policy)
    costs = CostModel(problem)
    pool = [sequential_route([(0, 1, name, "raw")]) for name in ("b", "c")]
    start = {"s": same_route_for_all(pool[0], 4)}
    end = moved_jobs(costs, start, {"s": pool}, 1000)
    assert costs.makespan_ms(start) == pytest.approx(40.0, rel=1e-3)
    assert costs.makespan_ms(end) == pytest.approx(20.0, rel=1e-3)
    assert moved_jobs(costs, start, {"s": pool}, 0) == start


@pytest.mark.parametrize("objective", [Objective.MAKESPAN, Objective.TOTAL_DELAY])
def test_moves_never_raise_the_cost(make_problem: Callable[..., Problem], objective: Objective) -> None:
    rng = random.Random(f"moves {objective}")
    improved = 0
    for _ in range(30):
        problem = make_problem(rng, objective, most_blocks=3)
        stream = replace(problem.streams[0], jobs=4)
        problem = replace(problem, streams=(stream,))
        pool = [Route(route.stages) for route in every_route(problem, stream)][:6]
        if not pool:
            continue
        costs = CostModel(problem)
        start = {stream.name: same_route_for_all(rng.choice(pool), 4)}
        end = moved_jobs(costs, start, {stream.name: pool}, 500)
        before, after = (costs.cost(objective, plans, costs.predict(plans, {}), {}) for plans in (start, end))
        assert after <= before
        assert sum(route.jobs for route in end[stream.name].routes) == 4
        improved += after < before
    assert improved > 10


def test_an_ordered_plan_is_no_slower_than_johnsons_order(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("orders")
    compared = 0
    for _ in range(40):
        problem = make_problem(rng, Objective.MAKESPAN, most_blocks=3)
        stream = replace(problem.streams[0], jobs=5)
        problem = replace(problem, streams=(stream,))
        pool = [Route(route.stages) for route in every_route(problem, stream)][:4]
        if len(pool) < 2:
            continue
        costs = CostModel(problem)
        taken = [rng.randrange(len(pool)) for _ in range(5)]
        steps = [[step.duration_ms for step in costs.operations(stream, route)] for route in pool]
        order = johnson_order([(sum(steps[place][:1]), sum(steps[place][1:])) for place in taken])
        johnson = indexed_plan(pool, [taken[index] for index in order])
        ordered = ordered_plan(costs, stream, pool, taken)
        assert costs.makespan_ms({"s": ordered}) <= costs.makespan_ms({"s": johnson})
        assert {route.stages: route.jobs for route in ordered.routes} == {
            route.stages: route.jobs for route in johnson.routes
        }
        compared += 1
    assert compared > 15
