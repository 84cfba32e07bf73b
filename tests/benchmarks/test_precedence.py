import random
from itertools import permutations

import pytest

from benchmarks.precedence import (
    compose,
    schedule_by_composition,
    schedule_by_merging,
    schedule_by_sinks,
    sequence_ms,
)
from planning.scheduling.flow_shop import johnson_order, makespan_ms


def _brute_force_ms(jobs: list[tuple[float, float]], parents: list[int]) -> float:
    return min(
        sequence_ms(jobs, order)
        for order in permutations(range(len(jobs)))
        if all(parent < 0 or order.index(parent) < order.index(index) for index, parent in enumerate(parents))
    )


def _random(rng: random.Random) -> tuple[list[tuple[float, float]], list[int]]:
    count = rng.randint(1, 6)
    jobs = [(float(rng.randint(0, 6)), float(rng.choice([0, rng.randint(0, 6)]))) for _ in range(count)]
    return jobs, [rng.randrange(-1, index) if index else -1 for index in range(count)]


def test_theorem_4_is_false() -> None:
    """Only the leaves send; algorithm 5 gives 11, the optimum is 9."""
    jobs = [(0.0, 0.0), (4.0, 2.0), (1.0, 0.0), (1.0, 2.0), (1.0, 3.0)]
    parents = [-1, 0, 0, 2, 2]
    assert sequence_ms(jobs, schedule_by_merging(jobs, parents)) == 11
    assert sequence_ms(jobs, schedule_by_composition(jobs, parents)) == _brute_force_ms(jobs, parents) == 9


def test_composition_is_optimal_and_the_others_respect_precedence() -> None:
    rng = random.Random(1)
    worse = {"sinks": 0, "merging": 0}
    for _ in range(300):
        jobs, parents = _random(rng)
        best = _brute_force_ms(jobs, parents)
        assert sequence_ms(jobs, schedule_by_composition(jobs, parents)) == pytest.approx(best)
        for name, schedule in (("sinks", schedule_by_sinks), ("merging", schedule_by_merging)):
            order = schedule(jobs, parents)
            assert sorted(order) == list(range(len(jobs)))
            assert all(parent < 0 or order.index(parent) < order.index(index) for index, parent in enumerate(parents))
            worse[name] += sequence_ms(jobs, order) > best + 1e-9
    assert worse["sinks"] > worse["merging"] > 0


def test_without_precedence_it_is_johnsons_rule() -> None:
    rng = random.Random(2)
    for _ in range(50):
        jobs = [(rng.uniform(0, 9), rng.uniform(0, 9)) for _ in range(6)]
        ordered = makespan_ms([jobs[index] for index in johnson_order(jobs)])
        assert sequence_ms(jobs, schedule_by_composition(jobs, [-1] * 6)) == pytest.approx(ordered)


def test_composites_behave_like_their_parts() -> None:
    rng = random.Random(3)
    for _ in range(100):
        before, first, second, after = ((rng.uniform(0, 9), rng.uniform(0, 9)) for _ in range(4))
        parts = makespan_ms([before, first, second, after])
        whole = makespan_ms([before, compose(first, second), after])
        hidden = min(first[1], second[0])
        assert parts == pytest.approx(whole + hidden)
