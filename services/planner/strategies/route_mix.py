"""The best fractional mix of routes: a linear programme over all routes, solved by column generation.

Its optimum bounds the busy time of the bottleneck from below for every plan, with one route or many, any number of
devices, encodings and revisits; its columns are good routes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from services.planner.strategies.chain_path import cheapest_path
from services.planner.strategies.tables import Array, Tables, busy_measure
from shared.plan.cost import CostModel
from shared.plan.pipeline import Work
from shared.plan.plan import Route
from shared.plan.problem import Problem

ROUNDS = 40
"""After so many rounds of pricing the bound is taken as it is."""


@dataclass(frozen=True, slots=True, eq=False)
class RouteMix:
    """The outcome.

    Attributes:
        bound_ms: no plan keeps its bottleneck busy for less, in ms for all jobs together.
        shares: per stream, jobs (fractional) per route; empty if a stream has no route.
        routes: per stream, every route that was priced.
        weights: the multipliers that prove the bound, per device and kind of work; they add up to 1.
    """

    bound_ms: float
    shares: Mapping[str, Mapping[Route, float]]
    routes: Mapping[str, tuple[Route, ...]]
    weights: Mapping[tuple[str, Work], float]


def mix_routes(problem: Problem, tables: Sequence[Tables]) -> RouteMix:
    """Return the best fractional mix of routes for all streams of ``tables``, side constraints left aside.

    Each round solves a small linear programme (duals: how scarce every device's computing and sending is) and prices
    new routes with the cheapest path under those duals.
    """
    costs = CostModel(problem)
    resources = [(name, work) for name in problem.devices for work in Work]
    uniform = {resource: 1 / len(resources) for resource in resources}
    columns: list[tuple[int, Route, Array]] = []
    bound_ms, best_weights, weights = 0.0, uniform, uniform
    solution: Array = np.empty(0)
    for _ in range(ROUNDS):
        priced, value_ms = [], 0.0
        for index, entry in enumerate(tables):
            found = price_route(entry, weights)
            if found is None:
                return RouteMix(float("inf"), {}, {}, uniform)
            route, cost = found
            value_ms += entry.stream.jobs * cost
            busy = costs.busy_ms(entry.stream, route)
            priced.append((index, route, np.array([busy.get(resource, 0.0) for resource in resources])))
        if value_ms > bound_ms:
            bound_ms, best_weights = value_ms, weights
        known = {(index, route) for index, route, _ in columns}
        fresh = [column for column in priced if column[:2] not in known]
        columns += fresh
        if not fresh:
            break
        master = _master(columns, [entry.stream.jobs for entry in tables], len(resources))
        if master is None:
            break
        solution, total_ms, duals = master
        if bound_ms >= total_ms * (1 - 1e-9):
            break
        weights = dict(zip(resources, duals, strict=True))
    return RouteMix(bound_ms, _shares(tables, columns, solution), _routes(tables, columns), best_weights)


def price_route(tables: Tables, weights: Mapping[tuple[str, Work], float]) -> tuple[Route, float] | None:
    """Return the route whose weighted busy time is least, and that time in ms; None if there is no route."""
    computing = np.array([weights[name, Work.COMPUTE] for name in tables.nodes])
    sending = np.array([weights[name, Work.SEND] for name in tables.nodes])
    path = cheapest_path(busy_measure(tables, computing, sending))
    return None if path is None else (tables.route(path.devices, path.codecs, 1), path.cost)


def _master(
    columns: Sequence[tuple[int, Route, Array]], jobs: Sequence[int], resources: int
) -> tuple[Array, float, list[float]] | None:
    """Return the shares, the bottleneck and the duals of the present columns: min T, busy <= T, shares = jobs.

    None where the numbers are too far apart for the solver; the bound does not depend on it.
    """
    count = len(columns)
    busy = np.zeros((resources, count + 1))
    equal = np.zeros((len(jobs), count + 1))
    for place, (index, _, times_ms) in enumerate(columns):
        busy[:, place] = times_ms
        equal[index, place] = 1.0
    scale = float(busy.max()) or 1.0
    busy /= scale
    busy[:, -1] = -1.0
    objective = np.zeros(count + 1)
    objective[-1] = 1.0
    found = linprog(objective, A_ub=busy, b_ub=np.zeros(resources), A_eq=equal, b_eq=jobs, method="highs")
    if found.x is None or found.ineqlin.marginals is None:
        return None
    duals = np.maximum(0.0, -found.ineqlin.marginals)
    total = duals.sum()
    duals = duals / total if total > 0 else np.full(resources, 1 / resources)
    shares = np.asarray(found.x)
    return shares[:-1], float(shares[-1]) * scale, duals.tolist()


def _shares(
    tables: Sequence[Tables], columns: Sequence[tuple[int, Route, Array]], solution: Array
) -> dict[str, dict[Route, float]]:
    shares: dict[str, dict[Route, float]] = {entry.stream.name: {} for entry in tables}
    for (index, route, _), share in zip(columns, solution.tolist(), strict=False):
        if share > 1e-9:
            shares[tables[index].stream.name][route] = share
    return shares


def _routes(tables: Sequence[Tables], columns: Sequence[tuple[int, Route, Array]]) -> dict[str, tuple[Route, ...]]:
    return {
        entry.stream.name: tuple(route for place, route, _ in columns if place == index)
        for index, entry in enumerate(tables)
    }
