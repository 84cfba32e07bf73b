import random
from itertools import permutations

import pytest

from planning.cost.operations import Operation, Work, completion_times_ms, identical_makespan_ms


def _job(*times: float) -> tuple[Operation, ...]:
    return tuple(Operation(Work.COMPUTE, f"d{index}", time, index) for index, time in enumerate(times))


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
        assert completion_times_ms([_job(*job) for job in jobs]) == pytest.approx(expected)


def test_sending_overlaps_computing_but_one_sending_at_a_time() -> None:
    job = (Operation(Work.COMPUTE, "a", 1.0, 0), Operation(Work.SEND, "a", 5.0, 0, "b"))
    assert completion_times_ms([job, job, job]) == [6.0, 11.0, 16.0]


def test_first_come_first_served_across_routes() -> None:
    early = (Operation(Work.COMPUTE, "a", 1.0, 0), Operation(Work.COMPUTE, "c", 10.0, 1))
    late = (Operation(Work.COMPUTE, "b", 2.0, 0), Operation(Work.COMPUTE, "c", 1.0, 1))
    assert completion_times_ms([late, early]) == [12.0, 11.0]


def test_a_revisited_device_serves_in_order_of_arrival() -> None:
    job = (
        Operation(Work.COMPUTE, "a", 1.0, 0),
        Operation(Work.COMPUTE, "b", 1.0, 1),
        Operation(Work.COMPUTE, "a", 4.0, 2),
    )
    assert completion_times_ms([job, job]) == [6.0, 10.0]
    assert identical_makespan_ms(job, 2) is None


def test_identical_jobs_have_a_closed_form() -> None:
    rng = random.Random(2)
    for _ in range(50):
        job = _job(*(rng.choice([0.0, rng.uniform(0, 9)]) for _ in range(rng.randint(1, 5))))
        count = rng.randint(1, 6)
        assert identical_makespan_ms(job, count) == pytest.approx(max(completion_times_ms([job] * count)))


def test_empty() -> None:
    assert completion_times_ms([]) == []
    assert completion_times_ms([()]) == [0.0]


def test_order_decides_only_where_it_should() -> None:
    jobs = [_job(1, 2), _job(10, 20), _job(11, 1)]
    assert max(completion_times_ms(jobs)) == 32
    assert min(max(completion_times_ms(list(order))) for order in permutations(jobs)) == 32
