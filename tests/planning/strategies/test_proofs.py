"""Proofs of every strategy against brute force: optimal plans, lower bounds, and problems without a plan."""

import random
from itertools import cycle

import pytest

from planning.files.problem_file import read_problem
from planning.problem.plan import Constraint, Infeasible, Plan
from planning.problem.problem import Problem
from planning.strategies.registry import known_strategies, solve, with_strategy
from shared.policy import Objective
from tests.support.brute_force import TooLargeError, least_cost
from tests.support.shared_paths import INSTANCES
from tests.support.small_problems import every_combination, small_problem

# Plans of a problem that are compared at most.
MOST_PLANS = 300

# Strategies that prove something themselves; of the others, some take turns on every problem.
PROVING = ("auto", "shortest_path", "milp", "mixed_routes", "exhaustive")
OTHERS = tuple(name for name in known_strategies() if name not in PROVING)
OTHERS_AT_ONCE = 2


def _check(problem: Problem, name: str, best: float | None, time_budget_s: float) -> None:
    """Check one strategy's answer against the least cost of all plans, None if there are none."""
    answer = known_strategies()[name].solve(problem, seed=0, time_budget_s=time_budget_s)
    if isinstance(answer, Infeasible):
        assert answer.reasons
        assert not (answer.proved and best is not None), answer
        # Without tiles, a small problem with a plan is solved at any budget.
        if name == "auto" and best is not None:
            assert any(block.rows for model in problem.models.values() for block in model.blocks), answer
        return
    assert best is not None, answer
    rounding = 1e-7 * max(1.0, abs(best))
    assert answer.cost >= best - rounding
    if answer.optimal:
        assert answer.cost <= best + rounding
    if answer.lower_bound is not None:
        assert answer.lower_bound <= best + rounding


@pytest.mark.parametrize("objective", list(Objective))
def test_proofs_hold_on_every_combination_of_features(objective: Objective) -> None:
    others, budgets = cycle(OTHERS), cycle((0.0, 0.02))
    feasible = infeasible = 0
    for features in every_combination(objective):
        rng = random.Random(str(features))
        while True:
            problem = small_problem(rng, features)
            try:
                best = least_cost(problem, most_plans=MOST_PLANS)
                break
            except TooLargeError:
                continue
        feasible, infeasible = feasible + (best is not None), infeasible + (best is None)
        time_budget_s = next(budgets)
        for name in (*PROVING, *(next(others) for _ in range(OTHERS_AT_ONCE))):
            try:
                _check(problem, name, best, time_budget_s)
            except Exception as exc:
                exc.add_note(f"{name}, {features}")
                raise
    assert min(feasible, infeasible) > 5


def test_fewest_blocks_off_the_source_where_the_result_has_a_long_way_to_the_sink() -> None:
    problem = read_problem((INSTANCES / "deadline_with_distant_sink.json").read_bytes())
    for name in ("auto", "shortest_path", "milp"):
        answer = solve(with_strategy(problem, name))
        assert isinstance(answer, Plan)
        assert (answer.cost, answer.optimal) == (1.0, True)


@pytest.mark.parametrize("time_budget_s", [0.0, 0.1, 1.0, 2.0])
def test_streams_that_fit_together_in_few_ways_are_planned_at_any_budget(time_budget_s: float) -> None:
    problem = read_problem((INSTANCES / "two_streams_little_memory.json").read_bytes())
    assert isinstance(solve(problem, time_budget_s=time_budget_s), Plan)


@pytest.mark.parametrize("instance", ["one_stream_without_route", "one_stream_without_route_throughput"])
@pytest.mark.parametrize("name", list(known_strategies()))
def test_a_stream_without_any_route_gets_its_reason(name: str, instance: str) -> None:
    problem = read_problem((INSTANCES / f"{instance}.json").read_bytes())
    answer = solve(with_strategy(problem, name), time_budget_s=0.1)
    assert isinstance(answer, Infeasible)
    if name in ("auto", "mixed_routes"):
        assert answer.proved
        assert Constraint.ROUTE in {reason.constraint for reason in answer.reasons}
        assert "no route from" in answer.reason
