import itertools
import random
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest

from planning.problem.problem import Block, Device, Model, Problem, Stream
from planning.search.linear_costs import LinearCosts, halo_rows, work_shares
from planning.search.volume_routes import equal_rows, proportional_rows
from tests.support.spatial_problems import group_of, meshed, row_chain


def _halves(height: int) -> list[tuple[int, int]]:
    return equal_rows(height, 2)


def _divided(shares: Sequence[float], height: int) -> list[tuple[int, int]]:
    return proportional_rows(height, shares)


def test_times_of_volumes_by_hand() -> None:
    # Two layers of kernel 3 on two devices: 8 rows of 1,000 bytes, 8 ms at 1 Mbps. Whole layers take 16 ms.
    group = group_of(meshed(row_chain([(3, 1, 1, 8), (3, 1, 1, 8)], input_rows=8), [32.0] * 2, [1] * 2))
    times = LinearCosts(group).volume_times(group.units, _halves)
    # One layer: 5 rows received at 8 ms, 4 rows computed at 2 ms.
    assert times[0, 0] == 5 * 8 + 4 * 2
    # Behind it, a row of halo and 4 rows computed.
    assert times[1, 1] == 8 + 4 * 2
    # Both at once: 6 rows received, 5 and 4 rows computed.
    assert times[0, 1] == 6 * 8 + 9 * 2
    # 4 rows of each device are gathered at the sink, side by side.
    assert LinearCosts(group).gather_ms(group.units[1], _halves) == 4 * 8


def test_dynamic_programming_finds_the_best_of_all_partitions() -> None:
    rng = random.Random("partitions")
    for _ in range(20):
        layers = [(rng.choice([1, 3, 5]), 1, 0, 0) for _ in range(rng.randint(2, 6))]
        chain = row_chain([(k, 1, k // 2, 24) for k, *_ in layers], input_rows=24)
        speeds = [rng.uniform(1, 100) for _ in range(3)]
        group = group_of(meshed(chain, speeds, [rng.uniform(1, 100) for _ in range(3)]))
        linear, shares = LinearCosts(group), group.capability_shares()
        divide = partial(_divided, shares)
        times = linear.volume_times(group.units, divide)
        times[:, -1] += linear.gather_ms(group.units[-1], divide)
        count, sums = len(layers), {}
        for inner in itertools.product([False, True], repeat=count - 1):
            borders = [0, *(at for at, cut in enumerate(inner, 1) if cut), count]
            sums[tuple(borders)] = sum(times[a, b - 1] for a, b in itertools.pairwise(borders))
        volumes = linear.quickest_volumes(group.units, divide)
        found = (0, *(volume.stop for volume in volumes))
        assert sums[found] == pytest.approx(min(sums.values()))


def test_halos_by_hand() -> None:
    group = group_of(
        meshed(row_chain([(3, 1, 1, 8), (2, 2, 0, 4), (5, 1, 2, 4), (3, 1, 1, 1)], input_rows=8), [1.0] * 2, [1] * 2)
    )
    assert [halo_rows(group, unit) for unit in group.units] == [(1, 1), (0, 0), (2, 2), (0, 0)]


def test_work_without_flops_is_that_of_the_measured_times() -> None:
    model = Model(1, (Block("a", 1), Block("b", 1)))
    devices = {"x": Device({"m": (1.0, 2.0)}), "y": Device({"m": (1.0, 4.0)}), "z": Device()}
    problem = Problem({"m": model}, devices, (), (Stream("s", "m", "x"),))
    assert work_shares(problem, "m") == [0.25, 0.75]
    idle = Problem({"m": model}, {"x": Device({"m": (0.0, 0.0)})}, (), (Stream("s", "m", "x"),))
    assert work_shares(idle, "m") == [0.5, 0.5]


def test_only_rows_that_others_hold_are_received() -> None:
    group = group_of(meshed(row_chain([(1, 1, 0, 8)], input_rows=8), [1.0] * 4, [8, 4, 2, 1]))
    held = np.array([(0, 3), (3, 3), (3, 6), (6, 8)])
    needed = np.array([(0, 3), (2, 6), (0, 0), (5, 8)])
    # Rows of 1,000 bytes take 8 ms at 1 Mbps, the rate of the slower of two devices: the second one receives 1 of the
    # first and 3 of the third, the fourth one 1 of the third.
    received = LinearCosts(group).receive_ms(needed, range(4), held, 1000)
    assert received.tolist() == [0, 1 * 2 + 3 * 4, 0, 8]
