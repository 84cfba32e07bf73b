"""Servers of the event simulation: one class per kind of queue discipline.

A server is a state machine without a clock of its own. The event loop calls it in this order at every instant:
``advance`` (finish), ``set_rate``, ``arrive``, ``settle`` (start), ``next_ms``. Work under way continues at a new rate,
so times stay exact.
"""

import heapq
from collections import deque
from math import inf
from typing import NamedTuple, Protocol

from shared.policy import QueueDiscipline


class Task(NamedTuple):
    """A piece of work at a server.

    Attributes:
        ticket: breaks ties, smaller first.
        duration_ms: how long it takes at rate 1.
        deadline_ms: absolute.
        fixed_ms: the part of ``duration_ms`` that comes first and takes as long at any rate but 0.
        link: the receiver, where the rate is that of a link.
    """

    ticket: int
    duration_ms: float
    deadline_ms: float = inf
    fixed_ms: float = 0.0
    link: str | None = None


class Slice(NamedTuple):
    """An interval in which a server works on a task."""

    ticket: int
    start_ms: float
    end_ms: float


class Server(Protocol):
    """One resource with its queue."""

    def arrive(self, task: Task, now_ms: float) -> None:
        """Add a task to the queue."""

    def next_ms(self) -> float:
        """Return when the next task or slice ends, in ms; inf if the server is idle or paused."""

    def advance(self, now_ms: float) -> tuple[list[int], list[Slice]]:
        """Work until ``now_ms`` (at most ``next_ms()``); return the tickets finished and the slices worked."""

    def settle(self, now_ms: float) -> None:
        """Start the next task if the server is free, after all arrivals of this instant."""

    def set_rate(self, rate: float, now_ms: float, link: str | None = None) -> None:
        """Do ``rate`` ms of work per ms from now on, of tasks with this link; at 0 they are paused."""


class QueueServer:
    """Server of one task at a time, to its end: first come, shortest job, or earliest deadline first.

    Each background process takes an equal share of the processor meanwhile, so a task takes 1 + background times as
    long. A paused task blocks those behind it.

    Invariant: of the present task, ``_fixed_ms`` (latency) and ``_work_ms`` were left at ``_since_ms``, and it ends at
    ``_end_ms`` if the rate stays. ``_end_ms`` is inf exactly if there is no task or its rate is 0.
    """

    def __init__(self, discipline: QueueDiscipline, background: int = 0) -> None:
        """Start idle."""
        self._discipline, self._slowdown = discipline, 1 + background
        self._rates: dict[str | None, float] = {}
        self._waiting: list[tuple[float, int, Task]] = []
        self._arrivals = 0
        self._task: Task | None = None
        self._start_ms, self._end_ms = 0.0, inf
        self._since_ms = self._fixed_ms = self._work_ms = 0.0

    def arrive(self, task: Task, now_ms: float) -> None:
        """Queue a task by the key of the discipline; ties by arrival."""
        self._arrivals += 1
        key = 0.0
        if self._discipline is QueueDiscipline.SHORTEST_JOB_FIRST:
            key = task.duration_ms
        elif self._discipline is QueueDiscipline.EARLIEST_DEADLINE_FIRST:
            key = task.deadline_ms
        heapq.heappush(self._waiting, (key, self._arrivals, task))

    def next_ms(self) -> float:
        """Return when the present task ends, in ms."""
        return self._end_ms

    def advance(self, now_ms: float) -> tuple[list[int], list[Slice]]:
        """Finish the present task if its time has come."""
        task = self._task
        if task is None or self._end_ms > now_ms:
            return [], []
        slices = [Slice(task.ticket, self._start_ms, self._end_ms)]
        self._task, self._end_ms = None, inf
        return [task.ticket], slices

    def settle(self, now_ms: float) -> None:
        """Start the first of the queue."""
        if self._task is None and self._waiting:
            task = self._task = heapq.heappop(self._waiting)[2]
            self._start_ms = self._since_ms = now_ms
            self._fixed_ms, self._work_ms = task.fixed_ms, task.duration_ms - task.fixed_ms
            rate = self._rates.get(task.link, 1.0) if self._rates else 1.0
            # At the usual rate the sum of both parts would round differently than the duration itself.
            self._end_ms = now_ms + task.duration_ms * self._slowdown if rate == 1.0 else self._end(rate)

    def set_rate(self, rate: float, now_ms: float, link: str | None = None) -> None:
        """Continue the present task at the new rate."""
        before = self._rates.get(link, 1.0)
        self._rates[link] = rate
        if self._task is None or self._task.link != link or rate == before:
            return
        if before > 0:
            # Subtract the progress at the old rate: first the latency, which no rate shortens, then work.
            elapsed_ms = now_ms - self._since_ms
            fixed_ms = min(self._fixed_ms, elapsed_ms)
            self._fixed_ms -= fixed_ms
            self._work_ms = max(0.0, self._work_ms - (elapsed_ms - fixed_ms) * before / self._slowdown)
        self._since_ms = now_ms
        self._end_ms = self._end(rate)

    def _end(self, rate: float) -> float:
        if rate <= 0:
            return inf
        return self._since_ms + self._fixed_ms + self._work_ms * self._slowdown / rate


