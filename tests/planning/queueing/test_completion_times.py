"""Closed forms and fast paths, against hand-made examples and against the event simulation."""

import random
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planning.queueing.completion_times import (
    JOBS_PER_ROUTE,
    LONG_BURST,
    chain_ends_ms,
    fifo_ends_ms,
    identical_makespan_ms,
    worth_arrays,
)
from planning.queueing.event_loop import Rules, SimulatedJob, simulate_jobs
from planning.queueing.operations import Operation, Work

# Whole times make many events fall on one instant; with 0 ms several follow each other within it.
DURATION_MS = st.integers(0, 3).map(float) | st.floats(1e-3, 10)
CHAIN = st.lists(
    st.builds(Operation, st.sampled_from(Work), st.sampled_from("abc"), DURATION_MS, st.just(0)), max_size=6
).map(tuple)


def _job(*times: float) -> tuple[Operation, ...]:
    return tuple(Operation(Work.COMPUTE, f"d{index}", time, index) for index, time in enumerate(times))


def _ends_ms(jobs: Sequence[tuple[Operation, ...]]) -> list[float]:
    return list(fifo_ends_ms(jobs, np.arange(len(jobs))))


def test_two_stage_recurrence() -> None:
    rng = random.Random(1)
    for _ in range(100):
        jobs = [(rng.uniform(0, 9), rng.uniform(0, 9)) for _ in range(rng.randint(1, 8))]
        a = b = 0.0
        expected = []
        for f, g in jobs:
            a += f
            b = max(a, b) + g
            expected.append(b)
        assert _ends_ms([_job(*job) for job in jobs]) == pytest.approx(expected)


def test_sending_overlaps_computing_but_one_sending_at_a_time() -> None:
    job = (Operation(Work.COMPUTE, "a", 1.0, 0), Operation(Work.SEND, "a", 5.0, 0, "b"))
    assert _ends_ms([job, job, job]) == [6.0, 11.0, 16.0]


def test_first_come_first_served_across_routes() -> None:
    early = (Operation(Work.COMPUTE, "a", 1.0, 0), Operation(Work.COMPUTE, "c", 10.0, 1))
    late = (Operation(Work.COMPUTE, "b", 2.0, 0), Operation(Work.COMPUTE, "c", 1.0, 1))
    assert _ends_ms([late, early]) == [12.0, 11.0]


def test_a_revisited_device_serves_in_order_of_arrival() -> None:
    job = (
        Operation(Work.COMPUTE, "a", 1.0, 0),
        Operation(Work.COMPUTE, "b", 1.0, 1),
        Operation(Work.COMPUTE, "a", 4.0, 2),
    )
    assert _ends_ms([job, job]) == [6.0, 10.0]
    assert identical_makespan_ms(job, 2) is None


def test_identical_jobs_have_a_closed_form() -> None:
    rng = random.Random(2)
    for _ in range(50):
        job = _job(*(rng.choice([0.0, rng.uniform(0, 9)]) for _ in range(rng.randint(1, 5))))
        count = rng.randint(1, 6)
        assert identical_makespan_ms(job, count) == pytest.approx(max(_ends_ms([job] * count)))


def test_empty() -> None:
    assert _ends_ms([]) == []
    assert _ends_ms([()]) == [0.0]


def test_order_decides_only_where_it_should() -> None:
    jobs = [_job(1, 2), _job(10, 20), _job(11, 1)]
    assert max(_ends_ms(jobs)) == 32
    assert min(max(_ends_ms(list(order))) for order in permutations(jobs)) == 32


@given(st.lists(CHAIN, min_size=1, max_size=4), st.data())
def test_the_fast_path_of_chains_is_the_event_simulation_to_the_last_bit(
    kinds: list[tuple[Operation, ...]], data: st.DataObject
) -> None:
    kind_of_job = data.draw(st.lists(st.integers(0, len(kinds) - 1), max_size=30))
    expected = simulate_jobs([SimulatedJob(kinds[kind]) for kind in kind_of_job], Rules()).end_ms
    assert tuple(chain_ends_ms(kinds, kind_of_job)) == expected
    assert fifo_ends_ms(kinds, np.array(kind_of_job, dtype=np.int64)) == expected


def test_operations_that_are_no_chain_are_simulated() -> None:
    job = (
        Operation(Work.COMPUTE, "a", 2.0, 0, needs=()),
        Operation(Work.COMPUTE, "b", 3.0, 0, needs=()),
        Operation(Work.COMPUTE, "a", 1.0, 1, needs=(0, 1)),
    )
    assert _ends_ms([job]) == [4.0]
    assert identical_makespan_ms(job, 1) is None


@settings(max_examples=40)
@given(st.lists(CHAIN, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_long_bursts_are_the_event_simulation_to_the_last_bit(
    kinds: list[tuple[Operation, ...]], rng: random.Random
) -> None:
    kind_of_job = [rng.randrange(len(kinds)) for _ in range(LONG_BURST)]
    assert worth_arrays(len(kind_of_job), len(kinds))
    expected = simulate_jobs([SimulatedJob(kinds[kind]) for kind in kind_of_job], Rules()).end_ms
    assert fifo_ends_ms(kinds, np.array(kind_of_job)) == expected


def test_many_routes_take_events() -> None:
    assert not worth_arrays(LONG_BURST - 1, 1)
    assert not worth_arrays(LONG_BURST, LONG_BURST // JOBS_PER_ROUTE + 1)
