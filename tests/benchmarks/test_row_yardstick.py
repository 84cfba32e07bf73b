"""The yardstick for plans with tiles, against all plans on a small grid."""

from itertools import product

import numpy as np
import pytest

from benchmarks.row_yardstick import row_yardstick
from planning.cost.cost_model import CostModel
from planning.problem.problem import Block, Device, Link, Model, Problem, RowProfile, Stream
from planning.tiled_search.plan_batch import TiledChain, route_of
from tests.support.tiled_problems import tables_of

ROWS = RowProfile(8, 3, 1, 1)


def _problem(mbps: float) -> Problem:
    blocks = (Block("x", 8000, rows=ROWS), Block("y", 8000, rows=ROWS), Block("tail", 100))
    devices = {"a": Device({"m": (20.0, 30.0, 1.0)}), "b": Device({"m": (10.0, 25.0, 4.0)}, segment_overhead_ms=0.5)}
    links = (Link("a", "b", mbps, 0.2),)
    return Problem({"m": Model(8000, blocks, None, 8)}, devices, links, (Stream("s", "m", "a", "a"),))


@pytest.mark.parametrize("mbps", [1.0, 30.0, 1000.0])
def test_no_plan_on_the_grid_is_much_better(mbps: float) -> None:
    problem = _problem(mbps)
    tables, costs = tables_of(problem), CostModel(problem)
    found = row_yardstick(problem, 4)
    # Overlapping transfers and computing only shortens a plan.
    assert found.latency_ms <= found.lockstep_ms * (1 + 1e-9)
    best_ms = np.inf
    for stops in ((3,), (1, 3), (2, 3), (1, 2, 3)):
        split = [range(0, 9, 2) if stop < 3 else (0, 1) for stop in stops]
        for tops in product(*split):
            bounds = [[0, top, tables.heights[stop]] for top, stop in zip(tops, stops, strict=True)]
            chain = TiledChain(np.arange(2), np.array(stops), np.array(bounds), np.zeros(len(stops), dtype=np.int64))
            best_ms = min(best_ms, costs.latency_ms(problem.streams[0], route_of(tables, chain)))
    assert best_ms <= found.latency_ms <= 1.1 * best_ms


def test_nothing_to_split() -> None:
    problem = _problem(1.0)
    model = Model(8000, (Block("x", 8000), Block("y", 8000), Block("tail", 100)))
    with pytest.raises(ValueError, match="nothing of the model can be split"):
        row_yardstick(Problem({"m": model}, problem.devices, problem.links, problem.streams), 4)
