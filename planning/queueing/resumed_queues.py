"""Completion times of jobs of which some differ from those of an earlier simulation, resumed where they first differ.

A local search changes one job at a time, and often only its last steps. Everything before the first step that differs
happens as before. So a simulation keeps checkpoints, and the next one begins at the last of them that holds for both.
The numbers are those of `planning.queueing.numbered_queues`, to the last digit. Every step must take some time.
"""

import heapq
from collections.abc import Sequence
from itertools import repeat
from typing import NamedTuple

from planning.queueing.numbered_queues import Steps
from shared.policy import QueueDiscipline

# Events between checkpoints, at least, and number of checkpoints of a simulation at most.
LEAST_EVENTS, MOST_CHECKPOINTS = 12, 12

# A step that waits for a processor: rank, number of the arrival, job, work.
Waiting = tuple[float, int, int, float]


class Checkpoint(NamedTuple):
    """The state of all queues between two events.

    Attributes:
        seen: [jobs] number of steps of every job that have been looked at.
        done: [jobs] number of steps that have been served, or whose end is known.
        events: the heap of what happens next, as in `first_come_ends_ms` and `timed_ranked_ends_ms`.
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

    def copy(self) -> "Checkpoint":
        """Return a state that changes on its own."""
        seen, events, free_ms, ends_ms = self.seen[:], self.events[:], self.free_ms[:], self.ends_ms[:]
        if not self.waiting:
            return Checkpoint(seen, seen, events, free_ms, ends_ms, self.waiting, self.chooses, 0)
        waiting = [own[:] for own in self.waiting]
        return Checkpoint(seen, self.done[:], events, free_ms, ends_ms, waiting, self.chooses[:], self.arrived)


class Run(NamedTuple):
    """A simulation.

    Attributes:
        jobs: steps of every job, in starting order.
        deadlines_ms: by job.
        ends_ms: [jobs] when each job ends.
        checkpoints: states before the first event and later ones, ascending.
        steps: number of steps that were simulated.
    """

    jobs: Sequence[Steps]
    deadlines_ms: Sequence[float]
    ends_ms: list[float]
    checkpoints: list[Checkpoint]
    steps: int


def resumed_run(
    jobs: Sequence[Steps], servers: int, discipline: QueueDiscipline, deadlines_ms: Sequence[float], like: Run | None
) -> Run:
    """Simulate jobs.

    Args:
        jobs: steps of every job, in starting order; at least one each.
        servers: number of servers; even ones are processors.
        discipline: of the processors; not round robin.
        deadlines_ms: by job.
        like: a simulation of as many jobs at as many servers under the same discipline; None if there is none.
    """
    is_ranked = discipline is not QueueDiscipline.FIFO
    kept = (
        [_beginning(len(jobs), servers, is_ranked)]
        if like is None
        else like.checkpoints[: _kept(jobs, deadlines_ms, like)]
    )
    total = sum(map(len, jobs))
    every = max(LEAST_EVENTS, (2 if is_ranked else 1) * total // MOST_CHECKPOINTS)
    left = total - sum(kept[-1].done)
    state = kept[-1].copy()
    if is_ranked:
        by_deadline = discipline is QueueDiscipline.EARLIEST_DEADLINE_FIRST
        new = _run_ranked(jobs, state, deadlines_ms if by_deadline else None, every)
    else:
        new = _run_first_come(jobs, state, every)
    return Run(jobs, deadlines_ms, state.ends_ms, kept + new, left)


def _beginning(jobs: int, servers: int, is_ranked: bool) -> Checkpoint:
    seen = [0] * jobs
    done = [0] * jobs if is_ranked else seen
    processors = servers if is_ranked else 0
    waiting: list[list[Waiting]] = [[] for _ in range(processors)]
    events = [(0.0, job) for job in range(jobs)]
    return Checkpoint(seen, done, events, [0.0] * servers, [0.0] * jobs, waiting, [False] * processors, 0)


def _kept(jobs: Sequence[Steps], deadlines_ms: Sequence[float], like: Run) -> int:
    """Return the number of checkpoints before which no step has been looked at that differs."""
    first: list[tuple[int, int]] = []
    if deadlines_ms != like.deadlines_ms:
        both = zip(deadlines_ms, like.deadlines_ms, strict=True)
        first = [(job, 0) for job, (one, other) in enumerate(both) if one != other]
    for job, (steps, known) in enumerate(zip(jobs, like.jobs, strict=True)):
        if steps is not known:
            first.append((job, _common(steps, known)))
    count = len(like.checkpoints)
    while count > 1:
        seen = like.checkpoints[count - 1].seen
        if all([seen[job] <= same for job, same in first]):
            break
        count -= 1
    return count


def _common(steps: Steps, known: Steps) -> int:
    """Return how many steps may have been looked at: the equal ones, but not the last one of either job."""
    most = min(len(steps), len(known)) - 1
    for place in range(most):
        if steps[place] != known[place]:
            return place
    return most


def _run_first_come(jobs: Sequence[Steps], state: Checkpoint, every: int) -> list[Checkpoint]:
    """Finish a simulation as `first_come_ends_ms` does; return checkpoints of it."""
    done, arrivals, free_ms, ends_ms = state.done, state.events, state.free_ms, state.ends_ms
    replace, pop = heapq.heapreplace, heapq.heappop
    checkpoints: list[Checkpoint] = []
    while True:
        for _ in repeat(None, every):
            now_ms, job = arrivals[0]
            steps, place = jobs[job], done[job]
            server, work_ms = steps[place]
            begin_ms = free_ms[server]
            end_ms = (begin_ms if begin_ms > now_ms else now_ms) + work_ms
            free_ms[server] = end_ms
            done[job] = place = place + 1
            if place == len(steps):
                ends_ms[job] = end_ms
                pop(arrivals)
                if not arrivals:
                    return checkpoints
            else:
                replace(arrivals, (end_ms, job))
        checkpoints.append(state.copy())


def _run_ranked(
    jobs: Sequence[Steps], state: Checkpoint, deadlines_ms: Sequence[float] | None, every: int
) -> list[Checkpoint]:
    """Finish a simulation as `timed_ranked_ends_ms` does; return checkpoints of it.

    Processors serve by the work of a step if ``deadlines_ms`` is None.
    """
    seen, done, events, free_ms, ends_ms, waiting, chooses, arrived = state
    count = len(jobs)
    push, pop, replace = heapq.heappush, heapq.heappop, heapq.heapreplace
    checkpoints: list[Checkpoint] = []
    while True:
        for _ in repeat(None, every):
            now_ms, job = events[0]
            if job < count:
                server, work_ms = jobs[job][done[job]]
                seen[job] += 1
                if not server % 2:
                    arrived += 1
                    push(
                        waiting[server], (work_ms if deadlines_ms is None else deadlines_ms[job], arrived, job, work_ms)
                    )
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
            done[job] += 1
            if done[job] == len(jobs[job]):
                ends_ms[job] = end_ms
                pop(events)
            else:
                replace(events, (end_ms, job))
            if waiting[server]:
                push(events, (end_ms, count + server))
            if not events:
                return checkpoints
        checkpoints.append(state._replace(arrived=arrived).copy())
