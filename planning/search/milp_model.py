"""A mixed-integer linear programme that is built row by row and solved by HiGHS."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from planning.search.arrays import Array
from planning.search.linear_programme import Entries, highs_programme, silent_solver

# Variables, by index, with their coefficients.
Terms = Iterable[tuple[int, float]]


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """The result of the search.

    Attributes:
        values: [variables] the best values; None if none were found.
        bound: a proved lower bound of the cost; -inf if there is none.
        proved: whether the search has ended: the values are optimal, or there are none.
    """

    values: Array | None
    bound: float
    proved: bool


@dataclass(slots=True)
class Programme:
    """Minimises the sum of cost x value over non-negative variables, subject to ranges of linear sums.

    Variables and rows are only added. The lists are columns of the standard form. Variables have ``costs``, ``upper``
    and ``integral``, rows have ``low`` and ``high``. ``entries`` holds (row, variable, coefficient).
    """

    costs: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    integral: list[bool] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    entries: list[tuple[int, int, float]] = field(default_factory=list)

    def variable(self, cost: float = 0.0, *, upper: float = 1.0, integral: bool = False) -> int:
        """Add a variable between 0 and ``upper``; return its index."""
        self.costs.append(cost)
        self.upper.append(upper)
        self.integral.append(integral)
        return len(self.costs) - 1

    def restrict(self, terms: Terms, low: float, high: float) -> None:
        """Add the constraint that the sum of the terms lies between ``low`` and ``high``, inclusive."""
        row = len(self.low)
        self.low.append(low)
        self.high.append(high)
        self.entries += [(row, variable, factor) for variable, factor in terms]

    def solve(self, *, node_limit: int) -> Solution:
        """Solve with HiGHS; ``node_limit`` bounds the search, so that the result does not depend on the machine."""
        # Imported when it is needed: most small problems are solved without it.
        from highspy import HighsModelStatus, HighsVarType, SolutionStatus

        # HiGHS has absolute tolerances, so that costs far from 1 would be rounded away.
        costs = np.array(self.costs)
        scale = float(np.abs(costs).max()) or 1.0
        rows, columns, factors = (np.array(column) for column in zip(*self.entries, strict=True))
        programme = highs_programme(
            costs / scale,
            np.array(self.upper),
            np.array(self.low),
            np.array(self.high),
            Entries(rows, columns, factors),
        )
        kinds = HighsVarType.kContinuous, HighsVarType.kInteger
        programme.integrality_ = [kinds[integral] for integral in self.integral]
        solver = silent_solver()
        solver.setOptionValue("mip_max_nodes", node_limit)
        solver.setOptionValue("mip_rel_gap", 0.0)
        # Programmes of routes gain nothing by presolve.
        solver.setOptionValue("presolve", "off")
        solver.passModel(programme)
        solver.run()
        status, info = solver.getModelStatus(), solver.getInfo()
        is_feasible = info.primal_solution_status == int(SolutionStatus.kSolutionStatusFeasible)
        values = np.asarray(solver.getSolution().col_value) if is_feasible else None
        proved = status in (HighsModelStatus.kOptimal, HighsModelStatus.kInfeasible)
        return Solution(values, float(info.mip_dual_bound) * scale, proved)
