from dataclasses import replace

import pytest

from planning.strategies.spatial.mednn import greedy_counts, greedy_layers
from tests.support.spatial_problems import group_of, meshed, row_chain


def test_rows_that_remain_go_to_the_device_that_ends_first() -> None:
    # 7 rows at speeds of 1/10, 1/20, 1/30: 3.8, 1.9, 1.3 are rounded down to 3, 1, 1. The fourth row of the first and
    # the second row of the second device end at the same time, and each gets one.
    assert greedy_counts(7, [10.0, 20.0, 30.0], [True] * 3) == [4, 2, 1]
    assert greedy_counts(7, [10.0, 20.0, 30.0], [False, True, True]) == [0, 4, 3]
    assert greedy_counts(5, [10.0, 0.0, 30.0], [True] * 3) == [0, 5, 0]


@pytest.mark.parametrize(
    ("memory_bytes", "parts"), [(None, [(0, 4), (0, 4)]), (600, [(0, 4), (0, 0)]), (0, [(0, 0)] * 2)]
)
def test_a_device_takes_part_as_long_as_parameters_fit(memory_bytes: int | None, parts: list[tuple[int, int]]) -> None:
    model = row_chain([(3, 1, 1, 8), (3, 1, 1, 8)], input_rows=8, row_bytes=10)
    model = replace(model, blocks=tuple(replace(block, parameter_bytes=500) for block in model.blocks))
    problem = meshed(model, [10.0, 10.0], [50] * 2)
    small = replace(problem.devices["d0"], memory_bytes=memory_bytes)
    volumes = greedy_layers(group_of(replace(problem, devices={**problem.devices, "d0": small}))).volumes
    assert [volume.rows[0] for volume in volumes] == parts


def test_without_any_memory_all_take_part() -> None:
    model = row_chain([(3, 1, 1, 8)], input_rows=8)
    model = replace(model, blocks=(replace(model.blocks[0], parameter_bytes=500),))
    problem = meshed(model, [10.0, 10.0], [50] * 2)
    devices = {name: replace(device, memory_bytes=1) for name, device in problem.devices.items()}
    assert greedy_layers(group_of(replace(problem, devices=devices))).volumes[0].rows == ((0, 4), (4, 8))
