import heapq
import random
from collections import deque
from collections.abc import Sequence

import numpy as np
import pytest

from planning.queueing.completion_times import chain_ends_ms, fifo_ends_ms
from planning.queueing.event_loop import RateChange, Rules, SimulatedJob, simulate_jobs
from planning.queueing.operations import Operation, OperationGraph, Work


def test_first_come_first_served_equals_the_fast_path() -> None:
    rng = random.Random(5)
    for _ in range(100):
        jobs = [
            tuple(
                Operation(rng.choice(list(Work)), rng.choice("abc"), rng.choice([0.0, rng.uniform(0, 5)]), stage, "z")
                for stage in range(rng.randint(0, 5))
            )
            for _ in range(rng.randint(1, 6))
        ]
        expected = chain_ends_ms(jobs, range(len(jobs)))
        assert simulate_jobs([SimulatedJob(job) for job in jobs], Rules()).end_ms == pytest.approx(expected)


def _graph_ends_ms(jobs: Sequence[Sequence[Operation]]) -> list[float]:
    """A second, plain simulation of FIFO queues for operations with needs."""
    orders = {id(job): OperationGraph(job) for job in jobs}
    waiting = [list(orders[id(job)].needs) for job in jobs]
    done = [0.0] * len(jobs)
    queues: dict[tuple[str, Work], deque[tuple[int, int]]] = {}
    busy: set[tuple[str, Work]] = set()
    events: list[tuple[float, int, int]] = []
    arrivals = [(job, step) for job, needs in enumerate(waiting) for step, left in enumerate(needs) if not left]
    now = 0.0
    while True:
        touched: dict[tuple[str, Work], None] = {}
        while events and events[0][0] == now:
            _, job, step = heapq.heappop(events)
            finished = jobs[job][step].resource
            busy.discard(finished)
            touched[finished] = None
            done[job] = now
            for follower in orders[id(jobs[job])].followers[step]:
                waiting[job][follower] -= 1
                if not waiting[job][follower]:
                    arrivals.append((job, follower))
        for job, step in sorted(arrivals):
            resource = jobs[job][step].resource
            queues.setdefault(resource, deque()).append((job, step))
            touched[resource] = None
        for resource in touched:
            queue = queues.get(resource)
            if queue and resource not in busy:
                job, step = queue.popleft()
                busy.add(resource)
                heapq.heappush(events, (now + jobs[job][step].duration_ms, job, step))
        if not events:
            return done
        now, arrivals = events[0][0], []


def _random_graph(rng: random.Random) -> tuple[Operation, ...]:
    """Operations that each need a few of the earlier ones."""
    return tuple(
        Operation(
            rng.choice(list(Work)),
            rng.choice("abc"),
            rng.choice([0.0, float(rng.randint(1, 4)), rng.uniform(0, 5)]),
            place,
            "z",
            needs=tuple(rng.sample(range(place), rng.randint(0, min(place, 3)))),
        )
        for place in range(rng.randint(0, 8))
    )


def test_operations_that_wait_for_several_equal_a_plain_simulation() -> None:
    rng = random.Random(6)
    for _ in range(200):
        jobs = [_random_graph(rng) for _ in range(rng.randint(1, 5))]
        jobs += [tuple(Operation(Work.COMPUTE, "a", 1.0, stage) for stage in range(rng.randint(0, 3)))]
        found = simulate_jobs([SimulatedJob(job) for job in jobs], Rules())
        assert found.end_ms == pytest.approx(_graph_ends_ms(jobs))
        for job, steps in zip(jobs, found.steps, strict=True):
            for operation, (arrived_ms, end_ms) in zip(job, steps, strict=True):
                if operation.needs is not None:
                    assert arrived_ms == max((steps[other][1] for other in operation.needs), default=0.0)
                    assert end_ms >= arrived_ms + operation.duration_ms - 1e-9


def test_what_is_needed_comes_before() -> None:
    job = (Operation(Work.COMPUTE, "a", 2.0, 0, needs=(1,)), Operation(Work.COMPUTE, "a", 2.0, 1, needs=()))
    for end in (lambda: fifo_ends_ms([job], np.array([0])), lambda: simulate_jobs([SimulatedJob(job)], Rules())):
        with pytest.raises(ValueError, match="operation 0 needs operation 1"):
            end()


def test_a_rate_that_changes_reaches_servers_that_come_later() -> None:
    job = SimulatedJob((Operation(Work.COMPUTE, "a", 2.0, 0), Operation(Work.SEND, "a", 4.0, 0, "b", latency_ms=1.0)))
    changes = [RateChange(1.0, "a", Work.SEND, 0.5, "b"), RateChange(1.0, "a", Work.SEND, 0.0, "c")]
    assert simulate_jobs([job], Rules(), changes).end_ms == (2 + 1 + 6,)


def test_spans_do_not_overlap_and_cover_the_work() -> None:
    job = SimulatedJob((Operation(Work.COMPUTE, "a", 2.0, 0), Operation(Work.SEND, "a", 3.0, 0, "b")))
    found = simulate_jobs([job, job], Rules())
    assert [(span.job, span.operation, span.start_ms, span.end_ms) for span in found.spans] == [
        (0, 0, 0, 2),
        (1, 0, 2, 4),
        (0, 1, 2, 5),
        (1, 1, 5, 8),
    ]
    assert found.steps[1] == ((0, 4), (4, 8))


def test_release_times() -> None:
    job = (Operation(Work.COMPUTE, "a", 2.0, 0),)
    assert simulate_jobs([SimulatedJob(job, 5.0), SimulatedJob(job, 1.0)], Rules()).end_ms == (7.0, 3.0)


def test_nothing_to_do() -> None:
    assert simulate_jobs([], Rules()).end_ms == ()
    assert simulate_jobs([SimulatedJob((), 3.0)], Rules()).end_ms == (3.0,)
