"""No bound of a partial route exceeds the bottleneck of a whole one that continues it."""

import random
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from planning.problem.problem import Problem
from planning.queueing.operations import Work
from planning.search.bottleneck_bounds import BottleneckBounds
from planning.search.busy_times import BusyTimes
from planning.search.cost_tables import build_tables, latency_measure
from shared.policy import Objective


@pytest.mark.parametrize("weighted", [False, True])
def test_every_prefix_of_every_route_is_bounded_by_its_bottleneck(
    make_problem: Callable[..., Problem], weighted: bool
) -> None:
    rng = random.Random(f"bounds {weighted}")
    compared = tight = 0
    for _ in range(40):
        problem = make_problem(rng, Objective.THROUGHPUT, most_blocks=4)
        tables = build_tables(problem, problem.streams[0])
        nodes = len(tables.nodes)
        times = BusyTimes(tables, 1.0, np.zeros(2 * nodes))
        drawn = np.array([rng.random() for _ in range(2 * nodes)])
        resources = [(name, work) for work in (Work.COMPUTE, Work.SEND) for name in tables.nodes]
        weights = dict(zip(resources, (drawn / drawn.sum()).tolist(), strict=True)) if weighted else {}
        bounds = BottleneckBounds(tables, latency_measure(tables), times, weights)
        for devices in product(range(nodes), repeat=tables.blocks):
            busy = times.begin()[list(devices[:1])]
            below = [bounds.of_routes(1, np.array(devices[:1]), busy)[0]]
            for done in range(1, tables.blocks):
                here = np.array(devices[done - 1 : done])
                ways = times.ways(done, here)
                if not np.isfinite(busy).all():
                    break
                by_way = bounds.of_ways(done, here, busy, ways)[0, devices[done]]
                busy = times.advance(busy, here, ways, np.array([0]), np.array(devices[done : done + 1]))
                below.append(bounds.of_routes(done + 1, np.array(devices[done : done + 1]), busy)[0])
                assert below[-1] == pytest.approx(by_way)
            bottleneck_ms = times.finish_ms(busy, np.array(devices[-1:]))[0].min()
            if np.isfinite(bottleneck_ms):
                assert max(below) <= bottleneck_ms * (1 + 1e-9)
                compared += 1
                tight += max(below[:1]) > 0.5 * bottleneck_ms
    assert compared > 200
    assert tight > 100
