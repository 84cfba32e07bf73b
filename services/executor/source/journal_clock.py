"""A clock for ages in the journal, which goes on across restarts of the process and is not set with the wall clock."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# New at every start of the machine; the monotonic clock begins with it. Linux has this file.
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class ClockBase:
    """The journal's clock during one run of the machine.

    Attributes:
        boot: id of the machine's start; empty if it is not known.
        ahead_s: the journal's time minus the monotonic clock.
    """

    boot: str
    ahead_s: float

    def now_s(self) -> float:
        """Return the journal's present time, in seconds since 1970 by the wall clock of its first start."""
        return time.monotonic() + self.ahead_s


def continued(stored: ClockBase | None, boot: str, monotonic_s: float, wall_s: float, newest_s: float) -> ClockBase:
    """Return the clock of a process that opens a journal.

    Within one run of the machine the journal's time follows the monotonic clock, so that setting the wall clock changes
    no age. After a start of the machine only the wall clock tells how long it was off. If it is behind the journal, it
    is wrong, and the journal's time goes on where it ended.

    Args:
        stored: clock of the process before; None for a new journal.
        boot: id of this start of the machine; empty if it is not known.
        monotonic_s: monotonic clock.
        wall_s: wall clock.
        newest_s: the newest time in the journal; 0 if it is empty.
    """
    if stored is not None and boot and stored.boot == boot:
        return stored
    return ClockBase(boot, max(wall_s, newest_s) - monotonic_s)


def read_boot_id() -> str:
    """Return the id of the machine's start; empty where there is none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
