import random
from math import inf

import pytest

from planning.search.milp_model import Programme
from planning.strategies.registry import solve, with_strategy
from shared.policy import Objective, QueueDiscipline
from tests.support.small_problems import Features, small_problem


def test_a_knapsack_is_solved_in_whole_numbers() -> None:
    """Values 10, 6, 5 and weights 3, 2, 2 within 4: the last two; fractions of the first would be better."""
    programme = Programme()
    taken = [programme.variable(-value, integral=True) for value in (10.0, 6.0, 5.0)]
    programme.restrict(zip(taken, (3.0, 2.0, 2.0), strict=True), -inf, 4.0)
    solution = programme.solve(node_limit=1000)
    assert solution.proved
    assert solution.values is not None
    assert solution.values == pytest.approx([0.0, 1.0, 1.0])
    assert solution.bound == pytest.approx(-11.0)


def test_without_a_feasible_point_there_are_no_values_and_that_is_proved() -> None:
    programme = Programme()
    variable = programme.variable(1.0)
    programme.restrict([(variable, 1.0)], 2.0, inf)
    solution = programme.solve(node_limit=1000)
    assert solution.proved
    assert solution.values is None


def test_the_bound_has_the_unit_of_the_costs() -> None:
    programme = Programme()
    variable = programme.variable(1e7, upper=inf, integral=True)
    programme.restrict([(variable, 1.0)], 0.5, inf)
    assert programme.solve(node_limit=1000).bound == pytest.approx(1e7)


def test_nothing_is_printed_to_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    """With presolve, HiGHS prints a line of its own when it repairs the solution of the third problem."""
    for seed in (1, 3, 7):
        features = Features(
            Objective.THROUGHPUT,
            QueueDiscipline.EARLIEST_DEADLINE_FIRST,
            sink=False,
            deadline=False,
            memory=True,
            shared=True,
            encodings=True,
            rows=True,
        )
        problem = small_problem(random.Random(f"{seed} {features}"), features)
        for name in ("milp", "mixed_routes", "auto"):
            solve(with_strategy(problem, name), time_budget_s=0.1)
    assert capfd.readouterr() == ("", "")
