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
STAT: Final = Path("/proc/stat")
# A core that others keep busier than this may have more tasks waiting than run.
_CROWDED: Final = 0.8
_BLOCK: Final = bytes(64 * 1024)
_TARGET_MS: Final = 1.0
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
    """A fixed computation of about a millisecond. It blocks: call it from a thread, always the same."""

    def __init__(
        self,
        *,
        threads: int = 1,
        emulated: bool = False,
        loadavg: Path = LOADAVG,
        stat: Path = STAT,
        cores: frozenset[int] | None = None,
    ) -> None:
        """Make a probe that calibrates itself with its first sample.

        Args:
            threads: threads that a segment would use.
            emulated: whether other emulated devices share the machine; only the probe's own processor time counts
                then.
            loadavg: file in which the kernel counts the runnable tasks of all cores.
            stat: file in which it adds up how long each core was busy.
            cores: numbers of the cores that the device may use; None for those of this process.
        """
        self._threads = threads
        self._emulated = emulated
        self._loadavg = loadavg
        self._stat = stat
        self._cores = frozenset(os.sched_getaffinity(0)) if cores is None else cores
        self._is_confined = len(self._cores) < (os.cpu_count() or 1)
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
        others = self._confined_tasks() if self._is_confined else None
        if others is None:
            others = self._runnable_tasks()
        return 1.0 if others is None else max(1.0, (others + self._threads) / len(self._cores))

    def _runnable_tasks(self) -> float | None:
        """Return how many other tasks run or wait on all cores of the machine, scaled to those of this device."""
        others: list[int] = []
        for _ in range(_COUNTS):
            if (runnable := runnable_tasks(self._loadavg)) is None:
                return None
            # The kernel counts this thread too.
            others.append(max(0, runnable - 1))
            time.sleep(_COUNT_PAUSE_S)
        return sum(others) / len(others) * len(self._cores) / max(len(self._cores), os.cpu_count() or 1)

    def _confined_tasks(self) -> float | None:
        """Return how many tasks keep the cores of this device busy; None if they may be more than there are cores."""
        before, started_s = busy_s(self._cores, self._stat), time.monotonic()
        time.sleep(_COUNTS * _COUNT_PAUSE_S)
        after, elapsed_s = busy_s(self._cores, self._stat), time.monotonic() - started_s
        if before is None or after is None:
            return None
        busy = max(0.0, (after - before) / elapsed_s)
        return busy if busy < _CROWDED * len(self._cores) else None


def runnable_tasks(loadavg: Path = LOADAVG) -> int | None:
    """Return the number of tasks that run or wait for a core, the caller included; none if the file has none."""
    try:
        return int(loadavg.read_text(encoding="ascii").split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return None


def busy_s(cores: frozenset[int], stat: Path = STAT) -> float | None:
    """Return for how long some cores were busy since the start of the machine, in seconds together; None if unknown.

    Source: proc_stat(5); of the numbers of a core, the fourth and fifth are its idle time, in clock ticks.
    """
    ticks, known = 0, 0
    try:
        for line in stat.read_text(encoding="ascii").splitlines():
            name, *numbers = line.split()
            if name.startswith("cpu") and name != "cpu" and int(name.removeprefix("cpu")) in cores:
                # Guest time, the ninth and tenth number, is part of user time.
                ticks += sum(map(int, (*numbers[:3], *numbers[5:8])))
                known += 1
    except (OSError, ValueError):
        return None
    return ticks / os.sysconf("SC_CLK_TCK") if known == len(cores) else None
