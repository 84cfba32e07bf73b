"""Bounds of the latency that count the time to reach a device."""

import random
from dataclasses import replace
from math import inf

import numpy as np
import pytest

from planning.problem.problem import Block, Device, Link, Model, Problem, RowProfile, Stream
from planning.search.reach_bounds import least_bytes, least_level
from planning.search.tiled_bounds import tiled_bound
from planning.strategies.registry import solve, with_strategy
from planning.tiled_search.batch_costs import batch_costs
from planning.tiled_search.plan_batch import batch_of
from shared.policy import Objective, Policy
from tests.support.tiled_problems import random_chain, random_tiled_problem, tables_of

ROWS = RowProfile(4)


def test_levels_by_hand() -> None:
    offsets, weights = np.array([0.0, 4.0, inf]), np.array([1.0, 1.0, 1.0])
    # The first alone is done at 3, before the second begins; of 10 they share the rest from 4 on.
    assert least_level(offsets, weights, 3.0) == 3.0
    assert least_level(offsets, weights, 10.0) == 7.0
    assert least_level(offsets[2:], weights[2:], 1.0) == inf
    assert least_level(offsets, weights, 0.0) == 0.0


def _two_devices(mbps: float, sink: str | None) -> Problem:
    """One block of 4 rows, 12 ms on either device, then one without rows of 6 ms."""
    model = Model(1000, (Block("x", 1000, rows=ROWS), Block("y", 10)), None, 4)
    devices = dict.fromkeys("ab", Device({"m": (12.0, 6.0)}))
    return Problem({"m": model}, devices, (Link("a", "b", mbps, 1.0),), (Stream("s", "m", "a", sink),))


@pytest.mark.parametrize(
    ("mbps", "sink", "bound"),
    [
        # A row takes 1 + 2 ms there and back: of 12 ms b does T - 6 and a T, so that T is 9.
        (1.0, "a", 9 + 6.0),
        (1.0, None, 9 + 6.0),
        # At 0.1 Mbps b cannot be reached in 12 ms.
        (0.1, "a", 12 + 6.0),
    ],
)
def test_bounds_by_hand(mbps: float, sink: str | None, bound: float) -> None:
    assert tiled_bound(_two_devices(mbps, sink)) == pytest.approx(bound)


def test_a_plan_without_tiles_is_proved_where_other_devices_are_out_of_reach() -> None:
    answer = solve(with_strategy(_two_devices(0.1, "a"), "shortest_path"))
    assert (answer.cost, answer.optimal) == (18.0, True)  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(12))
def test_no_plan_costs_less(seed: int) -> None:
    problem = random_tiled_problem(seed, blocks=5, devices=random.Random(seed).randint(2, 3))
    tables, rng = tables_of(problem), random.Random(seed)
    found = batch_costs(tables, batch_of([random_chain(rng, tables) for _ in range(60)]))
    assert found.loads is not None
    for objective, least in (
        (Objective.LATENCY, found.latency_ms.min()),
        (Objective.THROUGHPUT, found.loads.bottleneck_ms.min()),
        (Objective.ENERGY, found.loads.energy_j.min()),
    ):
        bound = tiled_bound(replace(problem, policy=Policy(objective=objective)))
        assert bound is not None
        assert 0 < bound <= least * (1 + 1e-9)
    best = solve(with_strategy(problem, "tiled"))
    bound = tiled_bound(problem)
    assert bound is not None
    assert bound <= best.cost * (1 + 1e-9)  # type: ignore[union-attr]


def test_the_fewest_bytes_of_a_row_in_any_encoding() -> None:
    model = _two_devices(1.0, None).models["m"]
    assert [least_bytes(model, cut, whole=True) for cut in range(3)] == [1000, 1000, 10]
    assert [least_bytes(model, cut, whole=False) for cut in range(3)] == [250, 250, 10]
    blocks = (replace(model.blocks[0], rows=replace(ROWS, bytes_per_row=200.0)), model.blocks[1])
    assert least_bytes(replace(model, blocks=blocks), 1, whole=False) == 200
