"""Jobs that pass through devices and links, and when each ends if every queue is first come, first served."""

import heapq
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Work(StrEnum):
    """The two things a device does; they overlap, but each is done one at a time."""

    COMPUTE = "compute"
    SEND = "send"


@dataclass(frozen=True, slots=True)
class Operation:
    """A piece of a request that keeps one resource of one device busy.

    Attributes:
        device: who computes or sends.
        duration_ms: how long.
        stage: the stage computed, or whose output is sent; -1 for the input; the number of stages for what the
            sink decodes.
        target: the receiver of a sending.
        size_bytes: what is sent.
    """

    work: Work
    device: str
    duration_ms: float
    stage: int
    target: str | None = None
    size_bytes: float = 0.0

    @property
    def resource(self) -> tuple[str, Work]:
        """What is busy meanwhile."""
        return self.device, self.work


def completion_times_ms(jobs: Sequence[Sequence[Operation]]) -> list[float]:
    """Return when each job ends, in ms, if all are released at 0 in this order and every queue is FIFO.

    Deterministic; O(n log n) in the number of operations. Arrivals at the same instant are served in job order.
    """
    done = [0.0] * len(jobs)
    queues: dict[tuple[str, Work], deque[tuple[int, int]]] = {}
    busy: set[tuple[str, Work]] = set()
    events: list[tuple[float, int, int]] = [(0.0, job, 0) for job in range(len(jobs))]
    while events:
        now = events[0][0]
        touched: dict[tuple[str, Work], None] = {}
        while events and events[0][0] == now:
            _, job, step = heapq.heappop(events)
            if step:
                finished = jobs[job][step - 1].resource
                busy.discard(finished)
                touched[finished] = None
            if step == len(jobs[job]):
                done[job] = now
                continue
            resource = jobs[job][step].resource
            queues.setdefault(resource, deque()).append((job, step))
            touched[resource] = None
        for resource in touched:
            queue = queues.get(resource)
            if queue and resource not in busy:
                job, step = queue.popleft()
                busy.add(resource)
                heapq.heappush(events, (now + jobs[job][step].duration_ms, job, step + 1))
    return done


def identical_makespan_ms(operations: Sequence[Operation], jobs: int) -> float | None:
    """Return when the last of ``jobs`` identical jobs ends: latency + (jobs - 1) x longest operation, in ms.

    Holds for a permutation flow shop; None if the jobs use a resource twice.
    """
    if jobs > 1 and any(count > 1 for count in Counter(operation.resource for operation in operations).values()):
        return None
    times = [operation.duration_ms for operation in operations]
    return sum(times) + (jobs - 1) * max(times, default=0.0)
