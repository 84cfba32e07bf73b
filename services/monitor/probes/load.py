"""Slowdown of a fixed computation, measured while no segment runs that would show it.

A short computation shows a throttled clock but not a full run queue, because the scheduler prefers a task that has
slept. For example, 2 ms of work took 2 ms beside six busy loops on two cores. The probe therefore counts the runnable
tasks too.
"""

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOADAVG: Final = Path("/proc/loadavg")
_BLOCK: Final = bytes(64 * 1024)
_TARGET_MS: Final = 2.0
# The run queue changes within milliseconds, so several counts are averaged.
_COUNTS: Final = 5
_COUNT_PAUSE_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class LoadSample:
    """The fixed computation now and on the idle device.

    Attributes:
        measured_ms: time that it takes now, the wait in the run queue included.
        idle_ms: the shortest time so far.
    """

    measured_ms: float
    idle_ms: float


class LoadProbe:
    """A fixed computation of about two milliseconds. It blocks: call it from a thread, always the same."""

    def __init__(self, *, threads: int = 1, emulated: bool = False, loadavg: Path = LOADAVG) -> None:
        """Make a probe that calibrates itself with its first sample.

        Args:
            threads: threads that a segment would use.
            emulated: whether other emulated devices share the machine; only the probe's own processor time counts
                then.
            loadavg: file in which the kernel counts the runnable tasks.
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
        """Return the demand for cores over their number if a segment ran as well, at least 1."""
        others: list[int] = []
        for _ in range(_COUNTS):
            if (runnable := runnable_tasks(self._loadavg)) is None:
                return 1.0
            # The kernel counts this thread too.
            others.append(max(0, runnable - 1))
            time.sleep(_COUNT_PAUSE_S)
        return max(1.0, (sum(others) / len(others) + self._threads) / self._cores)


def runnable_tasks(loadavg: Path = LOADAVG) -> int | None:
    """Return the number of tasks that run or wait for a core, the caller included; none if the file has none."""
    try:
        return int(loadavg.read_text(encoding="ascii").split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return None
