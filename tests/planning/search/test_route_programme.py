import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from planning.cost.constraints import memory_violations
from planning.problem.plan import StreamPlan
from planning.problem.problem import Problem
from planning.search.result import same_route_for_all
from planning.search.route_programme import EASY_SIZE, least_memory_plan, segment_entries
from planning.strategies.exhaustive import every_route
from shared.policy import Objective, Policy


def test_the_least_memory_that_is_missing_equals_brute_force(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("missing memory")
    missing = []
    for _ in range(40):
        problem = replace(make_problem(rng, Objective.LATENCY, most_blocks=4), policy=Policy())
        devices = {name: replace(each, memory_bytes=rng.randint(1, 2000)) for name, each in problem.devices.items()}
        problem = replace(problem, devices=devices)
        (stream,) = problem.streams
        plans = [{stream.name: same_route_for_all(route, 1)} for route in every_route(problem, stream)]
        least = min((_missing_bytes(problem, plan) for plan in plans), default=None)
        plan = least_memory_plan(problem)
        assert (plan is None) == (least is None)
        if plan is not None and least is not None:
            assert _missing_bytes(problem, plan) == pytest.approx(least, abs=0.5)
            missing.append(least)
    assert 0 < sum(value > 0 for value in missing) < len(missing)


def test_a_large_problem_has_no_answer(make_problem: Callable[..., Problem]) -> None:
    problem = make_problem(random.Random(1), Objective.LATENCY)
    stream = problem.streams[0]
    many = tuple(replace(stream, name=f"s{place}") for place in range(EASY_SIZE))
    assert least_memory_plan(replace(problem, streams=many)) is None


def _missing_bytes(problem: Problem, plan: dict[str, StreamPlan]) -> float:
    return sum(each.excess or 0.0 for each in memory_violations(problem, plan))


def test_segments_count_only_where_streams_share_a_model_and_memory_is_limited(
    make_problem: Callable[..., Problem],
) -> None:
    problem = make_problem(random.Random(1), Objective.LATENCY, most_blocks=4)
    blocks = len(problem.models["m"].blocks)
    free = {name: replace(device, memory_bytes=None) for name, device in problem.devices.items()}
    one = {name: replace(device, memory_bytes=1000 if name == "a" else None) for name, device in free.items()}
    two = (problem.streams[0], replace(problem.streams[0], name="other"))
    assert segment_entries(replace(problem, devices=one)) == 0
    assert segment_entries(replace(problem, devices=free, streams=two)) == 0
    assert segment_entries(replace(problem, devices=one, streams=two)) == 2 * blocks**3 // 6
