"""The dynamic programme agrees with comparing all paths."""

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from planning.cost.cost_model import CostModel
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.search.chain_path import cheapest_path, cost_to_go, follow_path
from planning.search.cost_tables import build_tables, latency_measure, with_source
from planning.strategies.exhaustive import every_route
from shared.policy import Objective


def test_the_cheapest_path_is_the_quickest_of_all_routes(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("cheapest path")
    found = 0
    for _ in range(60):
        problem = make_problem(rng, Objective.LATENCY, most_blocks=4)
        stream, costs = problem.streams[0], CostModel(problem)
        tables = build_tables(problem, stream)
        latencies_ms = [costs.latency_ms(stream, route) for route in every_route(problem, stream)]
        path = cheapest_path(latency_measure(tables))
        least_ms = min(latencies_ms, default=float("inf"))
        assert (path is None) == np.isinf(least_ms)
        if path is not None:
            route = tables.route(path.devices, path.codecs, 1)
            assert path.cost == pytest.approx(least_ms) == costs.latency_ms(stream, route)
            found += 1
    assert found > 30


def test_streams_that_differ_in_their_source_share_the_cost_to_go(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("another source")
    compared = 0
    for _ in range(40):
        problem = make_problem(rng, Objective.LATENCY, codecs=True)
        tables = build_tables(problem, problem.streams[0])
        measure = latency_measure(tables)
        togo = cost_to_go(measure)
        for source in range(len(tables.nodes)):
            other = replace(tables, source=source)
            own = latency_measure(other)
            assert follow_path(measure, togo, with_source(measure, other).first) == cheapest_path(own)
            compared += 1
    assert compared > 60


def test_of_equal_paths_the_one_that_stays_is_taken() -> None:
    devices = {name: Device({"m": (1.0, 1.0, 1.0)}) for name in ("a", "b")}
    model = Model(0, (Block("x", 0), Block("y", 0), Block("z", 0)))
    problem = Problem({"m": model}, devices, (Link("a", "b", 1.0),), (Stream("s", "m", "a"),))
    path = cheapest_path(latency_measure(build_tables(problem, problem.streams[0])))
    assert path is not None
    assert len(set(path.devices)) == 1
