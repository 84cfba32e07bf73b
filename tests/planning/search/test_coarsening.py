import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from planning.cost.cost_model import CostModel
from planning.problem.problem import Problem
from planning.search.bottleneck_search import search_bottleneck
from planning.search.chain_path import cheapest_path, cost_to_go
from planning.search.coarsening import coarsened
from planning.search.cost_tables import build_tables, latency_measure
from planning.search.device_network import DeviceNetwork
from planning.search.limits import limits_of
from shared.policy import Objective


def test_a_route_of_runs_of_blocks_costs_the_same_in_blocks(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("coarse")
    compared = 0
    for index in range(60):
        problem = make_problem(rng, Objective.LATENCY, codecs=index % 2 == 0, most_blocks=12)
        stream = problem.streams[0]
        tables = build_tables(problem, stream, DeviceNetwork(problem))
        limits = limits_of(problem, tables, 1.0)
        for most in (1, 2, 5, 20):
            coarse = coarsened(tables, limits, most)
            assert coarse.tables.blocks <= max(most, 1)
            assert sum(coarse.limits.parameter_bytes) == pytest.approx(sum(limits.parameter_bytes))
            path = cheapest_path(latency_measure(coarse.tables))
            if path is None:
                continue
            fine = coarse.fine(path)
            route = tables.route(fine.devices, fine.codecs, 1)
            assert path.cost == pytest.approx(CostModel(problem).latency_ms(stream, route))
            compared += 1
    assert compared > 100


def test_cuts_lie_where_little_is_sent(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("where little is sent")
    problem = make_problem(rng, Objective.LATENCY, most_blocks=12)
    model = problem.models["m"]
    blocks = tuple(replace(model.blocks[0], output_bytes=1000 - 900 * (index in (2, 6, 11))) for index in range(12))
    devices = {name: replace(device, block_ms={"m": (1.0,) * 12}) for name, device in problem.devices.items()}
    problem = replace(problem, models={"m": replace(model, blocks=blocks)}, devices=devices)
    tables = build_tables(problem, problem.streams[0])
    assert {3, 7} <= set(coarsened(tables, limits_of(problem, tables, 1.0), 4).stops.tolist())


def test_a_chain_too_long_for_a_beam_still_gets_a_route(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("too long")
    found = 0
    for _ in range(30):
        problem = make_problem(rng, Objective.THROUGHPUT, most_blocks=14)
        stream, costs = problem.streams[0], CostModel(problem)
        tables = build_tables(problem, stream)
        latency = latency_measure(tables)
        limits = replace(limits_of(problem, tables, 0.1), beam_blocks=4, label_limit=4)
        short = search_bottleneck(tables, latency, cost_to_go(latency), limits)
        whole = search_bottleneck(tables, latency, cost_to_go(latency), replace(limits, beam_blocks=100))
        assert (short.path is None) == (whole.path is None)
        if short.path is not None:
            route = tables.route(short.path.devices, short.path.codecs, 1)
            assert max(costs.busy_ms(stream, route).values(), default=0.0) == pytest.approx(short.path.cost)
            assert short.bound <= short.path.cost * (1 + 1e-9)
            assert np.isfinite(short.path.cost)
            found += 1
    assert found > 10
