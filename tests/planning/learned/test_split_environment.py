import random
from dataclasses import replace

import numpy as np
import pytest

from planning.cost.cost_model import CostModel
from planning.learned.dense_network import Floats
from planning.learned.split_environment import SplitEnvironment, rows_of_action
from planning.problem.problem import Problem
from planning.search.device_network import DeviceNetwork
from planning.search.spatial_group import RowUnit, spatial_group
from tests.support.spatial_problems import group_of, meshed, random_spatial_problem, row_chain


def _environment(problem: Problem, volumes: list[tuple[RowUnit, ...]] | None = None) -> SplitEnvironment:
    group = group_of(problem)
    return SplitEnvironment(
        group, CostModel(problem), volumes or [(unit,) for run in group.stretches() for unit in run]
    )


def test_actions_are_sorted_and_mapped_to_borders() -> None:
    assert rows_of_action(np.array([0.5, -1.0, 0.0], np.float32), 8) == ((0, 0), (0, 4), (4, 6), (6, 8))
    assert rows_of_action(np.array([], np.float32), 8) == ((0, 8),)


def test_states_by_hand() -> None:
    # 8 rows of 1,000 bytes at 8 Mbps: 1 ms each. A whole layer takes 16 ms on d0 and 8 ms on d1; units of 8 + 16 + 8 ms
    # for the whole model on d1: 8 ms each for the input and the result.
    problem = meshed(row_chain([(3, 1, 1, 8), (3, 1, 1, 8)], input_rows=8), [32.0, 16.0], [8, 8])
    environment = _environment(problem)
    assert environment.unit_ms == 32
    layer = [1.0] * 4
    assert environment.reset() == pytest.approx([0, 0, *layer])
    state = environment.step(np.array([0.0], np.float32))
    # The phone sends 5 rows to d0 and then 5 to d1, which compute 4.
    assert state == pytest.approx([(5 + 8) / 32, (10 + 4) / 32, *layer])
    assert environment.observe([64.0, 0.0])[:2] == pytest.approx([2, 0])
    assert environment.observe([13.0, 14.0]) == pytest.approx(state)
    assert environment.step(np.array([-1.0], np.float32)) is None
    # d1 makes all: 4 rows come from d0 at 13 + 4 ms, then 8 ms of computing and 8 ms of sending.
    assert environment.latency_ms() == pytest.approx(17 + 8 + 8)


def test_times_agree_with_the_simulation() -> None:
    """Without a sink, a request ends with the last provider, at the time in the state behind the last volume."""
    rng, compared = random.Random("environment"), 0
    while compared < 60:
        problem = random_spatial_problem(rng)
        if problem.streams[0].sink is not None or problem.streams[0].jobs > 1:
            continue
        group = spatial_group(DeviceNetwork(problem), problem.streams[0])
        if group is None or len(group.providers) == 1 or not group.stretches() or group.units[-1].rows is None:
            continue
        # Neighbouring volumes on one device become one stage, which has one overhead.
        own_links = rng.random() < 0.5
        devices = {
            name: replace(device, segment_overhead_ms=0, separate_links=own_links)
            for name, device in problem.devices.items()
        }
        environment = _environment(replace(problem, devices=devices))
        state: Floats | None = environment.reset()
        while state is not None:
            action = np.array([rng.uniform(-1, 1) for _ in range(environment.actions)], np.float32)
            state = environment.step(action)
        ends = environment.ends_ms()
        assert max(ends) == pytest.approx(environment.latency_ms(), rel=1e-6)
        compared += 1
