"""Bound of the feature maps on a device."""

import asyncio

from services.executor.admission import Admission


async def test_admission_is_bounded_by_number_and_size_but_one_always_fits() -> None:
    admission = Admission(max_tasks=2, max_bytes=100)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        await admission.enter(1000)
        waiting = group.create_task(admission.enter(60))
        await asyncio.sleep(0)
        assert not waiting.done()
        admission.leave(1000)
        await waiting
        await admission.enter(40)
        third = group.create_task(admission.enter(0))
        drained = group.create_task(admission.drain())
        await asyncio.sleep(0)
        assert not third.done()
        admission.leave(60)
        await third
        admission.leave(40)
        assert not drained.done()
        admission.leave(0)
        await drained


async def test_nothing_overtakes_what_waits_for_admission() -> None:
    admission = Admission(max_tasks=3, max_bytes=100)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        assert admission.enter_now(60)
        large = group.create_task(admission.enter(70))
        await asyncio.sleep(0)
        # It would fit, but the large one would starve behind a stream of small ones.
        assert not admission.enter_now(10)
        admission.leave(60)
        await large
        assert admission.enter_now(30)
        assert not admission.enter_now(1)
