"""A mixed-integer linear programme that is built row by row and solved by HiGHS."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

import numpy as np

from planning.search.arrays import Array

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
        # SciPy takes longer to import than small problems take to solve, so it is imported when it is needed.
        from scipy.optimize import Bounds, LinearConstraint, milp
        from scipy.sparse import csr_array

        # HiGHS has absolute tolerances, so that costs far from 1 would be rounded away.
        costs = np.array(self.costs)
        scale = float(np.abs(costs).max()) or 1.0
        rows, columns, factors = zip(*self.entries, strict=True)
        matrix = csr_array((factors, (rows, columns)), shape=(len(self.low), len(self.costs)))
        result = milp(
            costs / scale,
            integrality=np.array(self.integral, dtype=np.int64),
            bounds=Bounds(np.zeros(len(self.costs)), np.array(self.upper)),
            constraints=LinearConstraint(matrix, np.array(self.low), np.array(self.high)),
            # With presolve, HiGHS prints to stdout when it repairs a solution. Programmes of routes gain nothing by it.
            options={"node_limit": node_limit, "mip_rel_gap": 0.0, "presolve": False},
        )
        bound = -inf if result.mip_dual_bound is None else result.mip_dual_bound * scale
        values = None if result.x is None else np.asarray(result.x)
        # Status 0: optimal. Status 2: infeasible. Every other one ends the search early.
        return Solution(values, float(bound), result.status in (0, 2))
