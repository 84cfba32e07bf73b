"""Time that the thread of the event loop computes or waits for a processor, and so does not read or send messages.

The bytes of a transfer travel while both ends sleep. Time in which an end computed, or was ready and had no processor,
can therefore not be told from time on the link. `ProcessingClock` measures that time, so that it is not taken for a
slow link.

Linux counts both parts per thread in ``/proc/<pid>/task/<tid>/schedstat`` (Documentation/scheduler/sched-stats.rst):
nanoseconds on a processor, and nanoseconds runnable in the run queue. Elsewhere only the time on a processor is known.
"""

import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final, Self

# Time for which bytes that have arrived wait for a process that is not saturated. Longer waits for a processor are
# counted when it runs again.
UNREAD_S: Final = 0.05
_SCHEDSTAT: Final = "/proc/self/task/{}/schedstat"
# Samples that are kept: several seconds at the rate of the executor's tick.
_KEPT: Final = 256


class ProcessingClock:
    """Seconds that one thread has spent computing or waiting for a processor, since its start.

    Use it on the thread that has made it.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Begin to measure the calling thread.

        Args:
            path: the thread's schedstat file; None for that of the calling thread.
        """
        path = path or Path(_SCHEDSTAT.format(threading.get_native_id()))
        try:
            self._file: int | None = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = None
        # Increments of single samples, each with the time at its end.
        self._samples: deque[tuple[float, float]] = deque(maxlen=_KEPT)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        """Return the clock itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def read_s(self) -> float:
        """Return the seconds so far. They grow by at most the time that passes."""
        return time.thread_time() + self._waited_s()

    def sample(self, now_s: float) -> None:
        """Remember the present value for `since_ms`. Call it regularly, and when messages arrive."""
        self._samples.append((now_s, self.read_s()))

    def since_ms(self, then_s: float, now_s: float) -> float:
        """Return the processing time since the last sample before `then_s`, at most the time since then, in ms.

        The time that a thread has waited is counted when it runs again. So the sample before `then_s` is taken, not the
        one nearest to it.
        """
        before = [value_s for at_s, value_s in self._samples if at_s <= then_s]
        first_s = before[-1] if before else self._samples[0][1] if self._samples else self.read_s()
        return 1000 * max(0.0, min(self.read_s() - first_s, now_s - then_s))

    def _waited_s(self) -> float:
        if self._file is None:
            return 0.0
        try:
            return int(os.pread(self._file, 128, 0).split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0
