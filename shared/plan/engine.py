"""The event loop of the simulation: jobs of operations over computing and sending servers."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

from shared.plan.pipeline import Operation, Work
from shared.plan.policy import QueueDiscipline
from shared.plan.servers import Server, Slice, Task, make_server


@dataclass(frozen=True, slots=True)
class Job:
    """A request to simulate: what it does, in order, and when it arrives. ``deadline_ms`` is absolute."""

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
class Span:
    """A stretch in which a device computes or sends for a job's operation."""

    job: int
    operation: int
    start_ms: float
    end_ms: float


@dataclass(frozen=True, slots=True)
class Run:
    """What happened: when every job ended, when each of its operations arrived and ended, and every span."""

    end_ms: tuple[float, ...]
    steps: tuple[tuple[tuple[float, float], ...], ...]
    spans: tuple[Span, ...]


def run(jobs: Sequence[Job], rules: Rules) -> Run:
    """Simulate ``jobs``; deterministic. Arrivals at the same instant are taken in job order.

    O(n (log n + R)) for n operations (or slots) over R servers.
    """
    return _Engine(jobs, rules).run()


class _Engine:
    """The state of one simulation. A task's ticket is job x widest + operation."""

    def __init__(self, jobs: Sequence[Job], rules: Rules) -> None:
        self._jobs, self._rules = jobs, rules
        self._wide = 1 + max((len(job.operations) for job in jobs), default=0)
        self._servers: dict[tuple[str, Work], Server] = {}
        self._ready = [(job.release_ms, index, 0) for index, job in enumerate(jobs)]
        heapq.heapify(self._ready)
        self._end_ms = [job.release_ms for job in jobs]
        self._steps: list[list[tuple[float, float]]] = [[] for _ in jobs]
        self._arrived_ms: dict[int, float] = {}
        self._spans: list[Span] = []

    def run(self) -> Run:
        while True:
            upcoming = min((server.next_ms() for server in self._servers.values()), default=inf)
            now_ms = min(upcoming, self._ready[0][0] if self._ready else inf)
            if now_ms == inf:
                break
            self._finish(now_ms)
            self._admit(now_ms)
            for server in self._servers.values():
                server.settle(now_ms)
        return Run(tuple(self._end_ms), tuple(map(tuple, self._steps)), tuple(self._spans))

    def _finish(self, now_ms: float) -> None:
        for server in self._servers.values():
            finished, slices = server.advance(now_ms)
            self._spans += [self._span(entry) for entry in slices]
            for ticket in finished:
                job, operation = divmod(ticket, self._wide)
                self._steps[job].append((self._arrived_ms.pop(ticket), now_ms))
                heapq.heappush(self._ready, (now_ms, job, operation + 1))

    def _admit(self, now_ms: float) -> None:
        while self._ready and self._ready[0][0] <= now_ms:
            _, index, step = heapq.heappop(self._ready)
            job = self._jobs[index]
            if step == len(job.operations):
                self._end_ms[index] = now_ms
                continue
            operation, ticket = job.operations[step], index * self._wide + step
            self._arrived_ms[ticket] = now_ms
            self._server(operation).arrive(Task(ticket, operation.duration_ms, job.deadline_ms), now_ms)

    def _server(self, operation: Operation) -> Server:
        server = self._servers.get(operation.resource)
        if server is None:
            discipline, background = QueueDiscipline.FIFO, 0
            if operation.work is Work.COMPUTE:
                discipline = self._rules.disciplines.get(operation.device, discipline)
                background = self._rules.background.get(operation.device, 0)
            server = make_server(discipline, quantum_ms=self._rules.quantum_ms, background=background)
            self._servers[operation.resource] = server
        return server

    def _span(self, entry: Slice) -> Span:
        job, operation = divmod(entry.ticket, self._wide)
        return Span(job, operation, entry.start_ms, entry.end_ms)
