"""Discrete-event simulation of jobs: the reference for when operations start and end.

Every resource (a device's computing, or its sending) is a server with a queue discipline; separate links are servers
of their own. The loop goes from one instant at which something happens to the next. The agenda is a heap of ``(time,
server)``. A rate change moves the next event of a server, which leaves an outdated entry in the heap. Entries that
differ from the server's present wake-up time are therefore skipped.
"""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from planning.queueing.operations import Operation, OperationGraph, Resource, ServerKey, Work, is_chain
from planning.queueing.queues import Server, Task, make_server
from shared.policy import QueueDiscipline


@dataclass(frozen=True, slots=True)
class SimulatedJob:
    """A request to simulate: its operations, and when it arrives.

    Operations are done in order, or as soon as those that they need are done (`Operation.needs`). ``deadline_ms`` is
    a time of the simulation's clock, not a duration.
    """

    operations: tuple[Operation, ...]
    release_ms: float = 0.0
    deadline_ms: float = inf


@dataclass(frozen=True, slots=True)
class Rules:
    """Queue disciplines of devices, and the load that competes with jobs.

    Attributes:
        disciplines: queue discipline of a device's computing; devices not named are FIFO. Sending is always FIFO.
        quantum_ms: slot of round robin. None means infinitely small slots, which is processor sharing.
        background: number of endless processes per device that compete for its processor.
    """

    disciplines: Mapping[str, QueueDiscipline] = field(default_factory=dict)
    quantum_ms: float | None = None
    background: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RateChange:
    """A new speed, ``rate`` times the first one, of a device's computing or of its sending to ``target``.

    It holds from ``at_ms`` on, also for work under way. At rate 0 work is paused. A link's latency takes as long at
    any other rate.
    """

    at_ms: float
    device: str
    work: Work
    rate: float
    target: str | None = None


class Span(NamedTuple):
    """An interval in which a device computes or sends for an operation of a job."""

    job: int
    operation: int
    start_ms: float
    end_ms: float


@dataclass(frozen=True, slots=True)
class SimulationRun:
    """The outcome of a simulation.

    Attributes:
        end_ms: when every job ended; inf if it never did, because a device or link stays paused.
        steps: when each operation of a job arrived and ended, in ms; inf, inf if it never ended.
        spans: every interval of work that ended, in the order in which they did.
    """

    end_ms: tuple[float, ...]
    steps: tuple[tuple[tuple[float, float], ...], ...]
    spans: tuple[Span, ...]


def simulate_jobs(jobs: Sequence[SimulatedJob], rules: Rules, changes: Sequence[RateChange] = ()) -> SimulationRun:
    """Simulate ``jobs``; deterministic.

    At one instant the loop first finishes what ends there. Then rates change, then jobs and operations arrive: in job
    order, those of one job in the order of its operations. Idle servers start last, so they choose among all arrivals
    of the instant.

    O(n log n) for n operations (or slots of round robin), plus O(c) per change for c tasks under way.

    Args:
        jobs: the requests; the same tuple of operations may serve many of them.
        rules: queue disciplines and background load.
        changes: of rates, in any order.

    Raises:
        ValueError: if an operation needs one that does not come before it.
    """
    return _Engine(jobs, rules, changes).run()


