import random

import numpy as np
import pytest

from planning.scheduling.flow_shop import improve_cuts, in_order, makespans_ms
from planning.scheduling.johnson import makespan_ms


def test_two_machines_are_the_recursion() -> None:
    rng = random.Random(1)
    machines = np.array([[rng.uniform(0, 9) for _ in range(5)] for _ in range(2)])
    choices = [[rng.randrange(5) for _ in range(6)] for _ in range(20)]
    expected = [makespan_ms([(machines[0, cut], machines[1, cut]) for cut in choice]) for choice in choices]
    assert makespans_ms(machines, choices) == pytest.approx(expected)


def test_a_third_machine_by_hand() -> None:
    machines = np.array([[1.0], [2.0], [4.0]])
    assert makespans_ms(machines, [[0, 0, 0]]).tolist() == [1 + 2 + 3 * 4]


def test_no_single_change_is_left_that_helps() -> None:
    rng = random.Random(2)
    for _ in range(20):
        machines = np.array([[rng.uniform(0, 9) for _ in range(4)] for _ in range(3)])
        start = [rng.randrange(4) for _ in range(5)]
        end = improve_cuts(machines, start, 10_000)
        end_ms = makespans_ms(machines, [end])[0]
        assert end_ms <= makespans_ms(machines, [in_order(machines, start)])[0]
        for place in range(5):
            for cut in range(4):
                changed = in_order(machines, [*end[:place], cut, *end[place + 1 :]])
                assert makespans_ms(machines, [changed])[0] >= end_ms * (1 - 1e-9)
