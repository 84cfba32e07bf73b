"""The mix of routes bounds the bottleneck of every plan, and its shares attain the bound."""

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from planning.cost.cost_model import CostModel
from planning.problem.problem import Device, Link, Problem
from planning.queueing.operations import Work
from planning.scheduling.column_generation import MAX_ROUNDS, Pricing, mix_routes, rounds_of
from planning.search.cost_tables import build_tables
from planning.strategies.exhaustive import every_route
from shared.policy import Objective


@pytest.mark.parametrize("rounds", [1, 3, MAX_ROUNDS])
def test_no_route_for_all_jobs_beats_the_bound(make_problem: Callable[..., Problem], rounds: int) -> None:
    rng = random.Random("column generation")
    compared = 0
    for _ in range(60):
        problem = make_problem(rng, Objective.THROUGHPUT, codecs=rng.random() < 0.3, most_blocks=3)
        stream = replace(problem.streams[0], jobs=rng.randint(1, 4))
        problem, costs = replace(problem, streams=(stream,)), CostModel(problem)
        least_ms = min(
            (max(costs.busy_ms(stream, route).values(), default=0.0) for route in every_route(problem, stream)),
            default=float("inf"),
        )
        mix = mix_routes(problem, [build_tables(problem, stream)], rounds)
        assert mix.bound_ms <= stream.jobs * least_ms * (1 + 1e-9)
        assert sum(mix.weights.values()) == pytest.approx(1.0)
        if least_ms == float("inf"):
            assert mix.bound_ms == least_ms
            assert not mix.routes
            continue
        compared += 1
    assert compared > 30


def test_the_shares_attain_the_bound_and_add_up_to_the_jobs(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("shares")
    mixed = 0
    for _ in range(40):
        problem = make_problem(rng, Objective.THROUGHPUT)
        stream = replace(problem.streams[0], jobs=5)
        problem = replace(problem, streams=(stream,))
        mix = mix_routes(problem, [build_tables(problem, stream)])
        if not mix.routes:
            continue
        costs, busy = CostModel(problem), dict[tuple[str, Work], float]()
        for route, share in mix.shares[stream.name].items():
            for resource, time_ms in costs.busy_ms(stream, route).items():
                busy[resource] = busy.get(resource, 0.0) + share * time_ms
        assert sum(mix.shares[stream.name].values()) == pytest.approx(stream.jobs)
        assert max(busy.values(), default=0.0) == pytest.approx(mix.bound_ms, rel=1e-6, abs=1e-9)
        assert set(mix.shares[stream.name]) <= set(mix.routes[stream.name])
        mixed += len(mix.shares[stream.name]) > 1
    assert mixed > 10


def test_a_priced_route_has_the_least_weighted_busy_time(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("pricing")
    compared = 0
    for _ in range(40):
        problem = make_problem(rng, Objective.THROUGHPUT, most_blocks=3)
        stream, costs = problem.streams[0], CostModel(problem)
        weights = {(name, work): rng.random() for name in problem.devices for work in Work}
        (cheapest,) = Pricing([build_tables(problem, stream)]).routes(weights)
        values = [
            sum(weights[resource] * time_ms for resource, time_ms in costs.busy_ms(stream, route).items())
            for route in every_route(problem, stream)
        ]
        assert (cheapest is None) == (not values)
        if cheapest is not None:
            assert cheapest[1] == pytest.approx(min(values))
            compared += 1
    assert compared > 20


def test_two_equal_helpers_share_the_jobs(make_problem: Callable[..., Problem]) -> None:
    """The source cannot compute; sending takes no time, so that each helper gets half."""
    problem = make_problem(random.Random(1), Objective.THROUGHPUT)
    blocks = len(problem.models["m"].blocks)
    devices = {"a": Device({})} | {name: Device({"m": (6.0 / blocks,) * blocks}) for name in ("b", "c")}
    links = (Link("a", "b", 1e9), Link("a", "c", 1e9))
    stream = replace(problem.streams[0], source="a", sink=None, jobs=4)
    problem = replace(problem, devices=devices, links=links, streams=(stream,))
    mix = mix_routes(problem, [build_tables(problem, stream)])
    assert mix.bound_ms == pytest.approx(4 / 2 * 6.0, rel=1e-3)


def test_rounds_follow_the_time_budget(make_problem: Callable[..., Problem]) -> None:
    problem = make_problem(random.Random(1), Objective.THROUGHPUT)
    tables = [build_tables(problem, problem.streams[0])]
    assert [rounds_of(tables, budget_s) for budget_s in (0.0, 0.1, 10.0)] == [2, 30, MAX_ROUNDS]
    assert rounds_of(tables * 3, 0.1) == 10