class _Engine:
    """The state of one simulation.

    Tasks are numbered ``job x _wide + operation``; ``divmod`` by ``_wide`` gives both back.

    Invariants between two instants: ``_wake_ms`` is the next event of every server, inf if it has none. ``_waiting``
    counts, per operation, those that it still waits for (None for chains), and ``_left``, per job, those that have not
    ended. ``_arrived_ms`` holds exactly the tasks that are queued or under way.
    """

    def __init__(self, jobs: Sequence[SimulatedJob], rules: Rules, changes: Sequence[RateChange]) -> None:
        self._jobs, self._rules = jobs, rules
        self._wide = 1 + max((len(job.operations) for job in jobs), default=0)
        self._rates: defaultdict[Resource, dict[str | None, float]] = defaultdict(dict)
        self._servers: list[Server] = []
        self._numbers: dict[ServerKey, int] = {}
        self._agenda: list[tuple[float, int]] = []
        self._wake_ms: list[float] = []
        # Both are popped from the end, so the next one is last. A field of its own has the time of the next one.
        self._releases = sorted(range(len(jobs)), key=lambda index: jobs[index].release_ms)[::-1]
        self._changes = sorted(changes, key=lambda change: change.at_ms)[::-1]
        self._next_release_ms = jobs[self._releases[-1]].release_ms if jobs else inf
        self._next_change_ms = self._changes[-1].at_ms if changes else inf
        distinct = {id(job.operations): job.operations for job in jobs}
        # Jobs share their operations, so one graph per distinct tuple is enough; chains need none.
        graphs = {key: None if is_chain(own) else OperationGraph(own) for key, own in distinct.items()}
        self._graphs = [graphs[id(job.operations)] for job in jobs]
        self._waiting = [None if graph is None else list(graph.needs) for graph in self._graphs]
        self._left = [len(job.operations) for job in jobs]
        # A job without operations ends when it arrives; all others end with the last of their operations.
        self._end_ms = [inf if job.operations else job.release_ms for job in jobs]
        self._steps = [[(inf, inf)] * len(job.operations) for job in jobs]
        self._arrived_ms: dict[int, float] = {}
        self._spans: list[Span] = []

    def run(self) -> SimulationRun:
        """Go from instant to instant until nothing more happens; see `simulate_jobs` for the order within one."""
        while (now_ms := self._next_instant_ms()) < inf:
            touched: list[int] = []
            arrivals: list[tuple[int, int]] = []
            self._finish_due(now_ms, touched, arrivals)
            while self._next_change_ms <= now_ms:
                self._change(now_ms, touched)
            while self._next_release_ms <= now_ms:
                self._release(arrivals)
            # The order of arrivals at one instant must not depend on the order in which servers finished.
            if len(arrivals) > 1:
                arrivals.sort()
            for index, step in arrivals:
                touched.append(self._admit(index, step, now_ms))
            self._settle(now_ms, touched)
        return SimulationRun(tuple(self._end_ms), tuple(map(tuple, self._steps)), tuple(self._spans))

    def _next_instant_ms(self) -> float:
        """Return when something happens next; inf if nothing does."""
        agenda, wake_ms = self._agenda, self._wake_ms
        while agenda and agenda[0][0] != wake_ms[agenda[0][1]]:
            heapq.heappop(agenda)
        next_ms = self._next_release_ms
        if agenda and agenda[0][0] < next_ms:
            next_ms = agenda[0][0]
        # A change matters only while there is work left. Without this condition changes alone would keep the loop
        # running.
        if self._next_change_ms < next_ms and (next_ms < inf or self._arrived_ms):
            next_ms = self._next_change_ms
        return next_ms

    def _finish_due(self, now_ms: float, touched: list[int], arrivals: list[tuple[int, int]]) -> None:
        """Finish what ends at this instant."""
        agenda, wake_ms = self._agenda, self._wake_ms
        while agenda and agenda[0][0] <= now_ms:
            time_ms, number = heapq.heappop(agenda)
            if time_ms == wake_ms[number]:
                wake_ms[number] = inf
                touched.append(number)
                self._finish(self._servers[number], now_ms, arrivals)

    def _settle(self, now_ms: float, touched: list[int]) -> None:
        """Start idle servers, and put the next event of each touched one on the agenda."""
        servers, wake_ms = self._servers, self._wake_ms
        for number in touched:
            server = servers[number]
            server.settle(now_ms)
            if (next_ms := server.next_ms()) != wake_ms[number]:
                wake_ms[number] = next_ms
                if next_ms < inf:
                    heapq.heappush(self._agenda, (next_ms, number))

    def _finish(self, server: Server, now_ms: float, arrivals: list[tuple[int, int]]) -> None:
        """Record the work that a server has done, and append the operations that may start now to ``arrivals``."""
        finished, slices = server.advance(now_ms)
        for entry in slices:
            self._spans.append(Span(*divmod(entry.ticket, self._wide), entry.start_ms, entry.end_ms))
        for ticket in finished:
            job, step = divmod(ticket, self._wide)
            self._steps[job][step] = self._arrived_ms.pop(ticket), now_ms
            self._left[job] -= 1
            if not self._left[job]:
                self._end_ms[job] = now_ms
            graph, waiting = self._graphs[job], self._waiting[job]
            if graph is None or waiting is None:
                if self._left[job]:
                    arrivals.append((job, step + 1))
                continue
            for follower in graph.followers[step]:
                waiting[follower] -= 1
                if not waiting[follower]:
                    arrivals.append((job, follower))

    def _release(self, arrivals: list[tuple[int, int]]) -> None:
        """Append the operations with which the next job begins to ``arrivals``."""
        index = self._releases.pop()
        self._next_release_ms = self._jobs[self._releases[-1]].release_ms if self._releases else inf
        waiting = self._waiting[index]
        if waiting is not None:
            arrivals += [(index, step) for step, needs in enumerate(waiting) if not needs]
        elif self._left[index]:
            arrivals.append((index, 0))

    def _admit(self, index: int, step: int, now_ms: float) -> int:
        """Add an operation to its server's queue; return the server's number."""
        job = self._jobs[index]
        operation, ticket = job.operations[step], index * self._wide + step
        self._arrived_ms[ticket] = now_ms
        number = self._number(operation, now_ms)
        self._servers[number].arrive(
            Task(ticket, operation.duration_ms, job.deadline_ms, operation.latency_ms, operation.target), now_ms
        )
        return number

    def _change(self, now_ms: float, touched: list[int]) -> None:
        """Apply the next change of a rate."""
        change = self._changes.pop()
        self._next_change_ms = self._changes[-1].at_ms if self._changes else inf
        self._rates[change.device, change.work][change.target] = change.rate
        for target in dict.fromkeys((None, change.target)):
            number = self._numbers.get((change.device, change.work, target))
            if number is not None:
                self._servers[number].set_rate(change.rate, now_ms, change.target)
                touched.append(number)

    def _number(self, operation: Operation, now_ms: float) -> int:
        """Return the number of the operation's server, which is made at its first operation."""
        number = self._numbers.get(operation.server)
        if number is None:
            discipline, background = QueueDiscipline.FIFO, 0
            if operation.work is Work.COMPUTE:
                discipline = self._rules.disciplines.get(operation.device, discipline)
                background = self._rules.background.get(operation.device, 0)
            server = make_server(discipline, quantum_ms=self._rules.quantum_ms, background=background)
            # Rates may have changed before the server was made.
            for target, rate in self._rates[operation.resource].items():
                server.set_rate(rate, now_ms, target)
            number = self._numbers[operation.server] = len(self._servers)
            self._servers.append(server)
            self._wake_ms.append(inf)
        return number
