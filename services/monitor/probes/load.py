"""How much slower than idle the device computes when no segment runs that would tell.

A short computation alone sees a throttled clock, but not a full run queue: the scheduler lets a task that has slept go
first (2 ms took 2 ms beside six busy loops on two cores). So the runnable tasks are counted as well.
"""

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

LOADAVG = Path("/proc/loadavg")
_BLOCK = bytes(64 * 1024)
_TARGET_MS = 2.0
_COUNTS = 5
_COUNT_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True)
class LoadSample:
    """The fixed computation, then and now.

    Attributes:
        measured_ms: what it takes now, or would take with its turn in the run queue.
        idle_ms: the least it ever took.
    """

    measured_ms: float
    idle_ms: float


class LoadProbe:
    """A fixed computation of about two milliseconds. Blocking: to be called from a thread, always the same."""

    def __init__(self, *, threads: int = 1, emulated: bool = False, loadavg: Path = LOADAVG) -> None:
        """Make a probe that calibrates itself with its first sample.

        Args:
            threads: threads that a segment would use.
            emulated: other processes of this machine are not the device's load, so only the probe's own
                processor time counts.
            loadavg: where the kernel says how many tasks are runnable.
        """
        self._threads = threads
        self._emulated = emulated
        self._loadavg = loadavg
        self._cores = os.cpu_count() or 1
        self._blocks = 0
        self._idle_ms = 0.0

    def sample(self) -> LoadSample:
        """Compute once, count the run queue, and compare with the idle device."""
        if not self._blocks:
            self._calibrate()
        measured_ms = self._time_ms(self._blocks)
        self._idle_ms = min(self._idle_ms, measured_ms)
        queue = 1.0 if self._emulated else self._run_queue()
        return LoadSample(max(measured_ms, self._idle_ms * queue), self._idle_ms)

    def _calibrate(self) -> None:
        per_block_ms = min(self._time_ms(4) for _ in range(5)) / 4
        self._blocks = max(1, round(_TARGET_MS / per_block_ms))
        self._idle_ms = min(self._time_ms(self._blocks) for _ in range(5))

    def _time_ms(self, blocks: int) -> float:
        clock = time.thread_time if self._emulated else time.perf_counter
        started_s = clock()
        digest = hashlib.sha256()
        for _ in range(blocks):
            digest.update(_BLOCK)
        return max(1000 * (clock() - started_s), 1e-3)

    def _run_queue(self) -> float:
        """Return how often the cores are wanted at the same time if a segment ran as well, at least 1."""
        others: list[int] = []
        for _ in range(_COUNTS):
            if (runnable := runnable_tasks(self._loadavg)) is None:
                return 1.0
            others.append(max(0, runnable - 1))
            time.sleep(_COUNT_PAUSE_S)
        return max(1.0, (sum(others) / len(others) + self._threads) / self._cores)


def runnable_tasks(loadavg: Path = LOADAVG) -> int | None:
    """Return how many tasks run or wait for a core now, the caller included; none where the kernel does not say."""
    try:
        return int(loadavg.read_text(encoding="ascii").split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return None
