"""Completion times at numbered servers equal those of the reference simulation."""

import random
from math import inf

import pytest

from planning.queueing.event_loop import Rules, SimulatedJob, simulate_jobs
from planning.queueing.numbered_queues import (
    Steps,
    first_come_ends_ms,
    ranked_ends_ms,
    shared_ends_ms,
    timed_ranked_ends_ms,
)
from planning.queueing.operations import Operation, Work
from shared.policy import QueueDiscipline

SERVERS = 6


def _jobs(rng: random.Random, times_ms: tuple[float, ...]) -> list[Steps]:
    return [
        tuple((rng.randrange(SERVERS), rng.choice((*times_ms, rng.uniform(0.1, 4)))) for _ in range(rng.randint(0, 6)))
        for _ in range(rng.randint(1, 8))
    ]


def _reference_ms(jobs: list[Steps], discipline: QueueDiscipline, deadlines_ms: list[float]) -> list[float]:
    simulated = [
        SimulatedJob(
            tuple(
                Operation(Work.SEND if server % 2 else Work.COMPUTE, f"d{server // 2}", time_ms, place)
                for place, (server, time_ms) in enumerate(steps)
            ),
            0.0,
            deadline_ms,
        )
        for steps, deadline_ms in zip(jobs, deadlines_ms, strict=True)
    ]
    return list(simulate_jobs(simulated, Rules({f"d{index}": discipline for index in range(SERVERS)})).end_ms)


@pytest.mark.parametrize("discipline", list(QueueDiscipline))
@pytest.mark.parametrize("times_ms", [(1.0, 2.0, 3.0), (0.0, 1.0, 2.0)], ids=["timed", "some take no time"])
def test_ends_are_those_of_the_reference(discipline: QueueDiscipline, times_ms: tuple[float, ...]) -> None:
    """Durations repeat, so that several steps end at the same instant."""
    rng = random.Random(f"{discipline} {times_ms}")
    for _ in range(150):
        jobs = _jobs(rng, times_ms)
        deadlines_ms = [rng.choice([5.0, 10.0, inf]) for _ in jobs]
        expected_ms = _reference_ms(jobs, discipline, deadlines_ms)
        if discipline is QueueDiscipline.ROUND_ROBIN:
            assert shared_ends_ms(jobs, SERVERS) == expected_ms
        else:
            assert ranked_ends_ms(jobs, SERVERS, discipline, deadlines_ms) == expected_ms
            if times_ms[0] > 0:
                assert timed_ranked_ends_ms(jobs, SERVERS, discipline, deadlines_ms) == expected_ms
        if discipline is QueueDiscipline.FIFO and times_ms[0] > 0:
            assert first_come_ends_ms(jobs, SERVERS) == expected_ms
