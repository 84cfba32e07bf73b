"""A mixed-integer linear programme, built row by row."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from planning.search.arrays import Array

Terms = Iterable[tuple[int, float]]
"""Variables with their coefficients."""


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Values of the variables (None if none were found), the proved bound, and whether the search ended."""

    values: Array | None
    bound: float
    proved: bool


@dataclass(slots=True)
class Programme:
    """Minimises the sum of cost x value over non-negative variables, subject to ranges of linear sums."""

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
        """Demand that the sum of the terms lies between ``low`` and ``high``."""
        row = len(self.low)
        self.low.append(low)
        self.high.append(high)
        self.entries += [(row, variable, factor) for variable, factor in terms]

    def solve(self, *, node_limit: int) -> Solution:
        """Solve with HiGHS; ``node_limit`` bounds the search, so that the result does not depend on the machine."""
        costs = np.array(self.costs)
        scale = float(np.abs(costs).max()) or 1.0
        rows, columns, factors = zip(*self.entries, strict=True)
        matrix = csr_array((factors, (rows, columns)), shape=(len(self.low), len(self.costs)))
        found = milp(
            costs / scale,
            integrality=np.array(self.integral, dtype=np.int64),
            bounds=Bounds(np.zeros(len(self.costs)), np.array(self.upper)),
            constraints=LinearConstraint(matrix, np.array(self.low), np.array(self.high)),
            options={"node_limit": node_limit, "mip_rel_gap": 0.0},
        )
        bound = -inf if found.mip_dual_bound is None else found.mip_dual_bound * scale
        values = None if found.x is None else np.asarray(found.x)
        return Solution(values, float(bound), found.status in (0, 2))
