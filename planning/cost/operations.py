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
        latency_ms: the part of ``duration_ms`` that is the link's latency and comes first.
        needs: places of the request's operations that must have ended before; None: the one before it.
        rows: rows ``[top, bottom)`` of the stage's output that a tile makes or that are sent; None: all.
    """

    work: Work
    device: str
    duration_ms: float
    stage: int
    target: str | None = None
    size_bytes: float = 0.0
    latency_ms: float = 0.0
    needs: tuple[int, ...] | None = None
    rows: tuple[int, int] | None = None

    @property
    def resource(self) -> tuple[str, Work]:
        """What is busy meanwhile."""
        return self.device, self.work


class Order:
    """Which operations of a request wait for which, where they are no chain.

    Attributes:
        needs: how many operations each waits for.
        followers: which operations wait for each.
    """

    __slots__ = ("followers", "needs")

    def __init__(self, operations: Sequence[Operation]) -> None:
        """Index the operations; each may need only what stands before it."""
        self.needs = [0] * len(operations)
        self.followers: list[list[int]] = [[] for _ in operations]
        for place, operation in enumerate(operations):
            before = operation.needs
            if before is None:
                before = (place - 1,) if place else ()
            self.needs[place] = len(before)
            for other in before:
                if not 0 <= other < place:
                    raise ValueError(f"operation {place} needs operation {other}, which does not come before it")
                self.followers[other].append(place)


def is_chain(operations: Sequence[Operation]) -> bool:
    """Say whether each operation waits for the one before it."""
    return all(operation.needs is None for operation in operations)


def completion_times_ms(jobs: Sequence[Sequence[Operation]]) -> list[float]:
    """Return when each job ends, in ms, if all are released at 0 in this order and every queue is FIFO.

    Deterministic; O(n log n) in the number of operations. Arrivals at the same instant are served in job order, those
    of one job in the order of its operations.
    """
    kinds = {id(job): job for job in jobs}
    places = {key: place for place, key in enumerate(kinds)}
    return ends_ms(list(kinds.values()), [places[id(job)] for job in jobs])


def ends_ms(kinds: Sequence[Sequence[Operation]], which: Sequence[int]) -> list[float]:
    """Return when each job ends, in ms; see `completion_times_ms`.

    Args:
        kinds: the operations of every kind of job.
        which: the kind of every job, in starting order.
    """
    if all(map(is_chain, kinds)):
        return _chains_end_ms(kinds, which)
    return _graphs_end_ms([kinds[kind] for kind in which])


def _chains_end_ms(kinds: Sequence[Sequence[Operation]], which: Sequence[int]) -> list[float]:
    numbers: dict[tuple[str, Work], int] = {}
    steps = [
        [(numbers.setdefault((step.device, step.work), len(numbers)), step.duration_ms) for step in kind]
        for kind in kinds
    ]
    jobs = [steps[kind] for kind in which]
    done = [0.0] * len(jobs)
    queues: list[deque[tuple[int, int]]] = [deque() for _ in numbers]
    busy = [False] * len(numbers)
    for job, own in enumerate(jobs):
        if own:
            queues[own[0][0]].append((job, 0))
    events: list[tuple[float, int, int]] = []
    push, pop = heapq.heappush, heapq.heappop
    now, touched = 0.0, list(range(len(numbers)))
    while True:
        for number in touched:
            if not busy[number] and (queue := queues[number]):
                job, step = queue.popleft()
                busy[number] = True
                push(events, (now + jobs[job][step][1], job, step + 1))
        if not events:
            return done
        now, job, step = pop(events)
        touched = []
        while True:
            own = jobs[job]
            number = own[step - 1][0]
            busy[number] = False
            touched.append(number)
            if step == len(own):
                done[job] = now
            else:
                number = own[step][0]
                queues[number].append((job, step))
                touched.append(number)
            if not events or events[0][0] != now:
                break
            _, job, step = pop(events)


def _graphs_end_ms(jobs: Sequence[Sequence[Operation]]) -> list[float]:
    orders = {id(job): Order(job) for job in jobs}
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


def identical_makespan_ms(operations: Sequence[Operation], jobs: int) -> float | None:
    """Return when the last of ``jobs`` identical jobs ends: latency + (jobs - 1) x longest operation, in ms.

    Holds for a permutation flow shop; None if the jobs use a resource twice, or are no chains.
    """
    if not is_chain(operations):
        return None
    if jobs > 1 and any(count > 1 for count in Counter(operation.resource for operation in operations).values()):
        return None
    times = [operation.duration_ms for operation in operations]
    return sum(times) + (jobs - 1) * max(times, default=0.0)
