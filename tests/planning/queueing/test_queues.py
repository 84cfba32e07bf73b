import random
from collections.abc import Mapping
from math import inf

import pytest

from planning.queueing.event_loop import Rules, SimulatedJob, simulate_jobs
from planning.queueing.operations import Operation, Work
from planning.queueing.queues import ProcessorSharingQueue, SlottedServer, Task, make_server
from shared.policy import QueueDiscipline


def _delays(
    sizes: list[float],
    discipline: QueueDiscipline,
    releases: list[float] | None = None,
    deadlines: list[float] | None = None,
    quantum_ms: float | None = None,
    background: Mapping[str, int] | None = None,
) -> list[float]:
    """When each task ends on one device."""
    count = len(sizes)
    jobs = [
        SimulatedJob((Operation(Work.COMPUTE, "d", size, 0),), release, deadline)
        for size, release, deadline in zip(sizes, releases or [0.0] * count, deadlines or [inf] * count, strict=True)
    ]
    return list(simulate_jobs(jobs, Rules({"d": discipline}, quantum_ms, background or {})).end_ms)


def test_shortest_job_first_adds_up_what_is_ranked_before() -> None:
    assert _delays([3, 1, 2, 1], QueueDiscipline.SHORTEST_JOB_FIRST) == [7, 1, 4, 2]


def test_shortest_job_first_does_not_interrupt() -> None:
    assert _delays([5, 1], QueueDiscipline.SHORTEST_JOB_FIRST, [0, 1]) == [5, 6]


def test_earliest_deadline_first() -> None:
    assert _delays([2, 2, 2], QueueDiscipline.EARLIEST_DEADLINE_FIRST, deadlines=[9, 3, 5]) == [6, 2, 4]


def test_fluid_round_robin_closed_form() -> None:
    rng = random.Random(3)
    for _ in range(50):
        sizes = [rng.uniform(0.1, 9) for _ in range(rng.randint(1, 7))]
        order, m = sorted(range(len(sizes)), key=lambda i: sizes[i]), len(sizes)
        expected = [0.0] * m
        for rank, index in enumerate(order):
            expected[index] = sum(sizes[i] for i in order[:rank]) + (m - rank) * sizes[index]
        assert _delays(sizes, QueueDiscipline.ROUND_ROBIN) == pytest.approx(expected)


def test_fluid_round_robin_with_late_arrival() -> None:
    assert _delays([4, 1], QueueDiscipline.ROUND_ROBIN, [0, 2]) == pytest.approx([5, 4])


def test_slots_become_fluid_as_they_shrink() -> None:
    sizes = [3.0, 1.0, 2.0]
    fluid = _delays(sizes, QueueDiscipline.ROUND_ROBIN)
    assert _delays(sizes, QueueDiscipline.ROUND_ROBIN, quantum_ms=1.0) == [6, 2, 5]
    assert _delays(sizes, QueueDiscipline.ROUND_ROBIN, quantum_ms=0.001) == pytest.approx(fluid, abs=0.01)


@pytest.mark.parametrize(("quanta", "others"), [(1, 0), (3, 2), (5, 1), (4, 7)])
def test_kafetzis_koutsopoulos_equation_1(quanta: int, others: int) -> None:
    """Local delay with n background processes: q [K (n + 1) - n], the inference first in each round."""
    q = 0.5
    delay = _delays([quanta * q], QueueDiscipline.ROUND_ROBIN, quantum_ms=q, background={"d": others})
    assert delay == pytest.approx([q * (quanta * (others + 1) - others)])


def test_background_takes_its_share_of_a_queue() -> None:
    assert _delays([2, 3], QueueDiscipline.FIFO, background={"d": 1}) == [4, 10]
    assert _delays([2], QueueDiscipline.ROUND_ROBIN, background={"d": 3}) == [8]


@pytest.mark.parametrize("discipline", list(QueueDiscipline))
@pytest.mark.parametrize("quantum_ms", [None, 0.7])
def test_work_is_conserved(discipline: QueueDiscipline, quantum_ms: float | None) -> None:
    rng = random.Random(4)
    for _ in range(30):
        sizes = [rng.choice([0.0, rng.uniform(0, 5)]) for _ in range(6)]
        ends = _delays(sizes, discipline, quantum_ms=quantum_ms)
        assert max(ends) == pytest.approx(sum(sizes))
        assert all(end >= size - 1e-9 for end, size in zip(ends, sizes, strict=True))


def test_idle_servers_have_nothing_ahead() -> None:
    for discipline in QueueDiscipline:
        assert make_server(discipline).next_ms() == inf
    for server in (ProcessorSharingQueue(), SlottedServer(1.0)):
        server.arrive(Task(0, 2.0), 0.0)
        server.settle(0.0)
        assert server.advance(0.5) == ([], [])
