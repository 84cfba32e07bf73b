"""The best placement of the learned partitioner's shape, against every placement."""

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from benchmarks.masud_gap import best_ms
from planning.cost.cost_model import CostModel
from planning.problem.problem import Problem
from planning.strategies.exhaustive import every_route
from shared.policy import Objective


def test_the_best_placement_starts_at_the_source_and_returns_to_no_device(
    make_problem: Callable[..., Problem],
) -> None:
    rng, compared = random.Random("best placement"), 0
    while compared < 15:
        problem = make_problem(rng, Objective.THROUGHPUT, most_devices=3, most_blocks=4)
        stream, costs = problem.streams[0], CostModel(problem)
        bottlenecks_ms = [
            max(costs.busy_ms(stream, route).values())
            for route in every_route(problem, stream)
            if route.stages[0].device == stream.source
            and len({stage.device for stage in route.stages}) == len(route.stages)
            and all(before.device != after.device for before, after in pairwise(route.stages))
            and stream.sink in (None, route.stages[-1].device)
        ]
        if stream.sink is None and bottlenecks_ms:
            assert best_ms(problem) == pytest.approx(min(bottlenecks_ms))
            compared += 1
