"""Estimates by which factor a device computes more slowly than when it is idle."""

from typing import Final

from services.monitor.resetting_median import Deviation, ResettingMedian
from shared.link_time import NOISE_MS

# Shorter computations consist mostly of overhead, which does not scale with the load.
_LEAST_IDLE_MS: Final = 0.2
_LEAST_LOAD_FACTOR: Final = 0.05
# Bound of the message that carries it.
_LARGEST_LOAD_FACTOR: Final = 1e6


class LoadEstimator:
    """The load factor of a device: measured over idle time of segments or of a fixed computation.

    Samples are weighted with their idle time, because long computations average over more scheduling slices.
    """

    def __init__(self) -> None:
        """Begin without samples; the device counts as idle."""
        self._ratio: ResettingMedian[tuple[float, float]] = ResettingMedian(lambda sample: sample)

    @property
    def load_factor(self) -> float:
        """The estimate; 1 before the first sample."""
        return self._ratio.value or 1.0

    @property
    def in_doubt(self) -> bool:
        """True if the last sample deviated from the estimate."""
        return self._ratio.in_doubt

    def add(self, measured_ms: float, idle_ms: float) -> None:
        """Take one computation; very short ones are ignored.

        Args:
            measured_ms: time that it took.
            idle_ms: time that it takes on the idle device.
        """
        if measured_ms <= 0 or idle_ms < _LEAST_IDLE_MS:
            return
        ratio = min(max(measured_ms / idle_ms, _LEAST_LOAD_FACTOR), _LARGEST_LOAD_FACTOR)
        expected_ms = self.load_factor * idle_ms
        deviation = Deviation.of(ratio / self.load_factor, measured_ms - expected_ms, NOISE_MS)
        self._ratio.add((ratio, idle_ms), deviation)
