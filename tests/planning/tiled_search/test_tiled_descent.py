"""The local search."""

import random

import numpy as np
import pytest

from benchmarks.spatial_cases import cases
from planning.search.arrays import Array
from planning.tiled_search.batch_costs import BatchCosts, batch_costs
from planning.tiled_search.plan_batch import TiledChain, batch_of
from planning.tiled_search.tiled_descent import DescentWork, TiledDescent
from planning.tiled_search.volume_programme import best_volumes
from tests.support.tiled_problems import random_chain, random_tiled_problem, tables_of, tiles_example


def _latency(costs: BatchCosts) -> Array:
    return costs.latency_ms


@pytest.mark.parametrize("seed", range(5))
def test_the_result_is_no_worse_than_any_start_and_more_work_never_hurts(seed: int) -> None:
    tables = tables_of(random_tiled_problem(seed))
    rng = random.Random(seed)
    starts = [random_chain(rng, tables) for _ in range(8)]
    before = batch_costs(tables, batch_of(starts)).latency_ms.min()
    found = []
    for work in (0, 20_000, 1_000_000):
        best = TiledDescent(tables, _latency, False, DescentWork(work)).improved(starts)
        found.append(float(batch_costs(tables, batch_of([best])).latency_ms[0]))
    assert found == sorted(found, reverse=True)
    assert found[0] <= before


def test_the_example_is_improved_from_equal_rows_to_less_than_180_ms() -> None:
    tables = tables_of(tiles_example())
    (start,) = best_volumes(tables, np.arange(4), np.full((1, 4), 0.25))
    best = TiledDescent(tables, _latency, False, DescentWork(5_000_000)).improved([start])
    assert batch_costs(tables, batch_of([best])).latency_ms[0] < 180


def test_a_stage_on_one_device_is_shared_out() -> None:
    (case,) = [each for each in cases() if each.name == "DC@50"]
    tables = tables_of(case.problem())
    start = TiledChain(np.arange(5), np.array([21]), np.array([[0, 1, 1, 1, 1, 1]]), np.zeros(1, dtype=np.int64))
    assert batch_costs(tables, batch_of([start])).latency_ms[0] > 64
    best = TiledDescent(tables, _latency, False, DescentWork(5_000_000)).improved([start])
    assert batch_costs(tables, batch_of([best])).latency_ms[0] < 57


def test_work_is_counted() -> None:
    tables = tables_of(random_tiled_problem(1))
    work = DescentWork(1_000_000)
    TiledDescent(tables, _latency, False, work).improved([random_chain(random.Random(1), tables)])
    assert work.left < 1_000_000
