"""The best fractional mix of routes: a linear programme over all routes, solved by column generation.

Its optimum bounds the busy time of the bottleneck from below for every plan, with one route or many, any number of
devices, encodings and revisits; its columns are good routes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from planning.cost.cost_model import CostModel
from planning.problem.plan import Route
from planning.problem.problem import Problem
from planning.queueing.operations import Work
from planning.search.arrays import Array
from planning.search.cached_costs import CachedCosts
from planning.search.chain_path import cost_to_go, follow_path
from planning.search.cost_tables import Tables, busy_measure, with_source

ROUNDS = 40
"""After so many rounds of pricing the bound is taken as it is."""

PRICED_PER_SECOND = 300
"""How many routes may be priced per second of time budget, for USUAL_BLOCKS blocks or fewer."""

USUAL_BLOCKS = 20


@dataclass(frozen=True, slots=True, eq=False)
class RouteMix:
    """The outcome.

    Attributes:
        bound_ms: no plan keeps its bottleneck busy for less, in ms for all jobs together.
        shares: per stream, jobs (fractional) per route; empty if a stream has no route.
        routes: per stream, every route that was priced.
        weights: the multipliers that prove the bound, per device and kind of work; they add up to 1.
        priced: all multipliers that were tried, with the cost of the cheapest route of every stream, in ms.
    """

    bound_ms: float
    shares: Mapping[str, Mapping[Route, float]]
    routes: Mapping[str, tuple[Route, ...]]
    weights: Mapping[tuple[str, Work], float]
    priced: Sequence[tuple[Mapping[tuple[str, Work], float], tuple[float, ...]]] = ()


def mix_routes(
    problem: Problem, tables: Sequence[Tables], rounds: int = ROUNDS, costs: CostModel | None = None
) -> RouteMix:
    """Return the best fractional mix of routes for all streams of ``tables``, side constraints left aside.

    Each round solves a small linear programme (duals: how scarce every device's computing and sending is) and prices
    new routes with the cheapest path under those duals. The bound holds after any number of rounds.
    """
    costs = costs or CachedCosts(CostModel(problem))
    places = {
        resource: place for place, resource in enumerate((name, work) for name in problem.devices for work in Work)
    }
    uniform = np.full(len(places), 1 / len(places))
    pricing = Pricing(tables)
    columns: dict[tuple[int, Route], Array] = {}
    bound_ms, best_weights, weights = 0.0, uniform, uniform
    solution: Array = np.empty(0)
    tried: list[tuple[Mapping[tuple[str, Work], float], tuple[float, ...]]] = []
    for _ in range(rounds):
        by_resource = dict(zip(places, weights.tolist(), strict=True))
        value_ms, fresh = 0.0, False
        values: list[float] = []
        for index, found in enumerate(pricing.routes(by_resource)):
            if found is None:
                return RouteMix(float("inf"), {}, {}, dict(zip(places, uniform.tolist(), strict=True)))
            route, cost = found
            values.append(cost)
            value_ms += tables[index].stream.jobs * cost
            if (index, route) not in columns:
                fresh, times_ms = True, np.zeros(len(places))
                for resource, busy_ms in costs.busy_ms(tables[index].stream, route).items():
                    times_ms[places[resource]] = busy_ms
                columns[index, route] = times_ms
        tried.append((by_resource, tuple(values)))
        if value_ms > bound_ms:
            bound_ms, best_weights = value_ms, weights
        if not fresh:
            break
        master = _master(columns, [entry.stream.jobs for entry in tables], len(places))
        if master is None:
            break
        solution, total_ms, weights = master
        if bound_ms >= total_ms * (1 - 1e-9):
            break
    proof = dict(zip(places, best_weights.tolist(), strict=True))
    return RouteMix(bound_ms, _shares(tables, columns, solution), _routes(tables, columns), proof, tried)


def rounds_of(tables: Sequence[Tables], time_budget_s: float) -> int:
    """Return after how many rounds of pricing a mix is good enough for the time budget."""
    size = max(1.0, max(entry.blocks for entry in tables) / USUAL_BLOCKS)
    return max(2, min(ROUNDS, int(PRICED_PER_SECOND * time_budget_s / (size * len(tables)))))


class Pricing:
    """Cheapest routes by weighted busy time. Streams of one model over the same devices share the dynamic programme."""

    def __init__(self, tables: Sequence[Tables]) -> None:
        """Group the streams of ``tables``."""
        self._tables = tables
        self._groups: dict[tuple[str, tuple[str, ...], int | None], list[int]] = {}
        for index, entry in enumerate(tables):
            self._groups.setdefault((entry.stream.model, entry.nodes, entry.sink), []).append(index)

    def routes(self, weights: Mapping[tuple[str, Work], float]) -> list[tuple[Route, float] | None]:
        """Return for every stream the route whose weighted busy time is least, and that time in ms."""
        found: list[tuple[Route, float] | None] = [None] * len(self._tables)
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
                    found[index] = own.route(path.devices, path.codecs, 1), path.cost
        return found


def _master(
    columns: Mapping[tuple[int, Route], Array], jobs: Sequence[int], resources: int
) -> tuple[Array, float, Array] | None:
    """Return the shares, the bottleneck and the duals of the present columns: min T, busy <= T, shares = jobs.

    None where the numbers are too far apart for the solver; the bound does not depend on it.
    """
    count = len(columns)
    busy = np.zeros((resources, count + 1))
    busy[:, :-1] = np.stack(list(columns.values()), axis=1)
    equal = np.zeros((len(jobs), count + 1))
    equal[[index for index, _ in columns], np.arange(count)] = 1.0
    scale = float(busy.max()) or 1.0
    busy /= scale
    busy[:, -1] = -1.0
    objective = np.zeros(count + 1)
    objective[-1] = 1.0
    used = busy[:, :-1].any(axis=1)
    found = linprog(objective, A_ub=busy[used], b_ub=np.zeros(int(used.sum())), A_eq=equal, b_eq=jobs, method="highs")
    if found.x is None or found.ineqlin.marginals is None:
        return None
    duals = np.zeros(resources)
    duals[used] = np.maximum(0.0, -found.ineqlin.marginals)
    total = duals.sum()
    duals = duals / total if total > 0 else np.full(resources, 1 / resources)
    shares = np.asarray(found.x)
    return shares[:-1], float(shares[-1]) * scale, duals


def _shares(
    tables: Sequence[Tables], columns: Mapping[tuple[int, Route], Array], solution: Array
) -> dict[str, dict[Route, float]]:
    shares: dict[str, dict[Route, float]] = {entry.stream.name: {} for entry in tables}
    for (index, route), share in zip(columns, solution.tolist(), strict=False):
        if share > 1e-9:
            shares[tables[index].stream.name][route] = share
    return shares


def _routes(tables: Sequence[Tables], columns: Mapping[tuple[int, Route], Array]) -> dict[str, tuple[Route, ...]]:
    pools: dict[str, list[Route]] = {entry.stream.name: [] for entry in tables}
    for index, route in columns:
        pools[tables[index].stream.name].append(route)
    return {name: tuple(pool) for name, pool in pools.items()}
