"""Waits end at their time or when the timer is woken, and leave nothing behind."""

import asyncio
import math
import os

import pytest

from shared.bus import timer
from shared.bus.timer import WakeableTimer


@pytest.fixture(params=["kernel", "asyncio"])
async def timer_under_test(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> WakeableTimer:
    """A timer with the kernel's timers, and one as it is where there are none."""
    if request.param == "asyncio":
        monkeypatch.setattr(timer, "_kernel_timer", lambda _: None)
    return WakeableTimer()


async def test_no_wait_ends_before_its_time(timer_under_test: WakeableTimer) -> None:
    clock = asyncio.get_running_loop()
    for delay_s in (0.0, 1e-9, 1e-6, 0.0004, 0.0102, 0.0109):
        at_s = clock.time() + delay_s
        async with asyncio.timeout(10):
            await timer_under_test.wait_until(at_s)
        # asyncio's timers may be early by the resolution of its clock.
        assert clock.time() >= at_s - 1e-6


async def test_a_time_that_has_passed_or_a_wait_without_delay_ends_at_once(timer_under_test: WakeableTimer) -> None:
    await timer_under_test.wait_until(-math.inf)
    await timer_under_test.wait_until(asyncio.get_running_loop().time() - 1.0)


@pytest.mark.parametrize("delay_s", [3600.0, math.inf])
async def test_waking_ends_all_waits_of_that_moment(timer_under_test: WakeableTimer, delay_s: float) -> None:
    at_s = asyncio.get_running_loop().time() + delay_s
    waits = [asyncio.create_task(timer_under_test.wait_until(at_s)) for _ in range(3)]
    await asyncio.sleep(0)
    timer_under_test.wake()
    async with asyncio.timeout(10):
        await asyncio.gather(*waits)
    late = asyncio.create_task(timer_under_test.wait_until(at_s))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not late.done()
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late


async def test_waits_leave_no_descriptor_behind(timer_under_test: WakeableTimer) -> None:
    at_s = asyncio.get_running_loop().time() + 3600.0
    before = len(os.listdir("/proc/self/fd"))
    cancelled = [asyncio.create_task(timer_under_test.wait_until(at_s)) for _ in range(20)]
    woken = [asyncio.create_task(timer_under_test.wait_until(at_s)) for _ in range(20)]
    await asyncio.sleep(0)
    for wait in cancelled:
        wait.cancel()
    timer_under_test.wake()
    async with asyncio.timeout(10):
        await asyncio.gather(*cancelled, *woken, return_exceptions=True)
        await timer_under_test.wait_until(asyncio.get_running_loop().time() + 0.001)
    assert len(os.listdir("/proc/self/fd")) == before
