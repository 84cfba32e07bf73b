"""The best fractional mix of routes: a linear programme over all routes, solved by column generation.

A resource r is the computing or the sending of a device. Let x(s, p) be the jobs of stream s on route p, and n(s) all
jobs of s. Let b(r, p) be the busy time of r for a job on p. The master programme is

    minimise T  subject to  sum over s, p of b(r, p) x(s, p) <= T  for every r,
                            sum over p of x(s, p) = n(s)           for every s,  x >= 0.

Every plan is a point of it, with one route or many, any number of devices, encodings and revisits. Let v(s) be the
least weighted busy time of a route of s, which is a shortest path. For multipliers w(r) >= 0 that add up to 1, weak
duality gives T >= sum over s of n(s) v(s). So the bound holds for any multipliers and after any round. Multipliers come
from the duals of the programme over the routes known so far; the routes of their shortest paths join it (Dantzig &
Wolfe, Operations Research 8(1), 1960; Gilmore & Gomory, Operations Research 9(6), 1961). It ends when no new route
appears.

The duals jump from one vertex to another while few routes are known. So multipliers are a weighted mean of the duals
and the multipliers of the best bound (Wentges, International Transactions in Operational Research 4(2), 1997). With
them 40 rounds lead where more than 150 did before. The plain duals are priced where the mean gives no new route.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from planning.cost.cost_model import CostModel
from planning.problem.plan import Route
from planning.problem.problem import Problem
from planning.queueing.operations import Work
from planning.search.arrays import Array
from planning.search.cached_costs import CachedCosts
from planning.search.chain_path import cost_to_go, follow_path
from planning.search.cost_tables import Tables, busy_measure, with_source
from planning.search.linear_programme import solve_linear

# Largest number of rounds of pricing; the bound of the last one is used.
MAX_ROUNDS = 80

# Weight of the multipliers of the best bound in the mean with the duals.
SMOOTHING = 0.7

# Rounds before it. The routes of plain duals differ more from each other, which small problems need most.
PLAIN_ROUNDS = 10

# Routes that may be priced per second of time budget, by `pricing_size`.
PRICED_ROUTES_PER_SECOND = 300

# Blocks of a route, and transfers in its stream's arrays, up to which it counts as one.
USUAL_BLOCKS, USUAL_TRANSFERS = 20, 60_000

# Relative gap between bound and programme at which the mix counts as optimal.
_GAP = 1e-9

# Jobs of a share that is not rounding.
_MIN_SHARE = 1e-9

# Multipliers of the busy times, by device and kind of work; they add up to 1.
Multipliers = Mapping[tuple[str, Work], float]


@dataclass(frozen=True, slots=True, eq=False)
class RouteMix:
    """The best fractional mix of routes, its bound, and the routes that were found on the way.

    Attributes:
        bound_ms: a lower bound of the busy time of the bottleneck, in ms for all jobs together; inf if a stream has no
            route.
        shares: per stream, jobs (fractional) per route; empty if a stream has no route.
        routes: per stream, every route that was priced.
        weights: the multipliers that prove the bound.
        priced: all multipliers that were tried, with the least weighted busy time of a job of every stream, in ms.
    """

    bound_ms: float
    shares: Mapping[str, Mapping[Route, float]]
    routes: Mapping[str, tuple[Route, ...]]
    weights: Multipliers
    priced: Sequence[tuple[Multipliers, tuple[float, ...]]] = ()


def mix_routes(
    problem: Problem, tables: Sequence[Tables], rounds: int = MAX_ROUNDS, costs: CostModel | None = None
) -> RouteMix:
    """Return the best fractional mix of routes for all streams of ``tables``, side constraints left aside.

    Args:
        problem: the problem.
        tables: the arrays of every stream.
        rounds: rounds of pricing at most; the bound holds after any number of them.
        costs: the cost model of the problem; None makes one.
    """
    master = _MasterProgramme(problem, tables, costs or CachedCosts(CostModel(problem)))
    pricing = Pricing(tables)
    weights = best_weights = duals = master.uniform
    bound_ms, shares = 0.0, np.empty(0)
    priced: list[tuple[Multipliers, tuple[float, ...]]] = []
    for turn in range(rounds):
        by_resource = master.by_resource(weights)
        values, is_fresh = list[float](), False
        for index, cheapest in enumerate(pricing.routes(by_resource)):
            if cheapest is None:
                return RouteMix(inf, {}, {}, master.by_resource(master.uniform))
            route, value_ms = cheapest
            values.append(value_ms)
            is_fresh |= master.add(index, route)
        priced.append((by_resource, tuple(values)))
        total_ms = sum(entry.stream.jobs * value_ms for entry, value_ms in zip(tables, values, strict=True))
        if total_ms > bound_ms:
            bound_ms, best_weights = total_ms, weights
        if not is_fresh:
            if weights is duals:
                break
            weights = duals
            continue
        solution = master.solve()
        if solution is None:
            break
        shares, bottleneck_ms, duals = solution
        weights = duals if turn < PLAIN_ROUNDS else smoothed(best_weights, duals)
        if bound_ms >= bottleneck_ms * (1 - _GAP):
            break
    return RouteMix(bound_ms, master.shares(shares), master.routes(), master.by_resource(best_weights), priced)


def smoothed(best: Array, duals: Array) -> Array:
    """Return the multipliers to price next: a mean of the duals and of the multipliers of the best bound, [R]."""
    return SMOOTHING * best + (1 - SMOOTHING) * duals


def rounds_of(tables: Sequence[Tables], time_budget_s: float) -> int:
    """Return the number of rounds of pricing that the time budget pays for: from 2 to MAX_ROUNDS."""
    routes = PRICED_ROUTES_PER_SECOND * time_budget_s / pricing_size(tables)
    return max(2, min(MAX_ROUNDS, int(routes / len(tables))))


def pricing_size(tables: Sequence[Tables]) -> float:
    """Return for how many usual routes one of these streams counts: 1 up to the usual blocks and transfers."""
    return max(1.0, *(max(own.blocks / USUAL_BLOCKS, own.transfer_ms.size / USUAL_TRANSFERS) for own in tables))


class Pricing:
    """Cheapest routes by weighted busy time. Streams of one model over the same devices share the dynamic programme."""

    def __init__(self, tables: Sequence[Tables]) -> None:
        """Group the streams of ``tables``."""
        self._tables = tables
        self._groups: dict[tuple[str, tuple[str, ...], int | None], list[int]] = {}
        for index, entry in enumerate(tables):
            self._groups.setdefault((entry.stream.model, entry.nodes, entry.sink), []).append(index)

    def routes(self, weights: Multipliers) -> list[tuple[Route, float] | None]:
        """Return the route of least weighted busy time, and that time in ms, for every stream; None without a route."""
        cheapest: list[tuple[Route, float] | None] = [None] * len(self._tables)
        for members in self._groups.values():
            lead = self._tables[members[0]]
            computing = np.array([weights[name, Work.COMPUTE] for name in lead.nodes])
            sending = np.array([weights[name, Work.SEND] for name in lead.nodes])
            measure = busy_measure(lead, computing, sending)
            togo = cost_to_go(measure)
            for index in members:
                own = self._tables[index]
                path = follow_path(measure, togo, with_source(measure, own).first)
                if path is not None:
                    cheapest[index] = own.route(path.devices, path.codecs, 1), path.cost
        return cheapest


class _MasterProgramme:
    """The linear programme over the routes known so far: its columns, [R] busy times by resource.

    Columns are only added, and keep their order: a solution has one share per column of the time when it was solved.
    """

    def __init__(self, problem: Problem, tables: Sequence[Tables], costs: CostModel) -> None:
        self._tables, self._costs = tables, costs
        resources = [(name, work) for name in problem.devices for work in Work]
        self._places = {resource: place for place, resource in enumerate(resources)}
        self._columns: dict[tuple[int, Route], Array] = {}
        self.uniform: Array = np.full(len(resources), 1 / len(resources))

    def by_resource(self, weights: Array) -> dict[tuple[str, Work], float]:
        """Return multipliers, [R], by resource."""
        return dict(zip(self._places, weights.tolist(), strict=True))

    def add(self, index: int, route: Route) -> bool:
        """Add a route of stream ``index`` and return whether it is new."""
        if (index, route) in self._columns:
            return False
        times_ms = np.zeros(len(self._places))
        for resource, busy_ms in self._costs.busy_ms(self._tables[index].stream, route).items():
            times_ms[self._places[resource]] = busy_ms
        self._columns[index, route] = times_ms
        return True

    def solve(self) -> tuple[Array, float, Array] | None:
        """Return the shares of the columns, the bottleneck in ms and the multipliers, [R].

        None where the numbers are too far apart for the solver; the bound does not depend on it.
        """
        count, resources = len(self._columns), len(self._places)
        # Variables: the shares, then T. Rows: busy - T <= 0, and the shares of a stream add up to its jobs.
        busy = np.stack(list(self._columns.values()), axis=1)
        used = busy.any(axis=1)
        # T in units of the largest busy time keeps the coefficients near 1.
        scale = float(busy.max()) or 1.0
        limited = int(used.sum())
        rows = np.zeros((limited + len(self._tables), count + 1))
        rows[:limited, :-1], rows[:limited, -1] = busy[used] / scale, -1.0
        rows[[limited + index for index, _ in self._columns], np.arange(count)] = 1.0
        jobs = [float(entry.stream.jobs) for entry in self._tables]
        objective = np.zeros(count + 1)
        objective[-1] = 1.0
        low, high = np.array([-inf] * limited + jobs), np.array([0.0] * limited + jobs)
        solution = solve_linear(objective, rows, low, high)
        if solution is None:
            return None
        duals = np.zeros(resources)
        duals[used] = np.maximum(0.0, -solution.duals[:limited])
        # In exact arithmetic the duals add up to 1, because T has cost 1 and is in every row.
        total = duals.sum()
        weights = duals / total if total > 0 else self.uniform
        return solution.values[:-1], float(solution.values[-1]) * scale, weights

    def shares(self, solution: Array) -> dict[str, dict[Route, float]]:
        """Return the jobs per route of every stream; routes found after the solution have none."""
        shares: dict[str, dict[Route, float]] = {entry.stream.name: {} for entry in self._tables}
        for (index, route), share in zip(self._columns, solution.tolist(), strict=False):
            if share > _MIN_SHARE:
                shares[self._tables[index].stream.name][route] = share
        return shares

    def routes(self) -> dict[str, tuple[Route, ...]]:
        """Return all routes of every stream, in the order in which they were found."""
        routes: dict[str, list[Route]] = {entry.stream.name: [] for entry in self._tables}
        for index, route in self._columns:
            routes[self._tables[index].stream.name].append(route)
        return {name: tuple(own) for name, own in routes.items()}
