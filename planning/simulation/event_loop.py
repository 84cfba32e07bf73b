"""The event loop of the simulation: jobs of operations over computing and sending servers."""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from planning.cost.operations import Operation, Order, Work, is_chain
from planning.simulation.queues import Server, Task, make_server
from shared.policy import QueueDiscipline


@dataclass(frozen=True, slots=True)
class SimulatedJob:
    """A request to simulate: what it does, and when it arrives. ``deadline_ms`` is absolute.

    Operations are done in order, or as soon as those they name are done (`Operation.needs`).
    """

    operations: tuple[Operation, ...]
    release_ms: float = 0.0
    deadline_ms: float = inf


@dataclass(frozen=True, slots=True)
class Rules:
    """How devices treat their queues.

    Attributes:
        disciplines: queue discipline of a device's computing; devices not named are FIFO. Sending is always FIFO.
        quantum_ms: slot of round robin; None: infinitely small.
        background: number of endless processes per device that compete for its processor.
    """

    disciplines: Mapping[str, QueueDiscipline] = field(default_factory=dict)
    quantum_ms: float | None = None
    background: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RateChange:
    """From ``at_ms`` on a device computes, or sends to ``target``, at ``rate`` times its first speed; 0: not at all.

    What is under way goes on at the new rate. A link's latency takes as long at any rate but 0.
    """

    at_ms: float
    device: str
    work: Work
    rate: float
    target: str | None = None


class Span(NamedTuple):
    """A stretch in which a device computes or sends for a job's operation."""

    job: int
    operation: int
    start_ms: float
    end_ms: float


@dataclass(frozen=True, slots=True)
class SimulationRun:
    """What happened.

    Attributes:
        end_ms: when every job ended; inf if it never did, because a device or link stands still for good.
        steps: when each operation of a job arrived and ended; inf, inf if it never ended.
        spans: every stretch of work that ended, in the order in which they did.
    """

    end_ms: tuple[float, ...]
    steps: tuple[tuple[tuple[float, float], ...], ...]
    spans: tuple[Span, ...]


def run(jobs: Sequence[SimulatedJob], rules: Rules, changes: Sequence[RateChange] = ()) -> SimulationRun:
    """Simulate ``jobs``; deterministic.

    At one instant, what ends there is finished first; then rates change, jobs and operations arrive (in job order,
    those of a job in the order of its operations), and idle servers start.

    O(n log n) for n operations (or slots), with changes O(c) more per change for c tasks under way.
    """
    return _Engine(jobs, rules, changes).run()


