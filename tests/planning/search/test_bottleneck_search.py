"""The search for the least bottleneck agrees with comparing all routes."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.problem.problem import Problem
from planning.search.bottleneck_search import search_bottleneck
from planning.search.chain_path import cost_to_go
from planning.search.cost_tables import Tables, build_tables, latency_measure
from planning.search.limits import limits_of
from planning.search.result import same_route_for_all
from shared.policy import Objective


def _least_bottleneck_ms(problem: Problem, tables: Tables) -> float:
    """Return the least bottleneck of all routes without encodings that keep the constraints."""
    costs, stream = CostModel(problem), problem.streams[0]
    found = [float("inf")]
    for devices in product(range(len(tables.nodes)), repeat=tables.blocks):
        if not np.isfinite(tables.run_ms[list(devices), np.arange(tables.blocks)]).all():
            continue
        route = tables.route(list(devices), [0] * tables.blocks, 1)
        if not violations(costs, {"s": same_route_for_all(route, 1)}):
            found.append(max(costs.busy_ms(stream, route).values(), default=0.0))
    return min(found)


@pytest.mark.parametrize("is_beam_blind", [False, True])
def test_finds_the_least_bottleneck_of_all_routes(make_problem: Callable[..., Problem], is_beam_blind: bool) -> None:
    """With a beam of one route and no local search the labels have to find it."""
    rng = random.Random("least bottleneck")
    found = 0
    for index in range(60):
        problem = make_problem(rng, Objective.THROUGHPUT, constrained=index % 2 == 0)
        tables = build_tables(problem, problem.streams[0])
        latency = latency_measure(tables)
        limits = limits_of(problem, tables, 1.0)
        if is_beam_blind:
            limits = replace(limits, beam_width=1, local_search_limit=0)
        outcome = search_bottleneck(tables, latency, cost_to_go(latency), limits)
        expected_ms = _least_bottleneck_ms(problem, tables)
        assert outcome.proved
        assert (outcome.path is None) == np.isinf(expected_ms)
        if outcome.path is not None:
            assert outcome.path.cost == pytest.approx(expected_ms) == outcome.bound
            found += 1
    assert found > 20


def test_the_bound_holds_when_labels_run_out(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("out of labels")
    open_ended = 0
    for _ in range(40):
        problem = make_problem(rng, Objective.THROUGHPUT, most_devices=5, most_blocks=10)
        tables = build_tables(problem, problem.streams[0])
        latency = latency_measure(tables)
        togo, limits = cost_to_go(latency), limits_of(problem, tables, 1.0)
        exact = search_bottleneck(tables, latency, togo, limits)
        hasty = search_bottleneck(
            tables, latency, togo, replace(limits, label_limit=2, beam_width=1, local_search_limit=0)
        )
        if exact.path is None or not exact.proved:
            continue
        assert hasty.bound <= exact.path.cost * (1 + 1e-9)
        open_ended += not hasty.proved
    assert open_ended > 5
