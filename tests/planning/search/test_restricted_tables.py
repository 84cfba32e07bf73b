import random

import numpy as np
import pytest

from planning.cost.cost_model import CostModel
from planning.problem.plan import Route, StreamPlan
from planning.queueing.operations import Work
from planning.search.chain_path import cheapest_path
from planning.search.cost_tables import Tables, build_tables, busy_measure, latency_measure
from planning.search.restricted_tables import within_busy_time, within_latency
from planning.search.simple_routes import keeps_constraints
from shared.policy import Objective, QueueDiscipline
from tests.support.brute_force import _every_route
from tests.support.small_problems import Features, small_problem


def _random_case(seed: int) -> tuple[CostModel, Tables, list[Route]]:
    rng = random.Random(seed)
    while True:
        features = Features(
            Objective.MAKESPAN, QueueDiscipline.FIFO, rng.random() < 0.5, False, False, False, rng.random() < 0.5, False
        )
        problem = small_problem(rng, features)
        stream = problem.streams[0]
        costs = CostModel(problem)
        routes = [each for each in _every_route(problem, stream) if keeps_constraints(problem, stream, each, costs)]
        if len(routes) > 3 and problem.policy.max_devices is None:
            return costs, build_tables(problem, stream), routes


def _weighted_ms(costs: CostModel, tables: Tables, route: Route, weights: dict[tuple[str, Work], float]) -> float:
    busy = costs.busy_ms(tables.stream, route)
    return sum(weights[resource] * time_ms for resource, time_ms in busy.items())


def _least_ms(tables: Tables, weights: dict[tuple[str, Work], float]) -> float | None:
    computing, sending = (np.array([weights[name, work] for name in tables.nodes]) for work in Work)
    path = cheapest_path(busy_measure(tables, computing, sending))
    return None if path is None else path.cost


@pytest.mark.parametrize("seed", range(40))
def test_every_route_within_the_latency_stays_and_the_least_latency_is_right(seed: int) -> None:
    costs, tables, routes = _random_case(seed)
    rng = random.Random(seed)
    weights = {(name, work): rng.random() for name in tables.nodes for work in Work}
    times_ms = {route: costs.latency_ms(tables.stream, route) for route in routes}
    fastest_ms = min(times_ms.values())
    assert within_latency(tables, fastest_ms * 0.99 - 1e-3) is None
    for limit_ms in (fastest_ms, sorted(times_ms.values())[len(routes) // 2], max(times_ms.values())):
        within = within_latency(tables, limit_ms)
        assert within is not None
        restricted, least_ms = within
        assert least_ms == pytest.approx(fastest_ms)
        usable = [route for route, time_ms in times_ms.items() if time_ms <= limit_ms]
        found = _least_ms(restricted, weights)
        assert found is not None
        assert found <= min(_weighted_ms(costs, tables, route, weights) for route in usable) + 1e-9
        everything = _least_ms(tables, weights)
        assert everything is not None
        assert found >= everything - 1e-9


def test_only_the_fastest_route_is_left_within_its_latency() -> None:
    costs, tables, routes = _random_case(3)
    fastest = min(routes, key=lambda route: costs.latency_ms(tables.stream, route))
    within = within_latency(tables, costs.latency_ms(tables.stream, fastest))
    assert within is not None
    restricted, _ = within
    # Even if its devices cost the most, no other route is left.
    weights = {(name, work): float(name in fastest.devices) for name in tables.nodes for work in Work}
    assert _least_ms(restricted, weights) == pytest.approx(_weighted_ms(costs, tables, fastest, weights))


@pytest.mark.parametrize("seed", range(20))
def test_every_route_of_short_pieces_stays(seed: int) -> None:
    costs, tables, routes = _random_case(seed)
    for route in routes:
        largest_ms = max(operation.duration_ms for operation in costs.operations(tables.stream, route))
        restricted = within_busy_time(tables, largest_ms)
        assert cheapest_path(latency_measure(restricted)) is not None
        weights = {(name, work): 1.0 for name in tables.nodes for work in Work}
        found = _least_ms(restricted, weights)
        assert found is not None
        assert found <= _weighted_ms(costs, tables, route, weights) + 1e-9


def test_what_is_longer_by_itself_is_left_out() -> None:
    costs, tables, routes = _random_case(1)
    plan = StreamPlan((routes[0],))
    assert plan.routes
    finite = tables.run_ms[np.isfinite(tables.run_ms)]
    restricted = within_busy_time(tables, float(finite.max()) * 0.5)
    left = restricted.run_ms[np.isfinite(restricted.run_ms)]
    assert left.size < finite.size
    assert (left <= finite.max() * 0.5).all()
    assert costs.problem.streams
