from math import inf

import pytest

from planning.search.milp_model import Programme


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
