"""A sliding weighted quantile that follows a change within a few samples and ignores single outliers."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from typing import Final, Generic, TypeVar

from shared.link_time import CONFIRMATIONS

# Samples in a window. Nine lets the median outlast four disturbed samples.
WINDOW: Final = 9
# Samples further from the estimate than this factor, in either direction, deviate from it.
_AGREEMENT: Final = math.log(1.4)
# With an upper quartile below this multiple of the lower one, further samples add nothing.
_CONVERGED: Final = 1.1

Sample = TypeVar("Sample")


class Deviation(Enum):
    """Position of a sample relative to the present estimate."""

    NONE = auto()
    ABOVE = auto()
    BELOW = auto()

    @classmethod
    def of(cls, ratio: float, difference_ms: float, noise_ms: float) -> "Deviation":
        """Compare a sample with the estimate.

        Args:
            ratio: the sample over the estimate, positive.
            difference_ms: the time that the sample took beyond the expected time.
            noise_ms: a smaller difference of the times is no deviation, whatever the ratio.
        """
        if abs(difference_ms) <= noise_ms or abs(math.log(ratio)) <= _AGREEMENT:
            return cls.NONE
        return cls.ABOVE if ratio > 1 else cls.BELOW


class ResettingMedian(Generic[Sample]):
    """The weighted median of a sliding window that restarts when consecutive samples deviate from it.

    A sample that deviates waits outside the window, and the next sample decides. If that one deviates in the same
    direction, the two become the new window. If it agrees with the estimate, the first was an outlier and is dropped.
    A change is thus followed within two samples, and a single outlier has no effect. Samples taken at the same time
    count once, because one disturbance affects all of them.

    Samples are stored raw and converted to values whenever the estimate is read. Later knowledge, such as a lower
    latency, therefore corrects earlier samples.

    Invariant: `_waiting` holds only samples that deviate from the window, and is empty while the window is.
    """

    def __init__(
        self,
        read: Callable[[Sample], tuple[float, float]],
        *,
        window: int = WINDOW,
        confirmations: int = CONFIRMATIONS,
        quantile: float = 0.5,
        coincide: Callable[[Sample, Sample], bool] = lambda earlier, later: False,
    ) -> None:
        """Make an estimate without samples.

        Args:
            read: converts a sample to its value and its weight, both positive.
            window: capacity of the window, in samples.
            confirmations: consecutive deviations in one direction that restart the window.
            quantile: 0.5 for the median.
            coincide: returns whether the later of two samples began before the earlier one ended.
        """
        self._read = read
        self._window: deque[Sample] = deque(maxlen=window)
        self._waiting: list[tuple[Sample, Deviation]] = []
        self._confirmations = confirmations
        self._quantile = quantile
        self._coincide = coincide

    def __len__(self) -> int:
        """Return the number of samples in the window."""
        return len(self._window)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples in the window, the oldest first."""
        return tuple(self._window)

    @property
    def value(self) -> float | None:
        """The estimate; none before the first sample."""
        return weighted_quantile(map(self._read, self._window), self._quantile) if self._window else None

    @property
    def in_doubt(self) -> bool:
        """True if the last sample deviated and the next one decides."""
        return bool(self._waiting)

    @property
    def is_converged(self) -> bool:
        """True if the window is full, or has three samples or more whose quartiles are close together."""
        if len(self._window) < 3:
            return False
        unweighted = [(value, 1.0) for value, _ in map(self._read, self._window)]
        spread = weighted_quantile(unweighted, 0.75) / weighted_quantile(unweighted, 0.25)
        return len(self._window) == self._window.maxlen or spread <= _CONVERGED

    def waiting(self, deviation: Deviation) -> tuple[Sample, ...]:
        """Return the samples that deviate in this direction and await confirmation, the oldest first."""
        return tuple(sample for sample, before in self._waiting if before is deviation)

    def add(self, sample: Sample, deviation: Deviation, *, confirmations: int | None = None) -> None:
        """Take a sample.

        Args:
            sample: the raw measurement.
            deviation: where it lies, seen from the present estimate; ignored for the first sample.
            confirmations: consecutive deviations, this one included, that restart the window; None for the usual
                number.
        """
        if deviation is Deviation.NONE or not self._window:
            self._waiting.clear()
            self._window.append(sample)
        else:
            self._add_deviating(sample, deviation, confirmations or self._confirmations)

    def reseed(self, sample: Sample) -> None:
        """Replace all samples by this one."""
        self._waiting.clear()
        self._window.clear()
        self._window.append(sample)

    def calm(self) -> None:
        """Drop the samples that await confirmation."""
        self._waiting.clear()

    def retract(self, explained: Callable[[Sample], bool]) -> None:
        """Drop those samples that await confirmation and that a later one has explained."""
        self._waiting = [entry for entry in self._waiting if not explained(entry[0])]

    def restore(self, samples: Iterable[Sample]) -> None:
        """Replace all samples by those of an earlier window."""
        self._waiting.clear()
        self._window.clear()
        self._window.extend(samples)

    def _add_deviating(self, newest: Sample, deviation: Deviation, confirmations: int) -> None:
        if any(before is deviation and self._coincide(sample, newest) for sample, before in self._waiting):
            return
        self._waiting.append((newest, deviation))
        same_direction = self.waiting(deviation)
        # The second bound ends a wait during which samples deviate up and down in turn.
        if len(same_direction) < confirmations and len(self._waiting) < 2 * confirmations:
            return
        value = self._read(self._reference(same_direction, deviation, confirmations))[0]
        agreeing = [sample for sample, _ in self._waiting if abs(math.log(self._read(sample)[0] / value)) <= _AGREEMENT]
        if confirmations > self._confirmations and len(agreeing) < confirmations:
            # Weak evidence has to agree with itself: disturbances differ from each other, a changed link does not.
            if len(self._waiting) >= 2 * confirmations:
                del self._waiting[0]
            return
        self._waiting.clear()
        self._window.clear()
        self._window.extend(agreeing)

    def _reference(self, deviating: Sequence[Sample], deviation: Deviation, confirmations: int) -> Sample:
        """Return the sample that the new window has to agree with.

        A sample measured during the change lies between the old and the new value, so the newest is the best of few. Of
        many, each of which is weak evidence, the one nearest to the old value is the best: disturbances only lead away.
        """
        if confirmations <= self._confirmations:
            return deviating[-1]
        nearest = max if deviation is Deviation.BELOW else min
        # The first one may have been measured during the change, but there may be no other in this direction.
        return nearest(deviating[1:] or deviating, key=lambda sample: self._read(sample)[0])


def weighted_quantile(samples: Iterable[tuple[float, float]], quantile: float) -> float:
    """Return the smallest value up to which `quantile` of the weight lies, or the middle of two on a tie.

    Args:
        samples: pairs of value and positive weight, at least one.
        quantile: within (0, 1].
    """
    ordered = sorted(samples)
    target = quantile * math.fsum(weight for _, weight in ordered)
    reached = 0.0
    for index, (value, weight) in enumerate(ordered):
        reached += weight
        if math.isclose(reached, target, rel_tol=1e-9) and index + 1 < len(ordered):
            return (value + ordered[index + 1][0]) / 2
        if reached > target:
            return value
    return ordered[-1][0]
