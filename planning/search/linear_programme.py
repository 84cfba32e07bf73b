"""Linear programmes for HiGHS, which is called without SciPy: its import takes longer than most of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from planning.search.arrays import Array, Index

if TYPE_CHECKING:
    import highspy


@dataclass(frozen=True, slots=True, eq=False)
class LinearSolution:
    """An optimal solution of V variables and R rows.

    Attributes:
        values: [V] the best values.
        duals: [R] by how much the cost rises with the bound of a row; for an upper bound 0 or less.
    """

    values: Array
    duals: Array


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """The coefficients of a programme that are not 0.

    Attributes:
        rows, columns: [E] place of every coefficient.
        factors: [E] its value.
    """

    rows: Index
    columns: Index
    factors: Array


def solve_linear(costs: Array, rows: Array, low: Array, high: Array) -> LinearSolution | None:
    """Minimise ``costs`` x values over values >= 0, subject to ``low`` <= ``rows`` x values <= ``high``.

    Args:
        costs: [V].
        rows: [R, V].
        low: [R], -inf where a row has no lower bound.
        high: [R], inf where a row has no upper bound.

    Returns:
        The solution; None if there is none, or if the numbers are too far apart for the solver.
    """
    # Imported when it is needed: most small problems are solved without it.
    import highspy

    places, columns = np.nonzero(rows)
    entries = Entries(places, columns, rows[places, columns])
    solver = silent_solver()
    solver.passModel(highs_programme(costs, np.full(len(costs), np.inf), low, high, entries))
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    solution = solver.getSolution()
    return LinearSolution(np.asarray(solution.col_value), np.asarray(solution.row_dual))


def highs_programme(costs: Array, upper: Array, low: Array, high: Array, entries: Entries) -> "highspy.HighsLp":
    """Return a programme over values from 0 to ``upper``; see `solve_linear`."""
    import highspy

    programme = highspy.HighsLp()
    programme.num_row_, programme.num_col_ = len(low), len(costs)
    programme.col_cost_, programme.col_lower_, programme.col_upper_ = costs, np.zeros(len(costs)), upper
    programme.row_lower_, programme.row_upper_ = low, high
    order = np.argsort(entries.columns, kind="stable")
    programme.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    programme.a_matrix_.start_ = np.searchsorted(entries.columns[order], np.arange(len(costs) + 1))
    programme.a_matrix_.index_, programme.a_matrix_.value_ = entries.rows[order], entries.factors[order]
    return programme


def silent_solver() -> "highspy.Highs":
    """Return a solver that prints nothing."""
    import highspy

    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    return solver
