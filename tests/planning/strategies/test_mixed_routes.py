import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from planning.problem.plan import Plan
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.scheduling.column_generation import mix_routes
from planning.search.cost_tables import build_tables
from planning.strategies.exhaustive import Exhaustive
from planning.strategies.mixed_routes import MixedRoutes
from shared.policy import Objective, Policy


def _two_equal_helpers(jobs: int, objective: Objective) -> Problem:
    """A camera that only sends, and two servers: sharing them doubles the rate."""
    devices = {"cam": Device(), "a": Device({"m": (10.0,)}), "b": Device({"m": (10.0,)})}
    links = (Link("cam", "a", 8.0), Link("cam", "b", 8.0))
    stream = Stream("s", "m", "cam", jobs=jobs)
    return Problem({"m": Model(1000, (Block("x", 0),))}, devices, links, (stream,), Policy(objective=objective))


def test_both_helpers_are_used() -> None:
    problem = _two_equal_helpers(10, Objective.THROUGHPUT)
    answer = MixedRoutes().solve(problem, seed=0, time_budget_s=1.0)
    assert isinstance(answer, Plan)
    assert answer.cost == pytest.approx(5.0)
    assert answer.lower_bound == pytest.approx(5.0)
    burst = MixedRoutes().solve(_two_equal_helpers(10, Objective.MAKESPAN), seed=0, time_budget_s=1.0)
    assert isinstance(burst, Plan)
    assert burst.cost == pytest.approx(52.0)


@pytest.mark.parametrize("objective", [Objective.THROUGHPUT, Objective.MAKESPAN])
def test_bound_holds_for_every_single_route(make_problem: Callable[..., Problem], objective: Objective) -> None:
    rng = random.Random(f"mix {objective}")
    for index in range(40):
        problem = make_problem(rng, objective, codecs=index % 2 == 0, most_blocks=4)
        problem = replace(problem, streams=(replace(problem.streams[0], jobs=rng.randint(1, 4)),))
        answer = MixedRoutes().solve(problem, seed=0, time_budget_s=0.1)
        best = Exhaustive().solve(problem, seed=0, time_budget_s=1.0)
        if not isinstance(answer, Plan):
            assert not isinstance(best, Plan)
            continue
        assert isinstance(best, Plan)
        assert answer.lower_bound is not None
        assert answer.lower_bound <= min(best.cost, answer.cost) * (1 + 1e-9)


def test_multipliers_add_up_to_one(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("multipliers")
    for _ in range(20):
        problem = make_problem(rng, Objective.THROUGHPUT)
        mix = mix_routes(problem, [build_tables(problem, problem.streams[0])])
        assert sum(mix.weights.values()) == pytest.approx(1.0)
        if mix.shares:
            assert sum(mix.shares["s"].values()) == pytest.approx(1.0)
