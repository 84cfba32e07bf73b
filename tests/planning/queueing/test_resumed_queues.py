"""Resumed simulations give the numbers of whole ones, whatever differs, and take less work."""

import random

import pytest

from planning.queueing.numbered_queues import Steps, first_come_ends_ms, timed_ranked_ends_ms
from planning.queueing.resumed_queues import Run, resumed_run
from shared.policy import QueueDiscipline

SERVERS = 6
DISCIPLINES = [
    QueueDiscipline.FIFO,
    QueueDiscipline.SHORTEST_JOB_FIRST,
    QueueDiscipline.EARLIEST_DEADLINE_FIRST,
]


def _steps(rng: random.Random, most: int = 12) -> Steps:
    """Durations repeat, so that several steps end at the same instant."""
    times_ms = (1.0, 2.0, 3.0, rng.uniform(0.1, 4))
    return tuple((rng.randrange(SERVERS), rng.choice(times_ms)) for _ in range(rng.randint(1, most)))


def _expected_ms(jobs: list[Steps], discipline: QueueDiscipline, deadlines_ms: list[float]) -> list[float]:
    if discipline is QueueDiscipline.FIFO:
        return first_come_ends_ms(jobs, SERVERS)
    return timed_ranked_ends_ms(jobs, SERVERS, discipline, deadlines_ms)


@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_ends_are_those_of_a_simulation_from_the_beginning(discipline: QueueDiscipline) -> None:
    """Steps, whole jobs, the order of jobs and their deadlines change from one simulation to the next."""
    rng = random.Random(discipline.value)
    for _ in range(150):
        jobs = [_steps(rng) for _ in range(rng.randint(1, 14))]
        deadlines_ms = [rng.choice([5.0, 10.0, 1e9]) for _ in jobs]
        run: Run | None = None
        for _ in range(8):
            run = resumed_run(jobs, SERVERS, discipline, deadlines_ms, run)
            assert run.ends_ms == _expected_ms(jobs, discipline, deadlines_ms)
            assert 0 < run.steps <= sum(map(len, jobs))
            jobs, deadlines_ms = list(jobs), list(deadlines_ms)
            place, other = rng.randrange(len(jobs)), rng.randrange(len(jobs))
            if rng.random() < 0.7:
                jobs[place] = jobs[place][: rng.randint(0, len(jobs[place]))] + _steps(rng, 4)
            else:
                jobs[place], jobs[other] = jobs[other], jobs[place]
                deadlines_ms[place], deadlines_ms[other] = deadlines_ms[other], deadlines_ms[place]


def test_an_earlier_simulation_stays_as_it_is() -> None:
    rng = random.Random(1)
    jobs = [_steps(rng) for _ in range(10)]
    first = resumed_run(jobs, SERVERS, QueueDiscipline.FIFO, [0.0] * 10, None)
    ends_ms = list(first.ends_ms)
    for place in range(10):
        changed = [*jobs[:place], _steps(rng), *jobs[place + 1 :]]
        resumed_run(changed, SERVERS, QueueDiscipline.FIFO, [0.0] * 10, first)
        again = resumed_run(jobs, SERVERS, QueueDiscipline.FIFO, [0.0] * 10, first)
        assert again.ends_ms == first.ends_ms == ends_ms


@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_a_change_of_last_steps_takes_a_small_part_of_the_work(discipline: QueueDiscipline) -> None:
    rng = random.Random(2)
    jobs = [(*_steps(rng), *_steps(rng), *_steps(rng)) for _ in range(20)]
    deadlines_ms = [float(place % 3) for place in range(20)]
    run = resumed_run(jobs, SERVERS, discipline, deadlines_ms, None)
    latest = max(range(20), key=run.ends_ms.__getitem__)
    changed = [*jobs]
    changed[latest] = (*jobs[latest][:-1], (0, 7.0))
    resumed = resumed_run(changed, SERVERS, discipline, deadlines_ms, run)
    assert resumed.ends_ms == _expected_ms(changed, discipline, deadlines_ms)
    assert resumed.steps < 0.3 * sum(map(len, jobs))