class _Engine:
    """The state of one simulation. A task's ticket is job x widest + operation."""

    def __init__(self, jobs: Sequence[SimulatedJob], rules: Rules, changes: Sequence[RateChange]) -> None:
        self._jobs, self._rules = jobs, rules
        self._wide = 1 + max((len(job.operations) for job in jobs), default=0)
        self._changes = sorted(changes, key=lambda change: change.at_ms)
        self._rates: defaultdict[tuple[str, Work], dict[str | None, float]] = defaultdict(dict)
        self._servers: list[Server] = []
        self._numbers: dict[tuple[str, Work], int] = {}
        self._agenda: list[tuple[float, int]] = []
        self._wake_ms: list[float] = []
        self._releases = sorted(range(len(jobs)), key=lambda index: jobs[index].release_ms)
        distinct = {id(job.operations): job.operations for job in jobs}
        orders = {key: None if is_chain(operations) else Order(operations) for key, operations in distinct.items()}
        self._orders = [orders[id(job.operations)] for job in jobs]
        self._waiting = [None if order is None else list(order.needs) for order in self._orders]
        self._left = [len(job.operations) for job in jobs]
        self._end_ms = [inf if job.operations else job.release_ms for job in jobs]
        self._steps = [[(inf, inf)] * len(job.operations) for job in jobs]
        self._arrived_ms: dict[int, float] = {}
        self._spans: list[Span] = []

    def run(self) -> SimulationRun:
        agenda, wake_ms, servers = self._agenda, self._wake_ms, self._servers
        jobs, releases, released, changed = self._jobs, self._releases, 0, 0
        while True:
            while agenda and agenda[0][0] != wake_ms[agenda[0][1]]:
                heapq.heappop(agenda)
            now_ms = agenda[0][0] if agenda else inf
            if released < len(releases):
                now_ms = min(now_ms, jobs[releases[released]].release_ms)
            if changed < len(self._changes) and (agenda or released < len(releases) or self._arrived_ms):
                now_ms = min(now_ms, self._changes[changed].at_ms)
            if now_ms == inf:
                break
            touched: list[int] = []
            arrivals: list[tuple[int, int]] = []
            while agenda and agenda[0][0] <= now_ms:
                time_ms, number = heapq.heappop(agenda)
                if time_ms == wake_ms[number]:
                    wake_ms[number] = inf
                    touched.append(number)
                    self._finish(servers[number], now_ms, arrivals)
            while changed < len(self._changes) and self._changes[changed].at_ms <= now_ms:
                self._change(self._changes[changed], now_ms, touched)
                changed += 1
            while released < len(releases) and jobs[releases[released]].release_ms <= now_ms:
                self._release(releases[released], arrivals)
                released += 1
            if len(arrivals) > 1:
                arrivals.sort()
            for index, step in arrivals:
                touched.append(self._admit(index, step, now_ms))
            for number in touched:
                server = servers[number]
                server.settle(now_ms)
                if (next_ms := server.next_ms()) != wake_ms[number]:
                    wake_ms[number] = next_ms
                    if next_ms < inf:
                        heapq.heappush(agenda, (next_ms, number))
        return SimulationRun(tuple(self._end_ms), tuple(map(tuple, self._steps)), tuple(self._spans))

    def _finish(self, server: Server, now_ms: float, arrivals: list[tuple[int, int]]) -> None:
        """Take what a server has done, and find what may be done next."""
        finished, slices = server.advance(now_ms)
        for entry in slices:
            self._spans.append(Span(*divmod(entry.ticket, self._wide), entry.start_ms, entry.end_ms))
        for ticket in finished:
            job, step = divmod(ticket, self._wide)
            self._steps[job][step] = self._arrived_ms.pop(ticket), now_ms
            self._left[job] -= 1
            if not self._left[job]:
                self._end_ms[job] = now_ms
            order, waiting = self._orders[job], self._waiting[job]
            if order is None or waiting is None:
                if self._left[job]:
                    arrivals.append((job, step + 1))
                continue
            for follower in order.followers[step]:
                waiting[follower] -= 1
                if not waiting[follower]:
                    arrivals.append((job, follower))

    def _release(self, index: int, arrivals: list[tuple[int, int]]) -> None:
        waiting = self._waiting[index]
        if waiting is not None:
            arrivals += [(index, step) for step, needs in enumerate(waiting) if not needs]
        elif self._left[index]:
            arrivals.append((index, 0))

    def _admit(self, index: int, step: int, now_ms: float) -> int:
        """Hand an operation to its server; return the server's number."""
        job = self._jobs[index]
        operation, ticket = job.operations[step], index * self._wide + step
        self._arrived_ms[ticket] = now_ms
        number = self._number(operation, now_ms)
        self._servers[number].arrive(
            Task(ticket, operation.duration_ms, job.deadline_ms, operation.latency_ms, operation.target), now_ms
        )
        return number

    def _change(self, change: RateChange, now_ms: float, touched: list[int]) -> None:
        resource = change.device, change.work
        self._rates[resource][change.target] = change.rate
        number = self._numbers.get(resource)
        if number is not None:
            self._servers[number].set_rate(change.rate, now_ms, change.target)
            touched.append(number)

    def _number(self, operation: Operation, now_ms: float) -> int:
        resource = operation.device, operation.work
        number = self._numbers.get(resource)
        if number is None:
            discipline, background = QueueDiscipline.FIFO, 0
            if operation.work is Work.COMPUTE:
                discipline = self._rules.disciplines.get(operation.device, discipline)
                background = self._rules.background.get(operation.device, 0)
            server = make_server(discipline, quantum_ms=self._rules.quantum_ms, background=background)
            for target, rate in self._rates[resource].items():
                server.set_rate(rate, now_ms, target)
            number = self._numbers[resource] = len(self._servers)
            self._servers.append(server)
            self._wake_ms.append(inf)
        return number
