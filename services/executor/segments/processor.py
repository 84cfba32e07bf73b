"""The compute thread of a device: runs jobs in the order of the queue discipline, slowed down if emulated."""

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Self, TypeVar

from services.executor.segments.compute_queue import ComputeQueue, Ticket
from shared.policy import QueueDiscipline

Value = TypeVar("Value")

_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class ProcessorResult(Generic[Value]):
    """Return value and times of a job.

    Attributes:
        value: return value.
        queue_ms: waiting time; 0 for a job that ran in the calling thread.
        compute_ms: computing time, the pause of an emulated device included.
        cpu_ms: processor time of the thread that computed.
    """

    value: Value
    queue_ms: float
    compute_ms: float
    cpu_ms: float = 0.0


# Takes the result of a job, or its exception and no result.
Settle = Callable[[ProcessorResult[Any] | None, BaseException | None], None]


@dataclass(eq=False, slots=True)
class _Job:
    work: Callable[[], Any]
    nominal_ms: Callable[[float], float] | None
    settle: Settle
    queued_s: float
    limit_s: float = math.inf
    abandoned: bool = False


@dataclass(slots=True)
class Processor:
    """Computes one job at a time, off the event loop unless it is brief. Open it with `Processor.open`.

    There is one thread, because the engine parallelises inside a job. Two concurrent jobs would share the cores, and
    neither could be timed. `_change` guards the queue, which the event loop fills and the thread empties, and
    `_is_computing`.
    """

    _queue: ComputeQueue[_Job] = field(default_factory=ComputeQueue, init=False)
    _change: threading.Condition = field(default_factory=threading.Condition, init=False)
    _stopping: threading.Event = field(default_factory=threading.Event, init=False)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop, init=False)
    _is_computing: bool = field(default=False, init=False)
    # When the job on the thread has to end at the latest (monotonic); infinity between jobs.
    _end_s: float = field(default=math.inf, init=False)

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        """Start the thread; at the end of the block wait for the running job and drop those that wait."""
        processor = cls()
        # A daemon: a job that hangs in the engine must not keep the process from ending.
        thread = threading.Thread(target=processor._work, name="compute", daemon=True)
        thread.start()
        try:
            yield processor
        finally:
            processor._stopping.set()
            with processor._change:
                processor._change.notify_all()
            await asyncio.shield(asyncio.to_thread(thread.join, _STOP_TIMEOUT_S))

    @property
    def waiting(self) -> int:
        """Number of waiting jobs."""
        return len(self._queue)

    def overdue_s(self, now_s: float) -> float:
        """Return for how long the running job has exceeded its limit; 0 if it has not.

        An operator that never returns cannot be interrupted, and no other job runs before it does.
        """
        return max(0.0, now_s - self._end_s)

    async def run(
        self,
        work: Callable[[], Value],
        ticket: Ticket,
        *,
        discipline: QueueDiscipline | None = None,
        nominal_ms: Callable[[float], float] | None = None,
        is_brief: bool = False,
        limit_s: float = math.inf,
    ) -> ProcessorResult[Value]:
        """Queue a job, wait for it, and return its value. The caller bounds the number of waiting jobs.

        Args:
            work: the job; its exceptions are raised here.
            ticket: properties that the queue discipline compares.
            discipline: discipline of the device from now on; None to keep the present one.
            nominal_ms: emulation: maps the measured computing time to the emulated one, in ms.
            is_brief: the job takes less than the two changes of thread, some 0.3 ms. It runs on the event loop if no
                other job waits or runs.
            limit_s: longest time that the job may compute before `overdue_s` tells of it.
        """
        if is_brief and nominal_ms is None and self._is_idle():
            return _computed(work)
        future: asyncio.Future[ProcessorResult[Value]] = self._loop.create_future()
        job = self._push(
            _Job(work, nominal_ms, partial(_resolve, future), time.monotonic(), limit_s), ticket, discipline
        )
        try:
            return await future
        finally:
            # A cancelled job that still waits is skipped; one that runs cannot be interrupted.
            job.abandoned = True

    def submit(
        self,
        work: Callable[[], Value],
        ticket: Ticket,
        settle: Settle,
        *,
        discipline: QueueDiscipline | None = None,
        nominal_ms: Callable[[float], float] | None = None,
        is_brief: bool = False,
        limit_s: float = math.inf,
    ) -> None:
        """Queue a job and return; `settle` is called on the event loop, for a brief job before this returns.

        The other arguments are those of `run`.
        """
        if is_brief and nominal_ms is None and self._is_idle():
            try:
                done = _computed(work)
            except Exception as error:
                settle(None, error)
            else:
                settle(done, None)
            return
        self._push(_Job(work, nominal_ms, settle, time.monotonic(), limit_s), ticket, discipline)

    def _push(self, job: _Job, ticket: Ticket, discipline: QueueDiscipline | None) -> _Job:
        with self._change:
            if discipline is not None:
                self._queue.discipline = discipline
            self._queue.push(job, ticket)
            self._change.notify()
        return job

    def _is_idle(self) -> bool:
        # Only the event loop adds jobs: what is idle now stays so until it does.
        with self._change:
            return not self._queue and not self._is_computing

    def _work(self) -> None:
        while (job := self._next()) is not None:
            self._compute(job)

    def _next(self) -> _Job | None:
        with self._change:
            while not self._queue and not self._stopping.is_set():
                self._change.wait()
            if self._stopping.is_set():
                return None
            self._is_computing = True
            return self._queue.pop()

    def _compute(self, job: _Job) -> None:
        if job.abandoned:
            self._settle(job, None, None)
            return
        started_s, cpu_s = time.monotonic(), time.thread_time()
        self._end_s = started_s + job.limit_s
        try:
            value = job.work()
        except BaseException as error:
            # Every exception is passed to the caller: raised here, it would end the thread and with it all computing.
            self._settle(job, None, error)
            return
        finally:
            self._end_s = math.inf
        cpu_ms = 1000 * (time.thread_time() - cpu_s)
        if job.nominal_ms is not None:
            # A sleep to the nominal end is precise to 0.1 ms; CPU quotas and priorities are not.
            end_s = started_s + job.nominal_ms(1000 * (time.monotonic() - started_s)) / 1000
            self._stopping.wait(max(0.0, end_s - time.monotonic()))
        compute_ms = 1000 * (time.monotonic() - started_s)
        self._settle(job, ProcessorResult(value, 1000 * (started_s - job.queued_s), compute_ms, cpu_ms), None)

    def _settle(self, job: _Job, done: ProcessorResult[Any] | None, error: BaseException | None) -> None:
        # Before the caller goes on, whose next job may be brief.
        with self._change:
            self._is_computing = False
        with contextlib.suppress(RuntimeError):  # The loop is closed: the caller is gone.
            self._loop.call_soon_threadsafe(job.settle, done, error)


def _computed(work: Callable[[], Value]) -> ProcessorResult[Value]:
    """Run a job in this thread."""
    started_s, cpu_s = time.monotonic(), time.thread_time()
    value = work()
    cpu_ms = 1000 * (time.thread_time() - cpu_s)
    return ProcessorResult(value, 0.0, 1000 * (time.monotonic() - started_s), cpu_ms)


def _resolve(
    future: "asyncio.Future[ProcessorResult[Value]]", done: ProcessorResult[Value] | None, error: BaseException | None
) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    elif done is not None:
        future.set_result(done)
