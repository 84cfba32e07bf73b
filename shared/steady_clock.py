"""A clock for durations within a process that people can read: it begins at the wall clock, and is never set."""

import logging
import time
from collections.abc import Callable
from typing import Final

_LOGGER = logging.getLogger(__name__)

# Differences below it come from slow adjustments, as NTP makes them.
_SET_S: Final = 30.0


class SteadyClock:
    """The wall clock at the start of the process, plus the monotonic time since then."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin at the wall clock's present time."""
        self._wall = wall
        self._monotonic = monotonic
        self._ahead_s = wall() - monotonic()
        self._told_s = 0.0

    def now_s(self) -> float:
        """Return the time in seconds since 1970."""
        return self._monotonic() + self._ahead_s

    def warn_when_set(self) -> None:
        """Log once for each time that the machine's wall clock is set."""
        set_by_s = self._wall() - self.now_s()
        if abs(set_by_s - self._told_s) > _SET_S:
            self._told_s = set_by_s
            _LOGGER.warning(
                "this machine's clock was set by %+.0f s; the times that this process states go on from its old clock "
                "until it is started again",
                set_by_s,
            )
