"""Completion times of jobs that all arrive at 0, where every queue is first come, first served.

`planning.queueing.event_loop.simulate_jobs` is the reference for every number here. Planning computes the completion
times of many bursts, so two faster algorithms and one closed form exist. Tests compare each of them with the reference.

- `chain_ends_ms` simulates chains event by event, without the reference's rates, disciplines and spans. It takes an
  eighth of the reference's time.
- `feed_forward_ms` computes a long burst queue by queue in arrays.
- `identical_makespan_ms` is the closed form for identical jobs.
"""

import heapq
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from planning.queueing.event_loop import Rules, SimulatedJob, simulate_jobs
from planning.queueing.feed_forward import feed_forward_ms
from planning.queueing.operations import Operation, ServerKey, is_chain

# Number of jobs from which arrays can be faster than events.
LONG_BURST = 500
# Least number of jobs per route for which arrays are faster: each route costs a few array operations of its own.
JOBS_PER_ROUTE = 20


def fifo_ends_ms(kinds: Sequence[Sequence[Operation]], kind_of_job: NDArray[np.int64]) -> tuple[float, ...]:
    """Return when each job ends, [N] in ms, by the fastest of the three algorithms that applies.

    Arrivals at the same instant are served in job order, those of one job in the order of its operations.

    Args:
        kinds: the operations of every kind of job.
        kind_of_job: [N] the kind of every job, in starting order.
    """
    if worth_arrays(len(kind_of_job), len(kinds)):
        ends_ms = feed_forward_ms(kinds, kind_of_job)
        if ends_ms is not None:
            return tuple(ends_ms.tolist())
    if all(map(is_chain, kinds)):
        return tuple(chain_ends_ms(kinds, kind_of_job.tolist()))
    jobs = [SimulatedJob(tuple(kind)) for kind in kinds]
    return simulate_jobs([jobs[kind] for kind in kind_of_job.tolist()], Rules()).end_ms


def worth_arrays(jobs: int, routes: int) -> bool:
    """Return whether arrays are faster than events for these numbers of jobs and routes."""
    return jobs >= max(LONG_BURST, JOBS_PER_ROUTE * routes)


def chain_ends_ms(kinds: Sequence[Sequence[Operation]], kind_of_job: Sequence[int]) -> list[float]:
    """Return when each job ends, in ms, if the operations of every kind are a chain.

    Deterministic; O(n log n) for n operations.

    Args:
        kinds: the operations of every kind of job.
        kind_of_job: the kind of every job, in starting order.
    """
    numbers: dict[ServerKey, int] = {}
    steps = [[(numbers.setdefault(step.server, len(numbers)), step.duration_ms) for step in kind] for kind in kinds]
    jobs = [steps[kind] for kind in kind_of_job]
    end_ms = [0.0] * len(jobs)
    queues: list[deque[tuple[int, int]]] = [deque() for _ in numbers]
    busy = [False] * len(numbers)
    for job, own in enumerate(jobs):
        if own:
            queues[own[0][0]].append((job, 0))
    # An event is the end of an operation: (time, job, place of the job's next operation). The heap returns events of
    # one instant in job order, which is the order in which the reference serves arrivals of that instant.
    events: list[tuple[float, int, int]] = []
    push, pop = heapq.heappush, heapq.heappop
    now_ms, touched = 0.0, list(range(len(numbers)))
    while True:
        for number in touched:
            if not busy[number] and (queue := queues[number]):
                job, step = queue.popleft()
                busy[number] = True
                push(events, (now_ms + jobs[job][step][1], job, step + 1))
        if not events:
            return end_ms
        now_ms, job, step = pop(events)
        touched = []
        # All that ends at this instant is taken before any resource starts its next operation.
        while True:
            own = jobs[job]
            number = own[step - 1][0]
            busy[number] = False
            touched.append(number)
            if step == len(own):
                end_ms[job] = now_ms
            else:
                number = own[step][0]
                queues[number].append((job, step))
                touched.append(number)
            if not events or events[0][0] != now_ms:
                break
            _, job, step = pop(events)


def identical_makespan_ms(operations: Sequence[Operation], jobs: int) -> float | None:
    """Return when the last of ``jobs`` identical jobs ends: sum of all times + (jobs - 1) x the longest, in ms.

    It holds for a permutation flow shop: every job visits the same resources once each, in the same order. None if
    jobs use a resource twice, or are no chains.
    """
    if not is_chain(operations):
        return None
    if jobs > 1 and any(count > 1 for count in Counter(operation.server for operation in operations).values()):
        return None
    times_ms = [operation.duration_ms for operation in operations]
    return sum(times_ms) + (jobs - 1) * max(times_ms, default=0.0)
