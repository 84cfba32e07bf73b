"""The oracle: its count of plans, its routes, and when its plans are proved."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from planning.cost.cost_model import CostModel
from planning.files.problem_file import read_problem
from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.strategies.exhaustive import Exhaustive, every_route, search_size
from planning.strategies.registry import solve, with_strategy
from shared.policy import Objective
from tests.support.shared_paths import INSTANCES


@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.ENERGY, Objective.THROUGHPUT, Objective.DEADLINE])
def test_exhaustive_agrees_with_auto(objective: Objective, make_problem: Callable[..., Problem]) -> None:
    rng = random.Random(f"oracle {objective}")
    for index in range(15):
        problem = make_problem(rng, objective, constrained=index % 2 == 0, codecs=index % 3 == 0, most_blocks=4)
        best = solve(with_strategy(problem, "exhaustive"))
        answer = solve(problem)
        if isinstance(best, Plan):
            assert isinstance(answer, Plan)
            assert answer.optimal
            assert answer.cost == pytest.approx(best.cost, abs=1e-12)
        else:
            assert isinstance(answer, Infeasible)


def test_a_larger_problem_than_the_budget_allows_is_unsupported() -> None:
    problem = read_problem((INSTANCES / "vgg16_three_devices_latency.json").read_bytes())
    answer = solve(with_strategy(problem, "exhaustive"))
    assert isinstance(answer, Infeasible)
    assert "more than" in answer.reason


def test_routes_are_distinct_over_linked_devices_and_no_more_than_counted(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("routes")
    for _ in range(30):
        problem = make_problem(rng, Objective.LATENCY, codecs=True, most_blocks=4)
        stream, costs = problem.streams[0], CostModel(problem)
        routes = list(every_route(problem, stream))
        assert len(set(routes)) == len(routes) <= search_size(problem)
        assert all(costs.latency_ms(stream, route) >= 0 for route in routes)


def test_several_jobs_may_start_in_other_orders_so_that_their_makespan_is_not_proved(
    make_problem: Callable[..., Problem],
) -> None:
    rng = random.Random("orders")
    seen = set()
    for _ in range(10):
        problem = make_problem(rng, Objective.MAKESPAN, most_blocks=2)
        for jobs in (1, 2):
            burst = replace(problem, streams=(replace(problem.streams[0], jobs=jobs),))
            answer = Exhaustive().solve(burst, seed=0, time_budget_s=1.0)
            if isinstance(answer, Plan):
                assert answer.optimal == (jobs == 1)
                seen.add(jobs)
    assert seen == {1, 2}
