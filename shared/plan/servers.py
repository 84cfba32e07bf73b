"""What a device does with the work that waits for it: one class per kind of queue discipline.

A server is a state machine: it takes arrivals, says when something will happen next, and tells what has finished.
"""

import heapq
from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Protocol

from shared.plan.policy import QueueDiscipline


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of work at a server. ``deadline_ms`` is absolute; ``ticket`` breaks ties, smaller first."""

    ticket: int
    duration_ms: float
    deadline_ms: float = inf


@dataclass(frozen=True, slots=True)
class Slice:
    """A stretch of time in which a server works on a task."""

    ticket: int
    start_ms: float
    end_ms: float


class Server(Protocol):
    """What every queue discipline offers."""

    def arrive(self, task: Task, now_ms: float) -> None:
        """Take a task in."""

    def next_ms(self) -> float:
        """Return when the next task or slice ends; inf if the server is idle."""

    def advance(self, now_ms: float) -> tuple[list[int], list[Slice]]:
        """Work until ``now_ms`` (at most ``next_ms()``); return the tickets finished and the slices worked."""

    def settle(self, now_ms: float) -> None:
        """Start the next task if the server is free, once all arrivals of this instant are in."""


class QueueServer:
    """One task at a time to its end: first come, shortest job, or earliest deadline first.

    Background processes take their equal share of the processor meanwhile.
    """

    def __init__(self, discipline: QueueDiscipline, background: int = 0) -> None:
        """Start idle."""
        self._discipline, self._slowdown = discipline, 1 + background
        self._waiting: list[tuple[float, int, int, Task]] = []
        self._arrivals = 0
        self._current: tuple[Task, float, float] | None = None

    def arrive(self, task: Task, now_ms: float) -> None:
        """Queue a task by the key of the discipline; ties by arrival."""
        self._arrivals += 1
        key = 0.0
        if self._discipline is QueueDiscipline.SHORTEST_JOB_FIRST:
            key = task.duration_ms
        elif self._discipline is QueueDiscipline.EARLIEST_DEADLINE_FIRST:
            key = task.deadline_ms
        heapq.heappush(self._waiting, (key, self._arrivals, task.ticket, task))

    def next_ms(self) -> float:
        """Return when the present task ends."""
        return inf if self._current is None else self._current[2]

    def advance(self, now_ms: float) -> tuple[list[int], list[Slice]]:
        """Finish the present task if its time has come."""
        if self._current is None or self._current[2] > now_ms:
            return [], []
        task, start_ms, end_ms = self._current
        self._current = None
        return [task.ticket], [Slice(task.ticket, start_ms, end_ms)]

    def settle(self, now_ms: float) -> None:
        """Start the first of the queue."""
        if self._current is None and self._waiting:
            task = heapq.heappop(self._waiting)[3]
            self._current = task, now_ms, now_ms + task.duration_ms * self._slowdown


class SlottedServer:
    """Round robin in slots of ``quantum_ms``; a task's last slot may be shorter. Background processes never end.

    The first task of a busy period is served before the background (Kafetzis & Koutsopoulos, section III).
    """

    def __init__(self, quantum_ms: float, background: int = 0) -> None:
        """Start idle."""
        self._quantum_ms, self._background = quantum_ms, background
        self._round: deque[tuple[Task | None, float]] = deque()
        self._current: tuple[Task | None, float, float, float] | None = None
        self._tasks = 0

    def arrive(self, task: Task, now_ms: float) -> None:
        """Put a task at the end of the round."""
        first = self._tasks == 0
        self._tasks += 1
        self._round.append((task, task.duration_ms))
        if first:
            self._round.extend([(None, inf)] * self._background)

    def next_ms(self) -> float:
        """Return when the present slot ends."""
        return inf if self._current is None else self._current[2]

    def advance(self, now_ms: float) -> tuple[list[int], list[Slice]]:
        """Finish the present slot if its time has come."""
        if self._current is None or self._current[2] > now_ms:
            return [], []
        task, start_ms, end_ms, left_ms = self._current
        self._current = None
        if task is None:
            self._round.append((None, inf))
            return [], []
        if left_ms > 0:
            self._round.append((task, left_ms))
            return [], [Slice(task.ticket, start_ms, end_ms)]
        self._tasks -= 1
        if self._tasks == 0:
            self._round.clear()
        return [task.ticket], [Slice(task.ticket, start_ms, end_ms)]

    def settle(self, now_ms: float) -> None:
        """Start the next slot of the round."""
        if self._current is None and self._round:
            task, left_ms = self._round.popleft()
            slot_ms = min(left_ms, self._quantum_ms)
            rest_ms = left_ms - slot_ms
            self._current = task, now_ms, now_ms + slot_ms, rest_ms if rest_ms > 1e-12 * slot_ms else 0.0


class FluidServer:
    """Round robin in infinitely small slots: every task gets an equal share of the processor."""

    def __init__(self, background: int = 0) -> None:
        """Start idle."""
        self._background = background
        self._attained_ms = self._clock_ms = 0.0
        self._ends: list[tuple[float, int, float]] = []

    def arrive(self, task: Task, now_ms: float) -> None:
        """Share the processor with one task more."""
        self._serve(now_ms)
        heapq.heappush(self._ends, (self._attained_ms + task.duration_ms, task.ticket, now_ms))

    def next_ms(self) -> float:
        """Return when the task with the least work left ends."""
        if not self._ends:
            return inf
        return self._clock_ms + (self._ends[0][0] - self._attained_ms) * (len(self._ends) + self._background)

    def advance(self, now_ms: float) -> tuple[list[int], list[Slice]]:
        """Finish every task that has got its share."""
        if self.next_ms() > now_ms:
            return [], []
        level = self._ends[0][0]
        self._clock_ms, self._attained_ms = now_ms, level
        slices = []
        while self._ends and self._ends[0][0] <= level:
            _, ticket, start_ms = heapq.heappop(self._ends)
            slices.append(Slice(ticket, start_ms, now_ms))
        return [entry.ticket for entry in slices], slices

    def settle(self, now_ms: float) -> None:
        """Nothing waits."""

    def _serve(self, now_ms: float) -> None:
        if self._ends:
            self._attained_ms += (now_ms - self._clock_ms) / (len(self._ends) + self._background)
        self._clock_ms = now_ms


def make_server(discipline: QueueDiscipline, *, quantum_ms: float | None = None, background: int = 0) -> Server:
    """Return a server; round robin is fluid unless a quantum is given."""
    if discipline is QueueDiscipline.ROUND_ROBIN:
        return FluidServer(background) if quantum_ms is None else SlottedServer(quantum_ms, background)
    return QueueServer(discipline, background)
