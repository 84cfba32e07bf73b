"""Completion times of jobs at numbered servers, for searches that ask for them thousands of times.

A job is a sequence of steps, each of which waits for the one before it. All jobs arrive at 0, in their order. Even
servers are processors with a queue discipline, odd ones are sendings, which are first come, first served.
`planning.queueing.event_loop.simulate_jobs` is the reference for every number here.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from math import inf
from typing import NamedTuple, Self

from shared.policy import QueueDiscipline

# The server and the duration in ms of every operation of a job.
Steps = tuple[tuple[int, float], ...]


# A step that waits for a processor: rank, number of the arrival, job, work.
Waiting = tuple[float, int, int, float]


class QueueState(NamedTuple):
    """The state of all queues between two events. Its lists change while the simulation goes on.

    Attributes:
        seen: [jobs] number of steps of every job that have been looked at.
        done: [jobs] number of steps that have been served, or whose end is known.
        events: the heap of what happens next. The arrival of a job's next step is (time, job). Of one instant the job
            that started first comes first. The choice of a processor among what waits is (time, jobs + server).
        free_ms: [servers] end of the last step of every server.
        ends_ms: [jobs] ends of the jobs that have ended, and 0.
        waiting: [servers] heaps of what waits; empty where all queues are first come, first served.
        chooses: [servers] whether the next choice of a processor is among the events.
        arrived: number of arrivals at processors.
    """

    seen: list[int]
    done: list[int]
    events: list[tuple[float, int]]
    free_ms: list[float]
    ends_ms: list[float]
    waiting: list[list[Waiting]]
    chooses: list[bool]
    arrived: int

    @classmethod
    def beginning(cls, jobs: Sequence[Steps], servers: int, *, is_ranked: bool) -> Self:
        """Return the state before the first event.

        Args:
            jobs: steps of every job, in starting order.
            servers: number of servers.
            is_ranked: whether processors serve by rank, and not in the order of arrivals.
        """
        seen = [0] * len(jobs)
        done = [0] * len(jobs) if is_ranked else seen
        processors = servers if is_ranked else 0
        events = [(0.0, job) for job, steps in enumerate(jobs) if steps]
        waiting: list[list[Waiting]] = [[] for _ in range(processors)]
        return cls(seen, done, events, [0.0] * servers, [0.0] * len(jobs), waiting, [False] * processors, 0)

    def copy(self) -> Self:
        """Return a state that changes on its own."""
        seen, events, free_ms, ends_ms = self.seen[:], self.events[:], self.free_ms[:], self.ends_ms[:]
        if not self.waiting:
            return type(self)(seen, seen, events, free_ms, ends_ms, self.waiting, self.chooses, 0)
        waiting = [own[:] for own in self.waiting]
        return type(self)(seen, self.done[:], events, free_ms, ends_ms, waiting, self.chooses[:], self.arrived)


def serve_in_turn(
    jobs: Sequence[Steps], state: QueueState, most_events: int | None, step_ends_ms: list[list[float]] | None = None
) -> None:
    """Take the next events if every server is first come, first served; None takes all that are left.

    Steps are taken in the order of their arrivals. So each begins at the later of its arrival and the end of the last
    one at its server, and no queue has to be kept. Every step must take some time: a step that takes none may end and
    arrive elsewhere within an instant, where this order is not that of the reference.
    """
    done, arrivals, free_ms, ends_ms = state.done, state.events, state.free_ms, state.ends_ms
    replace, pop = heapq.heapreplace, heapq.heappop
    if not arrivals:
        return
    for _ in repeat(None) if most_events is None else repeat(None, most_events):
        now_ms, job = arrivals[0]
        steps, place = jobs[job], done[job]
        server, work_ms = steps[place]
        begin_ms = free_ms[server]
        end_ms = (begin_ms if begin_ms > now_ms else now_ms) + work_ms
        free_ms[server] = end_ms
        if step_ends_ms is not None:
            step_ends_ms[job].append(end_ms)
        done[job] = place = place + 1
        if place == len(steps):
            ends_ms[job] = end_ms
            pop(arrivals)
            if not arrivals:
                return
        else:
            replace(arrivals, (end_ms, job))


def serve_by_rank(
    jobs: Sequence[Steps],
    state: QueueState,
    deadlines_ms: Sequence[float] | None,
    most_events: int | None,
    step_ends_ms: list[list[float]] | None = None,
) -> QueueState:
    """Take the next events if processors serve by rank; None takes all that are left. Return the state then.

    Sendings are computed at the arrival of a step, as in `serve_in_turn`. A processor that has work chooses when it is
    free, after all arrivals of the instant. Processors serve by the work of a step if ``deadlines_ms`` is None. Every
    step must take some time.
    """
    seen, done, events, free_ms, ends_ms, waiting, chooses, arrived = state
    count = len(jobs)
    push, pop, replace = heapq.heappush, heapq.heappop, heapq.heapreplace
    for _ in repeat(None) if most_events is None else repeat(None, most_events):
        if not events:
            break
        now_ms, job = events[0]
        if job < count:
            server, work_ms = jobs[job][done[job]]
            seen[job] += 1
            if not server % 2:
                arrived += 1
                push(waiting[server], (work_ms if deadlines_ms is None else deadlines_ms[job], arrived, job, work_ms))
                if chooses[server]:
                    pop(events)
                else:
                    chooses[server] = True
                    begin_ms = free_ms[server]
                    replace(events, (begin_ms if begin_ms > now_ms else now_ms, count + server))
                continue
            begin_ms = free_ms[server]
            end_ms = (begin_ms if begin_ms > now_ms else now_ms) + work_ms
        else:
            server = job - count
            _, _, job, work_ms = pop(waiting[server])
            end_ms = now_ms + work_ms
            chooses[server] = bool(waiting[server])
        free_ms[server] = end_ms
        if step_ends_ms is not None:
            step_ends_ms[job].append(end_ms)
        done[job] += 1
        if done[job] == len(jobs[job]):
            ends_ms[job] = end_ms
            pop(events)
        else:
            replace(events, (end_ms, job))
        if waiting[server]:
            push(events, (end_ms, count + server))
    return state._replace(arrived=arrived)


def first_come_ends_ms(
    jobs: Sequence[Steps], servers: int, step_ends_ms: list[list[float]] | None = None
) -> list[float]:
    """Return when each job ends, in ms, if every server is first come, first served. Every step must take some time.

    Args:
        jobs: steps of every job, in starting order.
        servers: number of servers.
        step_ends_ms: [jobs] lists to which the ends of every job's steps are appended; None if they are not needed.
    """
    state = QueueState.beginning(jobs, servers, is_ranked=False)
    serve_in_turn(jobs, state, None, step_ends_ms)
    return state.ends_ms


def timed_ranked_ends_ms(
    jobs: Sequence[Steps],
    servers: int,
    discipline: QueueDiscipline,
    deadlines_ms: Sequence[float],
    step_ends_ms: list[list[float]] | None = None,
) -> list[float]:
    """Return when each job ends, in ms, as `ranked_ends_ms` does, in a third of its time.

    Args:
        jobs: steps of every job, in starting order; every step takes some time.
        servers: number of servers.
        discipline: of the processors; not round robin.
        deadlines_ms: by job, on the clock of the simulation.
        step_ends_ms: [jobs] lists to which the ends of every job's steps are appended; None if they are not needed.
    """
    state = QueueState.beginning(jobs, servers, is_ranked=True)
    serve_by_rank(jobs, state, rank_deadlines_ms(discipline, deadlines_ms), None, step_ends_ms)
    return state.ends_ms


def rank_deadlines_ms(discipline: QueueDiscipline, deadlines_ms: Sequence[float]) -> Sequence[float] | None:
    """Return the deadlines by which processors serve, [jobs]; None if they serve by work. All are 0 without ranks."""
    if discipline is QueueDiscipline.SHORTEST_JOB_FIRST:
        return None
    return deadlines_ms if discipline is QueueDiscipline.EARLIEST_DEADLINE_FIRST else [0.0] * len(deadlines_ms)


def ranked_ends_ms(
    jobs: Sequence[Steps],
    servers: int,
    discipline: QueueDiscipline,
    deadlines_ms: Sequence[float],
    step_ends_ms: list[list[float]] | None = None,
) -> list[float]:
    """Return when each job ends, in ms, under a discipline that serves one job at a time. Steps may take no time.

    Args:
        jobs: steps of every job, in starting order.
        servers: number of servers.
        discipline: of the processors; not round robin.
        deadlines_ms: by job, on the clock of the simulation.
        step_ends_ms: [jobs] lists to which the ends of every job's steps are appended; None if they are not needed.
    """
    ranks = [_ranks(steps, discipline, deadline_ms) for steps, deadline_ms in zip(jobs, deadlines_ms, strict=True)]
    # Per server (rank, number of the arrival, job, place of the step).
    waiting: list[list[tuple[float, int, int, int]]] = [[] for _ in range(servers)]
    is_busy = [False] * servers
    ends_ms = [0.0] * len(jobs)
    events: list[tuple[float, int, int]] = []
    push, pop = heapq.heappush, heapq.heappop
    arrived, now_ms = 0, 0.0
    arrivals = [(job, 0) for job, steps in enumerate(jobs) if steps]
    touched: list[int] = []
    while True:
        for job, place in arrivals:
            server = jobs[job][place][0]
            arrived += 1
            push(waiting[server], (ranks[job][place], arrived, job, place))
            touched.append(server)
        # Servers choose among all arrivals of the instant.
        for server in touched:
            if not is_busy[server] and waiting[server]:
                _, _, job, place = pop(waiting[server])
                is_busy[server] = True
                push(events, (now_ms + jobs[job][place][1], job, place))
        if not events:
            return ends_ms
        now_ms = events[0][0]
        arrivals, touched = [], []
        # All that ends at this instant is taken before any server starts its next step. Events of one instant come
        # in job order.
        while events and events[0][0] == now_ms:
            _, job, place = pop(events)
            server = jobs[job][place][0]
            is_busy[server] = False
            touched.append(server)
            if step_ends_ms is not None:
                step_ends_ms[job].append(now_ms)
            if place + 1 == len(jobs[job]):
                ends_ms[job] = now_ms
            else:
                arrivals.append((job, place + 1))


def _ranks(steps: Steps, discipline: QueueDiscipline, deadline_ms: float) -> list[float]:
    """Return the rank of every step in its queue; smaller ranks are served first."""
    if discipline is QueueDiscipline.SHORTEST_JOB_FIRST:
        return [0.0 if server % 2 else work_ms for server, work_ms in steps]
    if discipline is QueueDiscipline.EARLIEST_DEADLINE_FIRST:
        return [0.0 if server % 2 else deadline_ms for server, _ in steps]
    return [0.0] * len(steps)


def shared_ends_ms(jobs: Sequence[Steps], servers: int, step_ends_ms: list[list[float]] | None = None) -> list[float]:
    """Return when each job ends, in ms, if every processor shares its time equally among its jobs.

    Args:
        jobs: steps of every job, in starting order.
        servers: number of servers.
        step_ends_ms: [jobs] lists to which the ends of every job's steps are appended; None if they are not needed.
    """
    sharing = _Sharing(servers)
    ends_ms = [0.0] * len(jobs)
    arrivals = [(job, 0) for job, steps in enumerate(jobs) if steps]
    now_ms = 0.0
    while True:
        for job, place in arrivals:
            sharing.arrive(jobs[job][place], job, place, now_ms)
        next_ms = sharing.next_ms()
        if next_ms is None:
            return ends_ms
        now_ms = next_ms
        arrivals = []
        for job, place in sharing.finish(now_ms):
            if step_ends_ms is not None:
                step_ends_ms[job].append(now_ms)
            if place + 1 == len(jobs[job]):
                ends_ms[job] = now_ms
            else:
                arrivals.append((job, place + 1))


class _Sharing:
    """Processors that share their time, and sendings that are first come, first served.

    A processor is described as in `planning.queueing.queues.ProcessorSharingQueue`: by the service that a job present
    since the start would have, and by the marks of service at which its jobs end. Invariant: ``_next_ms`` is the next
    event of every server, and the agenda holds it. Entries of the agenda that differ from it are outdated.
    """

    def __init__(self, servers: int) -> None:
        self._attained_ms, self._clock_ms = [0.0] * servers, [0.0] * servers
        self._marks: list[list[tuple[float, int, int]]] = [[] for _ in range(servers)]
        self._queues: list[deque[tuple[float, int, int]]] = [deque() for _ in range(servers)]
        self._next_ms = [inf] * servers
        self._agenda: list[tuple[float, int]] = []

    def arrive(self, step: tuple[int, float], job: int, place: int, now_ms: float) -> None:
        """Add a step to its server."""
        server, work_ms = step
        if server % 2:
            queue = self._queues[server]
            queue.append((work_ms, job, place))
            if len(queue) == 1:
                self._wake(server, now_ms + work_ms)
            return
        marks = self._marks[server]
        if marks:
            self._attained_ms[server] += (now_ms - self._clock_ms[server]) / len(marks)
        self._clock_ms[server] = now_ms
        heapq.heappush(marks, (self._attained_ms[server] + work_ms, job, place))
        self._wake_processor(server)

    def next_ms(self) -> float | None:
        """Return when a step ends next; None if there is none."""
        while self._agenda and self._agenda[0][0] != self._next_ms[self._agenda[0][1]]:
            heapq.heappop(self._agenda)
        return self._agenda[0][0] if self._agenda else None

    def finish(self, now_ms: float) -> list[tuple[int, int]]:
        """Return the steps that end at this instant, in job order."""
        due: list[int] = []
        while self._agenda and self._agenda[0][0] == now_ms:
            server = heapq.heappop(self._agenda)[1]
            if self._next_ms[server] == now_ms:
                self._next_ms[server] = inf
                due.append(server)
        finished: list[tuple[int, int]] = []
        for server in due:
            if server % 2:
                queue = self._queues[server]
                finished.append(queue.popleft()[1:])
                if queue:
                    self._wake(server, now_ms + queue[0][0])
                continue
            marks = self._marks[server]
            level = marks[0][0]
            self._clock_ms[server], self._attained_ms[server] = now_ms, level
            while marks and marks[0][0] <= level:
                finished.append(heapq.heappop(marks)[1:])
            self._wake_processor(server)
        return sorted(finished)

    def _wake_processor(self, server: int) -> None:
        marks = self._marks[server]
        if marks:
            left_ms = max(0.0, marks[0][0] - self._attained_ms[server])
            self._wake(server, self._clock_ms[server] + left_ms * len(marks))

    def _wake(self, server: int, time_ms: float) -> None:
        self._next_ms[server] = time_ms
        heapq.heappush(self._agenda, (time_ms, server))
