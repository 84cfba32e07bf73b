import asyncio
import threading
import time
from functools import partial

import pytest

from services.executor.segments.compute_queue import Ticket
from services.executor.segments.processor import Processor
from shared.policy import QueueDiscipline

T = Ticket("s")


class Gate:
    """A job that says when it has begun, and ends when it may."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_end = threading.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self) -> None:
        self._loop.call_soon_threadsafe(self.begun.set)
        self.may_end.wait(20)


async def test_jobs_run_off_the_event_loop_one_at_a_time() -> None:
    async with Processor.open() as processor:
        done = await asyncio.gather(*(processor.run(threading.get_ident, T) for _ in range(5)))
    assert len({result.value for result in done}) == 1
    assert done[0].value != threading.get_ident()


async def test_a_brief_job_runs_on_the_event_loop_unless_another_runs_or_waits() -> None:
    gate = Gate()
    async with asyncio.timeout(20), Processor.open() as processor, asyncio.TaskGroup() as group:
        alone = await processor.run(threading.get_ident, T, is_brief=True)
        assert (alone.value, alone.queue_ms) == (threading.get_ident(), 0.0)
        group.create_task(processor.run(gate, T))
        await gate.begun.wait()
        behind = group.create_task(processor.run(threading.get_ident, T, is_brief=True))
        await asyncio.sleep(0)
        assert processor.waiting == 1
        gate.may_end.set()
        assert (await behind).value != threading.get_ident()
        emulated = await processor.run(
            threading.get_ident, T, nominal_ms=lambda measured_ms: measured_ms, is_brief=True
        )
        assert emulated.value != threading.get_ident()


async def test_a_jobs_error_comes_out_and_the_next_runs() -> None:
    def fail() -> None:
        raise ValueError("no")

    async with Processor.open() as processor:
        with pytest.raises(ValueError, match="no"):
            await processor.run(fail, T)
        assert (await processor.run(lambda: 7, T)).value == 7


async def test_the_discipline_decides_among_those_that_wait() -> None:
    gate = Gate()
    order: list[str] = []
    async with asyncio.timeout(20), Processor.open() as processor, asyncio.TaskGroup() as group:
        group.create_task(processor.run(gate, T))
        await gate.begun.wait()
        for name, expected_ms in (("long", 9.0), ("short", 1.0), ("middle", 5.0)):
            group.create_task(
                processor.run(
                    partial(order.append, name),
                    Ticket("s", expected_ms),
                    discipline=QueueDiscipline.SHORTEST_JOB_FIRST,
                )
            )
        await asyncio.sleep(0)
        assert processor.waiting == 3
        gate.may_end.set()
    assert order == ["short", "middle", "long"]


async def test_an_emulated_job_lasts_as_long_as_it_should() -> None:
    async with Processor.open() as processor:
        started_s = time.monotonic()
        done = await processor.run(lambda: None, T, nominal_ms=lambda took_ms: took_ms + 50.0)
        assert time.monotonic() - started_s >= 0.05
    assert done.compute_ms >= 50.0


async def test_an_abandoned_job_is_not_begun() -> None:
    gate = Gate()
    ran: list[int] = []
    async with asyncio.timeout(20), Processor.open() as processor, asyncio.TaskGroup() as group:
        group.create_task(processor.run(gate, T))
        waiting = asyncio.ensure_future(processor.run(lambda: ran.append(1), T))
        await gate.begun.wait()
        assert processor.waiting == 1
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        gate.may_end.set()
        group.create_task(processor.run(lambda: ran.append(2), T))
    assert ran == [2]


async def test_leaving_ends_an_emulated_pause() -> None:
    async with asyncio.timeout(20):
        gate = Gate()
        gate.may_end.set()
        async with Processor.open() as processor:
            job = asyncio.ensure_future(processor.run(gate, T, nominal_ms=lambda took_ms: 1e9))
            await gate.begun.wait()
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
