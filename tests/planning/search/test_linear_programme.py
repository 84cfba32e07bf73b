"""Linear programmes: known solutions and duals, strong duality, and programmes without a solution."""

import subprocess
import sys

import numpy as np
import pytest

from planning.search.linear_programme import solve_linear


def test_a_known_programme_is_solved() -> None:
    """Maximise 3 x + 5 y subject to x <= 4, 2 y <= 12, 3 x + 2 y <= 18."""
    rows = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 2.0]])
    solution = solve_linear(np.array([-3.0, -5.0]), rows, np.full(3, -np.inf), np.array([4.0, 12.0, 18.0]))
    assert solution is not None
    assert solution.values == pytest.approx([2.0, 6.0])
    assert solution.duals == pytest.approx([0.0, -1.5, -1.0])


def test_the_duals_of_random_programmes_prove_their_cost() -> None:
    """Costs equal the bounds weighed by the duals; an equation is a row with equal bounds."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        rows = np.concatenate([rng.uniform(0.1, 1.0, (4, 6)), np.ones((1, 6))])
        low, high = np.array([-np.inf] * 4 + [1.0]), np.array([1.0] * 4 + [1.0])
        costs = rng.uniform(-1.0, 1.0, 6)
        solution = solve_linear(costs, rows, low, high)
        assert solution is not None
        assert solution.values.min() >= 0.0
        assert (rows @ solution.values <= high + 1e-9).all()
        assert costs @ solution.values == pytest.approx(high @ solution.duals)


def test_a_programme_without_a_solution_has_none() -> None:
    rows = np.array([[1.0], [1.0]])
    assert solve_linear(np.ones(1), rows, np.array([2.0, -np.inf]), np.array([np.inf, 1.0])) is None
    assert solve_linear(-np.ones(1), rows[:1], np.zeros(1), np.array([np.inf])) is None


def test_nothing_is_printed_and_scipy_is_not_imported() -> None:
    code = (
        "import sys, numpy as np; from planning.search.linear_programme import solve_linear; one = np.ones((1, 1)); "
        "solve_linear(one[0], one, one[0], one[0]); assert 'scipy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