class SlottedServer:
    """Round robin in slots of ``quantum_ms``; a task's last slot may be shorter. Background processes never end.

    The first task of a busy period is served before the background (Kafetzis & Koutsopoulos, section III). A slot is
    as long at any rate, but less work is done in it. At rate 0 the round is paused.

    Invariant: ``_round`` holds the tasks that wait with their remaining work; a background process is None with
    infinite work. ``_task`` has the present slot exactly while ``_busy``. The round is empty when ``_tasks`` is 0.
    """

    def __init__(self, quantum_ms: float, background: int = 0) -> None:
        """Start idle."""
        self._quantum_ms, self._background = quantum_ms, background
        self._round: deque[tuple[Task | None, float]] = deque()
        self._busy, self._tasks = False, 0
        self._task: Task | None = None
        self._start_ms = self._since_ms = self._slot_ms = self._work_ms = self._rest_ms = 0.0
        self._end_ms, self._rate = inf, 1.0

    def arrive(self, task: Task, now_ms: float) -> None:
        """Append a task to the round."""
        first = self._tasks == 0
        self._tasks += 1
        self._round.append((task, task.duration_ms))
        if first:
            self._round.extend([(None, inf)] * self._background)

    def next_ms(self) -> float:
        """Return when the present slot ends, in ms."""
        return self._end_ms

    def advance(self, now_ms: float) -> tuple[list[int], list[Slice]]:
        """Finish the present slot if its time has come."""
        if not self._busy or self._end_ms > now_ms:
            return [], []
        task, end_ms = self._task, self._end_ms
        self._busy, self._end_ms = False, inf
        if task is None:
            self._round.append((None, inf))
            return [], []
        slices = [Slice(task.ticket, self._start_ms, end_ms)]
        if self._rest_ms > 0:
            self._round.append((task, self._rest_ms))
            return [], slices
        self._tasks -= 1
        # Without tasks only background is left in the round; the next task starts a new busy period ahead of it.
        if self._tasks == 0:
            self._round.clear()
        return [task.ticket], slices

    def settle(self, now_ms: float) -> None:
        """Start the next slot of the round."""
        if not self._busy and self._round:
            self._task, self._work_ms = self._round.popleft()
            self._busy, self._slot_ms = True, self._quantum_ms
            self._start_ms = self._since_ms = now_ms
            self._plan()

    def set_rate(self, rate: float, now_ms: float, link: str | None = None) -> None:
        """Continue the present slot at the new rate."""
        if self._busy and rate != self._rate:
            if self._rate > 0:
                self._slot_ms -= now_ms - self._since_ms
                self._work_ms = max(0.0, self._work_ms - (now_ms - self._since_ms) * self._rate)
            self._since_ms, self._rate = now_ms, rate
            self._plan()
        self._rate = rate

    def _plan(self) -> None:
        """Set the end of the slot and the work that will be left of the task."""
        if self._rate <= 0:
            self._end_ms = inf
            return
        slot_ms = max(0.0, min(self._work_ms / self._rate, self._slot_ms))
        self._end_ms = self._since_ms + slot_ms
        # A remainder from rounding counts as finished: as work it would cost another slot.
        rest_ms = self._work_ms - slot_ms * self._rate
        self._rest_ms = rest_ms if rest_ms > 1e-12 * slot_ms * self._rate else 0.0


class ProcessorSharingQueue:
    """Processor sharing, the limit of round robin in infinitely small slots: every task gets an equal share.

    Every task gains service at the same speed, so one number describes all. ``_attained_ms`` is the service that a task
    present since the start would have by ``_clock_ms``. A task ends when it reaches its own mark, ``_attained_ms`` at
    its arrival + its duration. The heap ``_ends`` is ordered by these marks, so arrivals change no entry.
    """

    def __init__(self, background: int = 0) -> None:
        """Start idle."""
        self._background = background
        self._attained_ms = self._clock_ms = 0.0
        self._rate = 1.0
        self._ends: list[tuple[float, int, float]] = []

    def arrive(self, task: Task, now_ms: float) -> None:
        """Share the processor with one more task."""
        self._serve(now_ms)
        heapq.heappush(self._ends, (self._attained_ms + task.duration_ms, task.ticket, now_ms))

    def next_ms(self) -> float:
        """Return when the task with the least work left ends."""
        if not self._ends or self._rate <= 0:
            return inf
        left_ms = self._ends[0][0] - self._attained_ms
        return self._clock_ms + max(0.0, left_ms) * (len(self._ends) + self._background) / self._rate

    def advance(self, now_ms: float) -> tuple[list[int], list[Slice]]:
        """Finish every task that has reached its mark."""
        if self.next_ms() > now_ms:
            return [], []
        # The first mark is reached exactly: adding up the service since the last event would round.
        level = self._ends[0][0]
        self._clock_ms, self._attained_ms = now_ms, level
        slices = []
        while self._ends and self._ends[0][0] <= level:
            _, ticket, start_ms = heapq.heappop(self._ends)
            slices.append(Slice(ticket, start_ms, now_ms))
        return [entry.ticket for entry in slices], slices

    def settle(self, now_ms: float) -> None:
        """Do nothing: no task waits."""

    def set_rate(self, rate: float, now_ms: float, link: str | None = None) -> None:
        """Divide the new rate among the tasks."""
        self._serve(now_ms)
        self._rate = rate

    def _serve(self, now_ms: float) -> None:
        """Bring the attained service up to ``now_ms``."""
        if self._ends:
            self._attained_ms += (now_ms - self._clock_ms) * self._rate / (len(self._ends) + self._background)
        self._clock_ms = now_ms


def make_server(discipline: QueueDiscipline, *, quantum_ms: float | None = None, background: int = 0) -> Server:
    """Return an idle server; round robin is processor sharing unless a quantum is given."""
    if discipline is QueueDiscipline.ROUND_ROBIN:
        return ProcessorSharingQueue(background) if quantum_ms is None else SlottedServer(quantum_ms, background)
    return QueueServer(discipline, background)
