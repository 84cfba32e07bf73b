"""Time limits of calls into ONNX Runtime, which may compute for ever what a file tells it to."""

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, NoReturn, TypeVar

Value = TypeVar("Value")

# Of a run, or of the creation of a session, whose operations are few.
BASE_LIMIT_S: Final = 60.0
# A bound for every model, whatever operations it declares.
_MAX_LIMIT_S: Final = 600.0
# A tenth of what small computers reach, so that a busy one has time enough.
_SLOW_FLOPS_PER_S: Final = 1e9
# Between the order to stop and giving up. The runtime reads the order between two operators only.
_GRACE_S: Final = 5.0


class TimeLimitExceeded(Exception):
    """A call was given up: it goes on in a thread of its own until it ends."""


def limit_for(flops: float, base_s: float = BASE_LIMIT_S) -> float:
    """Return the time limit of one run, in s, of a model with that many floating-point operations."""
    return min(_MAX_LIMIT_S, base_s + flops / _SLOW_FLOPS_PER_S)


@dataclass(eq=False, slots=True)
class WatchedCall:
    """A call under a time limit.

    Attributes:
        stop: called once by the watching thread when the limit is over; it has to return at once.
        end_s: end of the limit (monotonic).
        is_over: whether `stop` was called.
    """

    stop: Callable[[], None]
    end_s: float
    is_over: bool = False


@dataclass(slots=True)
class Watchdog:
    """One thread that watches the calls of a process. Beginning and ending a watch take microseconds.

    Time in which the process does not run, after SIGSTOP for example, does not count. `_change` guards all fields.

    Attributes:
        tick_s: interval of its looks while there are watches.
    """

    tick_s: float = 1.0
    _change: threading.Condition = field(default_factory=threading.Condition, init=False)
    _watches: set[WatchedCall] = field(default_factory=set, init=False)
    _wakes_s: float = field(default=math.inf, init=False)
    _is_started: bool = field(default=False, init=False)

    @contextmanager
    def watch(self, limit_s: float, stop: Callable[[], None]) -> Iterator[WatchedCall]:
        """Call `stop` if the block of the `with` statement has not ended after `limit_s`, never after its end."""
        watch = WatchedCall(stop, time.monotonic() + limit_s)
        with self._change:
            if not self._is_started:
                threading.Thread(target=self._run, name="watchdog", daemon=True).start()
                self._is_started = True
            self._watches.add(watch)
            if watch.end_s < self._wakes_s:
                self._change.notify()
        try:
            yield watch
        finally:
            with self._change:
                self._watches.discard(watch)

    def _run(self) -> None:
        with self._change:
            while True:
                now_s = time.monotonic()
                if (late_s := now_s - self._wakes_s) > self.tick_s:
                    for watch in self._watches:
                        watch.end_s += late_s
                for watch in [watch for watch in self._watches if watch.end_s <= now_s]:
                    self._watches.discard(watch)
                    watch.is_over = True
                    watch.stop()
                next_s = min((watch.end_s for watch in self._watches), default=math.inf)
                self._wakes_s = min(next_s, now_s + self.tick_s) if self._watches else math.inf
                self._change.wait(None if math.isinf(self._wakes_s) else max(0.0, self._wakes_s - now_s))


WATCHDOG: Final = Watchdog()
# Threads of calls that were given up, or whose caller was interrupted.
_GIVEN_UP: Final[list[threading.Thread]] = []


def end_process(status: int | str | None) -> NoReturn:
    """End the process as `sys.exit` does, also while a call still computes of which nobody awaits the end."""
    if not any(thread.is_alive() for thread in _GIVEN_UP):
        sys.exit(status)
    if isinstance(status, str):
        sys.stderr.write(f"{status}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    # Without Python's shutdown: an operator that returned in the middle of it would abort the process.
    os._exit(int(status is not None) if isinstance(status, str | None) else status)


def call_apart(work: Callable[[], Value], limit_s: float, *, grace_s: float = _GRACE_S) -> Value:
    """Call `work`, which ends by itself after `limit_s`, in a thread of its own, and give it up if it does not.

    Raises:
        TimeLimitExceeded: it has not ended `grace_s` after the limit. The thread is a daemon, so it keeps no process
            from ending.
    """
    future: Future[Value] = Future()
    ended = threading.Event()

    def call() -> None:
        try:
            value = work()
        except BaseException as error:
            ended.set()
            with suppress(InvalidStateError):
                future.set_exception(error)
        else:
            ended.set()
            with suppress(InvalidStateError):
                future.set_result(value)

    thread = threading.Thread(target=call, name="apart", daemon=True)

    def give_up() -> None:
        with suppress(InvalidStateError):
            future.set_exception(TimeLimitExceeded(f"it did not end within {limit_s:.3g} s"))

    with WATCHDOG.watch(limit_s + grace_s, give_up):
        try:
            thread.start()
            return future.result()
        finally:
            if not ended.is_set():
                _GIVEN_UP.append(thread)
