"""The arrays give the costs of the cost model."""

import random
from collections.abc import Callable
from itertools import pairwise, product

import numpy as np
import pytest

from planning.cost.cost_model import CostModel
from planning.problem.problem import Problem
from planning.queueing.operations import Work
from planning.search.cost_tables import (
    CostMeasure,
    build_tables,
    busy_measure,
    energy_measure,
    latency_measure,
    off_source_measure,
    spans_ms,
)
from shared.policy import Objective


def _total(measure: CostMeasure, devices: tuple[int, ...]) -> float:
    """Return the cost of a route that sends everything raw, by the definition of `CostMeasure`."""
    total = float(measure.first[devices[0]] + measure.start[devices[0]] + measure.finish[0, devices[-1]])
    for cut, (sender, receiver) in enumerate(pairwise(devices), start=1):
        if sender != receiver:
            total += float(measure.move[cut, 0, sender, receiver] + measure.start[receiver])
    return total + sum(float(measure.run[node, block]) for block, node in enumerate(devices))


def test_measures_are_the_latency_energy_and_busy_time_of_every_route(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("measures")
    compared = 0
    for _ in range(40):
        problem = make_problem(rng, Objective.LATENCY, most_blocks=4)
        stream, costs = problem.streams[0], CostModel(problem)
        tables = build_tables(problem, stream)
        latency, energy = latency_measure(tables), energy_measure(tables)
        weights = {(name, work): rng.random() for name in tables.nodes for work in Work}
        weighted = busy_measure(
            tables,
            np.array([weights[name, Work.COMPUTE] for name in tables.nodes]),
            np.array([weights[name, Work.SEND] for name in tables.nodes]),
        )
        away = off_source_measure(tables, latency)
        for devices in product(range(len(tables.nodes)), repeat=tables.blocks):
            latency_ms = _total(latency, devices)
            if np.isinf(latency_ms):
                continue
            route = tables.route(list(devices), [0] * tables.blocks, 1)
            busy = costs.busy_ms(stream, route)
            assert latency_ms == pytest.approx(costs.latency_ms(stream, route))
            assert _total(energy, devices) == pytest.approx(costs.energy_j(stream, route))
            assert _total(weighted, devices) == pytest.approx(sum(weights[key] * ms for key, ms in busy.items()))
            assert round(_total(away, devices)) == sum(node != tables.source for node in devices)
            compared += 1
    assert compared > 200


def test_spans_are_the_times_of_segments(make_problem: Callable[..., Problem]) -> None:
    problem = make_problem(random.Random(2), Objective.LATENCY, most_blocks=5)
    tables = build_tables(problem, problem.streams[0])
    spans = spans_ms(tables)
    for node, start in product(range(len(tables.nodes)), range(tables.blocks)):
        for stop in range(start + 1, tables.blocks + 1):
            expected = tables.start_ms[node] + tables.run_ms[node, start:stop].sum()
            assert spans[node, start, stop] == pytest.approx(expected)
