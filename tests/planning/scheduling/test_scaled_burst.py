"""Plans of long bursts that are made from those of short ones."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from planning.cost.cost_model import CostModel
from planning.problem.plan import Plan, Route, Stage, StreamPlan
from planning.problem.problem import Problem
from planning.scheduling.scaled_burst import SHORT_JOBS, SHORT_SHARES, scaled, shortened
from planning.strategies.exhaustive import every_route
from planning.strategies.registry import solve
from shared.policy import Objective


def _problem(make_problem: Callable[..., Problem], jobs: tuple[int, ...], objective: Objective) -> Problem:
    problem = make_problem(random.Random("scaled"), objective, most_blocks=3)
    only = problem.streams[0]
    streams = tuple(replace(only, name=f"s{index}", jobs=count) for index, count in enumerate(jobs))
    return replace(problem, streams=streams)


def _stages_in_order(plan: StreamPlan) -> list[tuple[Stage, ...]]:
    repeated = [route.stages for route in plan.routes for _ in range(route.jobs)]
    return [repeated[index] for index in plan.order]


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [((79,), None), ((80,), (40,)), ((1000, 3000), (10, 30)), ((1, 9999), (1, 40)), ((1,) * 100, None)],
)
def test_a_short_burst_has_the_shares_of_the_long_one(
    make_problem: Callable[..., Problem], jobs: tuple[int, ...], expected: tuple[int, ...] | None
) -> None:
    short = shortened(_problem(make_problem, jobs, Objective.MAKESPAN))
    assert (None if short is None else tuple(stream.jobs for stream in short.streams)) == expected


def test_shares_of_a_sustained_rate_are_finer(make_problem: Callable[..., Problem]) -> None:
    assert shortened(_problem(make_problem, (SHORT_SHARES,), Objective.THROUGHPUT)) is None
    short = shortened(_problem(make_problem, (10 * SHORT_SHARES,), Objective.THROUGHPUT))
    assert short is not None
    assert short.streams[0].jobs == SHORT_SHARES > SHORT_JOBS


def test_every_job_stands_for_several_on_its_route(make_problem: Callable[..., Problem]) -> None:
    problem = _problem(make_problem, (7, 5), Objective.MAKESPAN)
    first, second = ([route.stages for route in every_route(problem, stream)][:2] for stream in problem.streams)
    streams = {
        "s0": StreamPlan((Route(first[0], 1), Route(first[1], 2)), (1, 0, 2)),
        "s1": StreamPlan((Route(second[1], 2),), (0, 1)),
    }
    costs = CostModel(problem)
    short = Plan("any", Objective.MAKESPAN, streams, costs.predict(streams), 0.0, turns=("s1", "s0", "s0", "s1", "s0"))
    long = scaled(short, costs, "any")
    assert isinstance(long, Plan)
    order = _stages_in_order(long.streams["s0"])
    assert order == [first[1]] * 3 + [first[0]] * 2 + [first[1]] * 2
    assert _stages_in_order(long.streams["s1"]) == [second[1]] * 5
    # Five jobs stand for two, and seven for three, each at its share of the time to the next one.
    assert long.turns == ("s1", "s1", "s1", "s0", "s0", "s0", "s0", "s0", "s1", "s1", "s0", "s0")


def test_jobs_that_take_turns_go_on_to_do_so(make_problem: Callable[..., Problem]) -> None:
    problem = _problem(make_problem, (100, 100), Objective.MAKESPAN)
    short = shortened(problem)
    assert short is not None
    answer = solve(replace(short, policy=replace(short.policy, strategy="shortest_path")))
    assert isinstance(answer, Plan)
    assert answer.turns == ()
    long = scaled(answer, CostModel(problem), answer.strategy)
    assert isinstance(long, Plan)
    assert long.turns == ()


def test_a_long_burst_is_not_worse_than_its_scaled_plan(make_problem: Callable[..., Problem]) -> None:
    """Without the short burst, every job of a long one takes the same route, or one of a few."""
    rng = random.Random("long bursts")
    for objective in (Objective.MAKESPAN, Objective.TOTAL_DELAY):
        problem = make_problem(rng, objective, most_blocks=4)
        problem = replace(problem, streams=(replace(problem.streams[0], jobs=2000),))
        short = shortened(problem)
        assert short is not None
        answer, plan = solve(short, time_budget_s=0.05), solve(problem, time_budget_s=0.1)
        assert isinstance(answer, Plan)
        assert isinstance(plan, Plan)
        long = scaled(answer, CostModel(problem), answer.strategy)
        assert isinstance(long, Plan)
        assert plan.cost <= long.cost * (1 + 1e-9)
        assert Counter(plan.streams["s"].order).total() == 2000
