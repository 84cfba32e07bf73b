"""A timer with the kernel's resolution, which can be woken early.

asyncio rounds its timers up to the next millisecond (the resolution of `epoll_wait`). The rounding is a bias and not
noise: waits of 10.2 ms and of 10.9 ms both take 11 ms. An emulated link would be slower for some sizes than for others.
On Linux a timerfd wakes the event loop instead.
"""

import asyncio
import ctypes
import math
import os
import time
from collections.abc import Callable
from functools import cache, partial


class WakeableTimer:
    """Waits for a time or for `wake`, whichever comes first. Belongs to the event loop in which it was made."""

    def __init__(self) -> None:
        """Make a timer. Call it in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._waiting: set[asyncio.Future[None]] = set()

    def wake(self) -> None:
        """End all waits that have begun."""
        for waiting in self._waiting:
            _settle(waiting)

    async def wait_until(self, at_s: float) -> None:
        """Wait until a time on the event loop's clock (infinity for none), or until `wake` is called."""
        delay_s = at_s - self._loop.time()
        if delay_s <= 0:
            return
        waiting: asyncio.Future[None] = self._loop.create_future()
        self._waiting.add(waiting)
        disarm = _arm(self._loop, delay_s, partial(_settle, waiting))
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)
            disarm()


def _settle(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


def _arm(loop: asyncio.AbstractEventLoop, delay_s: float, call: Callable[[], None]) -> Callable[[], None]:
    """Arrange for a call after a delay, and return the function that cancels it."""
    if math.isinf(delay_s):
        # Only `wake` ends such a wait.
        return lambda: None
    descriptor = _kernel_timer(delay_s)
    if descriptor is None:
        return loop.call_later(delay_s, call).cancel
    # The descriptor stays readable until it is closed; `disarm` runs right after `call`.
    loop.add_reader(descriptor, call)

    def disarm() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)

    return disarm


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _TimerSpec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


@cache
def _timer_calls() -> tuple[Callable[..., int], Callable[..., int]] | None:
    try:
        libc = ctypes.CDLL(None)
        # Python has `os.timerfd_create` from 3.13 on.
        return libc.timerfd_create, libc.timerfd_settime
    except (OSError, AttributeError, TypeError):
        return None


def _kernel_timer(delay_s: float) -> int | None:
    """Return a descriptor that becomes readable after a delay; None where there is no timerfd (other than Linux)."""
    if (calls := _timer_calls()) is None:
        return None
    create, start = calls
    descriptor: int = create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        return None
    # A value of zero would disarm the timer: timerfd_settime(2).
    seconds, nanoseconds = divmod(max(1, math.ceil(delay_s * 1e9)), 10**9)
    setting = _TimerSpec(_Timespec(0, 0), _Timespec(seconds, nanoseconds))
    if start(descriptor, 0, ctypes.byref(setting), None) != 0:
        os.close(descriptor)
        return None
    return descriptor
