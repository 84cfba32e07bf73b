import random
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest

from planning.scheduling.flow_shop import (
    JobTimes,
    groups_makespan_ms,
    improve_cuts,
    in_johnson_order,
    in_order,
    johnson_order,
    makespan_ms,
    makespans_ms,
)

F = {3: 6.7, 4: 9.8, 6: 16.5}
G = {3: 27.2, 4: 9.5, 6: 6.4}


def _proposition_1_ms(jobs: Sequence[JobTimes]) -> float:
    """Return f(1) + max(f of the others, g of all but the last) + g(last): Duan & Wu, proposition 1.

    Equals the makespan for jobs of one monotone chain in Johnson's order, not for mixes of chains.
    """
    rest = sum(first for first, _ in jobs[1:])
    before = sum(second for _, second in jobs[:-1])
    return jobs[0][0] + max(rest, before) + jobs[-1][1]


def test_worked_example_of_duan_and_wu() -> None:
    """Their figures 39.2 and 46.1 are slips: the recurrence gives 38.9 and 46.7."""
    assert makespan_ms([(F[4], G[4])] * 3) == pytest.approx(38.9)
    assert makespan_ms([(F[3], G[3]), (F[6], G[6]), (F[6], G[6])]) == pytest.approx(46.7)


def test_order_is_optimal() -> None:
    rng = random.Random(1)
    for _ in range(60):
        jobs = [(rng.choice([0.0, rng.uniform(0, 9)]), rng.uniform(0, 9)) for _ in range(rng.randint(1, 6))]
        best = min(makespan_ms(order) for order in permutations(jobs))
        assert makespan_ms([jobs[index] for index in johnson_order(jobs)]) == pytest.approx(best)


def test_kinds_are_ordered_as_their_jobs_are() -> None:
    """Kinds with equal keys keep the order of their jobs, too."""
    rng = random.Random(3)
    for _ in range(200):
        times = {kind: (float(rng.randint(0, 3)), float(rng.randint(0, 3))) for kind in rng.sample(range(20), 6)}
        taken = rng.choices([*times], k=rng.randint(0, 30))
        expected = [taken[index] for index in johnson_order([times[kind] for kind in taken])]
        assert in_johnson_order(taken, times) == expected


def test_proposition_1_holds_on_monotone_chains() -> None:
    rng = random.Random(2)
    for _ in range(200):
        f = sorted(rng.uniform(0, 9) for _ in range(5))
        g = sorted((rng.uniform(0, 9) for _ in range(5)), reverse=True)
        jobs = [rng.choice(list(zip(f, g, strict=True))) for _ in range(rng.randint(2, 7))]
        ordered = [jobs[index] for index in johnson_order(jobs)]
        assert makespan_ms(ordered) == pytest.approx(_proposition_1_ms(ordered))


def test_proposition_1_fails_on_mixes() -> None:
    jobs = [(1.0, 2.0), (10.0, 20.0), (11.0, 1.0)]
    assert (makespan_ms(jobs), _proposition_1_ms(jobs)) == (32, 24)


def test_groups_of_identical_jobs_end_when_the_jobs_do() -> None:
    rng = random.Random("groups")
    for _ in range(200):
        groups = [((rng.uniform(0, 5), rng.uniform(0, 5)), rng.randint(1, 6)) for _ in range(rng.randint(0, 5))]
        jobs = [job for job, count in groups for _ in range(count)]
        assert groups_makespan_ms(groups) == pytest.approx(makespan_ms(jobs))


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
