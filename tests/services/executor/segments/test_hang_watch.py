import asyncio
import threading
import time

import pytest

from services.executor.segments.compute_queue import Ticket
from services.executor.segments.hang_watch import HangWatch
from services.executor.segments.processor import Processor
from shared.exit_status import ServiceFailed


async def test_a_job_that_stays_beyond_its_limit_ends_the_process() -> None:
    begun, may_end = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def endless() -> None:
        loop.call_soon_threadsafe(begun.set)
        may_end.wait(20)

    async with asyncio.timeout(20), Processor.open() as processor:
        watch = HangWatch(processor)
        job = asyncio.ensure_future(processor.run(endless, Ticket("s"), limit_s=100.0))
        await begun.wait()
        now_s = time.monotonic()
        for _ in range(10):
            watch.look(now_s)
        # A process that was stopped for long: the job ends soon after.
        for _ in range(4):
            watch.look(now_s + 101.0)
        watch.look(now_s)
        for _ in range(4):
            watch.look(now_s + 101.0)
        with pytest.raises(ServiceFailed, match="computes without end"):
            watch.look(now_s + 101.0)
        may_end.set()
        await job
        for _ in range(10):
            watch.look(now_s + 1000.0)
