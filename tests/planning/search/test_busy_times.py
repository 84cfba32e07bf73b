"""The recurrence of busy times gives those of the cost model, step by step."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from planning.cost.cost_model import CostModel
from planning.problem.problem import Problem
from planning.queueing.operations import Work
from planning.search.busy_times import BusyTimes
from planning.search.cost_tables import Tables, build_tables
from shared.policy import Objective

WEIGHT = 3.0


def _random_route(rng: random.Random, tables: Tables) -> tuple[list[int], list[int]] | None:
    """Return node and encoding per block (the last is the result's), or None if the one that was drawn cannot run."""
    codecs_of = [np.flatnonzero(np.isfinite(cut).any(axis=(1, 2))).tolist() for cut in tables.transfer_ms]
    devices = [rng.choice(np.flatnonzero(tables.allowed_first).tolist())]
    codecs = []
    for cut in range(1, tables.blocks + 1):
        receiver = rng.randrange(len(tables.nodes)) if cut < tables.blocks else tables.sink
        receiver = devices[-1] if receiver is None else receiver
        stays = receiver == devices[-1]
        if not stays and not codecs_of[cut]:
            return None
        codecs.append(0 if stays else rng.choice(codecs_of[cut]))
        if not stays and not np.isfinite(tables.transfer_ms[cut, codecs[-1], devices[-1], receiver]):
            return None
        if cut < tables.blocks:
            devices.append(receiver)
    runs = np.isfinite(tables.run_ms[devices, np.arange(tables.blocks)]).all()
    reached = devices[0] == tables.source or np.isfinite(tables.transfer_ms[0, 0, tables.source, devices[0]])
    return (devices, codecs) if runs and reached else None


def test_a_route_followed_step_by_step_is_as_busy_as_in_the_cost_model(make_problem: Callable[..., Problem]) -> None:
    rng = random.Random("busy times")
    compared = 0
    for index in range(200):
        problem = make_problem(rng, Objective.THROUGHPUT, codecs=index % 2 == 0)
        stream, costs = problem.streams[0], CostModel(problem)
        tables = build_tables(problem, stream)
        drawn = _random_route(rng, tables)
        if drawn is None:
            continue
        devices, codecs = drawn
        nodes = len(tables.nodes)
        initial = np.array([rng.uniform(0, 10) for _ in range(2 * nodes)])
        times = BusyTimes(tables, WEIGHT, initial)
        busy = times.begin()[devices[:1]]
        for done in range(1, tables.blocks):
            here = np.array(devices[done - 1 : done])
            ways = times.ways(done, here)
            way = np.array([codecs[done - 1] * nodes + devices[done]])
            worst_ms = times.worst_ms(busy, here, ways)[0, way[0]]
            added = busy[0] + times.vectors(int(here[0]), ways)[way[0]]
            busy = times.advance(busy, here, ways, np.array([0]), way)
            assert busy[0] == pytest.approx(added)
            assert busy.max() == pytest.approx(worst_ms)
        own = costs.busy_ms(stream, tables.route(devices, codecs, 1))
        resources = [(name, work) for work in (Work.COMPUTE, Work.SEND) for name in tables.nodes]
        expected = initial + WEIGHT * np.array([own.get(resource, 0.0) for resource in resources])
        finished_ms = times.finish_ms(busy, np.array(devices[-1:]))[0, codecs[-1]]
        assert finished_ms == pytest.approx(expected.max())
        if tables.sink in (None, devices[-1]):
            assert busy[0] == pytest.approx(expected)
        compared += 1
    assert compared > 60
