"""Distinction of a slow input from a busy device, by processor time.

A busy device makes a segment wait, or slows every computation down. An input that is slow by itself, such as one of
subnormal numbers or of many objects, takes processor time while a fixed computation is as fast as ever.
"""

import hashlib
import time
from dataclasses import dataclass, field
from typing import Final

_BLOCK: Final = bytes(64 * 1024)
_BLOCKS: Final = 8
# The clock of the processor does not change faster.
_VALID_S: Final = 0.5
# Neighbours that share caches and memory make processor time longer as well, up to about this factor.
_NEIGHBOURS: Final = 3.0


@dataclass(slots=True)
class ClockReference:
    """A fixed computation of some tenths of a millisecond, which tells how fast the processor is at present."""

    _least_s: float = field(default=float("inf"), init=False)
    _ratio: float = field(default=1.0, init=False)
    _measured_s: float = field(default=float("-inf"), init=False)

    def ratio(self) -> float:
        """Return the processor time of the computation over the shortest so far; it runs twice a second at most."""
        if time.monotonic() - self._measured_s > _VALID_S:
            took_s = min(_hash_s() for _ in range(3))
            self._least_s = min(self._least_s, took_s)
            self._ratio = took_s / self._least_s
            self._measured_s = time.monotonic()
        return self._ratio


def is_suspect(cpu_ms: float, idle_ms: float) -> bool:
    """Return whether a segment took so much processor time that its input may be the reason."""
    return cpu_ms > _NEIGHBOURS * idle_ms


def without_slow_input(measured_ms: float, cpu_ms: float, idle_ms: float, clock_ratio: float) -> float:
    """Return the time of a segment without what its input costs more than usual.

    Args:
        measured_ms: time that it took.
        cpu_ms: processor time that it took.
        idle_ms: time on the idle device, by the profile.
        clock_ratio: of `ClockReference`.
    """
    usual_ms = idle_ms * clock_ratio
    return measured_ms - (cpu_ms - usual_ms) if cpu_ms > _NEIGHBOURS * usual_ms else measured_ms


def _hash_s() -> float:
    started_s = time.thread_time()
    digest = hashlib.sha256()
    for _ in range(_BLOCKS):
        digest.update(_BLOCK)
    return max(time.thread_time() - started_s, 1e-6)
