"""Robust estimates from noisy samples: load factor, bandwidth, latency. Pure."""

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

from shared.link_time import CONCLUSIVE_MS, CONFIRMATIONS, NOISE_MS, bandwidth_of_mbps, transmission_ms

_WINDOW = 9
_AGREEMENT = math.log(1.4)
"""Samples further from the estimate than this factor contradict it."""
_CONVERGED = 1.1
"""The upper quartile of samples over the lower one, below which more of them are not needed."""
_CONFIRMED = 0.05
"""A crossing that differs by less from what is expected is neither news nor disturbed."""
_UNDISTURBED_MS = 0.5
_LEAST_IDLE_MS = 0.2
_LEAST_LOAD_FACTOR = 0.05
_MAX_BANDWIDTH_MBPS = 100_000.0

Sample = TypeVar("Sample")


class SampleVerdict(Enum):
    """What a sample says of the estimate."""

    AGREES = auto()
    ABOVE = auto()
    BELOW = auto()


class ResettingMedian(Generic[Sample]):
    """The weighted median of a sliding window, which starts anew when consecutive samples contradict it.

    A sample that contradicts the estimate waits outside the window. The next one decides: if it contradicts in the same
    direction, the two are the new window; if it agrees with the estimate, the first was an outlier and is forgotten.
    So a change is followed within two samples, and one outlier changes nothing at all. Samples that were taken at the
    same time count once: whatever disturbed one of them has disturbed the other too.

    Samples are kept as they were measured and read when the estimate is asked for, so that what is learned later (a
    lower latency) corrects what earlier samples say.
    """

    def __init__(
        self,
        read: Callable[[Sample], tuple[float, float]],
        *,
        window: int = _WINDOW,
        patience: int = CONFIRMATIONS,
        quantile: float = 0.5,
        coincide: Callable[[Sample, Sample], bool] = lambda earlier, later: False,
    ) -> None:
        """Make an estimate without samples.

        Args:
            read: what a sample says, and how much it counts; both positive.
            window: samples that are remembered.
            patience: consecutive contradictions in one direction that start the window anew.
            quantile: 0.5 for the median.
            coincide: whether the later of two samples began before the earlier one was over.
        """
        self._read = read
        self._window: deque[Sample] = deque(maxlen=window)
        self._waiting: list[tuple[Sample, SampleVerdict]] = []
        self._patience = patience
        self._quantile = quantile
        self._coincide = coincide

    def __len__(self) -> int:
        """Samples in the window."""
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
        """Whether the last sample contradicted the estimate, and the next one decides."""
        return bool(self._waiting)

    @property
    def is_converged(self) -> bool:
        """Whether the window is full, or the middle half of at least three samples says nearly the same."""
        if len(self._window) < 3:
            return False
        said = [(value, 1.0) for value, _ in map(self._read, self._window)]
        spread = weighted_quantile(said, 0.75) / weighted_quantile(said, 0.25)
        return len(self._window) == self._window.maxlen or spread <= _CONVERGED

    def add(self, sample: Sample, verdict: SampleVerdict) -> None:
        """Take a sample.

        Args:
            sample: what was measured.
            verdict: whether it contradicts the present estimate; ignored for the first sample.
        """
        if verdict is SampleVerdict.AGREES or not self._window:
            self._waiting.clear()
            self._window.append(sample)
        else:
            self._contradict(sample, verdict)

    def reseed(self, sample: Sample) -> None:
        """Forget everything but this sample."""
        self._waiting.clear()
        self._window.clear()
        self._window.append(sample)

    def _contradict(self, newest: Sample, verdict: SampleVerdict) -> None:
        if any(said is verdict and self._coincide(each, newest) for each, said in self._waiting):
            return
        self._waiting.append((newest, verdict))
        same = [sample for sample, said in self._waiting if said is verdict]
        if len(same) < self._patience and len(self._waiting) < 2 * self._patience:
            return
        # Of a change that caught a sample half-way, only what agrees with the newest sample is kept.
        value = self._read(newest)[0]
        kept = [each for each, _ in self._waiting if abs(math.log(self._read(each)[0] / value)) <= _AGREEMENT]
        self._waiting.clear()
        self._window.clear()
        self._window.extend(kept)


def weighted_quantile(samples: Iterable[tuple[float, float]], quantile: float) -> float:
    """Return the smallest value up to which at least `quantile` of the weight lies; the middle of two if exactly so.

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


class LoadEstimator:
    """How many times slower than idle a device computes, from what segments (or a fixed computation) took."""

    def __init__(self) -> None:
        """Begin without samples: the device is idle until something else is seen."""
        self._ratio: ResettingMedian[tuple[float, float]] = ResettingMedian(lambda sample: sample)

    @property
    def load_factor(self) -> float:
        """The estimate; 1 before the first sample."""
        return self._ratio.value or 1.0

    @property
    def in_doubt(self) -> bool:
        """Whether the last sample contradicted the estimate."""
        return self._ratio.in_doubt

    def add(self, measured_ms: float, idle_ms: float) -> None:
        """Take one computation; very short ones say nothing and are ignored.

        Args:
            measured_ms: what it took.
            idle_ms: what it takes on the idle device.
        """
        if measured_ms <= 0 or idle_ms < _LEAST_IDLE_MS:
            return
        ratio = max(measured_ms / idle_ms, _LEAST_LOAD_FACTOR)
        expected_ms = self.load_factor * idle_ms
        verdict = _verdict(ratio / self.load_factor, measured_ms - expected_ms, NOISE_MS)
        self._ratio.add((ratio, idle_ms), verdict)


@dataclass(frozen=True, slots=True)
class _Crossing:
    """A transfer or a padded probe.

    Attributes:
        elapsed_ms: latencies included.
        ways: latencies in it: 1 for a transfer, 2 for a round trip.
        latency_ms: one way, as it was known then; infinity if it was not.
        ended_s: when it was over, or said to be overdue; infinity if that is not known.
    """

    size_bytes: int
    elapsed_ms: float
    ways: int
    latency_ms: float
    ended_s: float

    def coincides_with(self, later: "_Crossing") -> bool:
        """Whether a later one began before this one was over, or is this one, which was overdue and has come."""
        return math.isfinite(later.ended_s) and later.ended_s - later.elapsed_ms / 1000 < self.ended_s


class LinkEstimator:
    """Bandwidth and latency of one directed link, from transfers and probes.

    The rate is the slope between two sizes: what a crossing takes beyond the latency, which tiny round trips tell. What
    disturbs a measurement (scheduling, other traffic) only ever makes it longer, so that both lean to the fast side by
    as much: the lower quartile of latencies, the fastest of two padded probes, the upper quartile of rates. Crossings
    are kept as they were measured; if the latency turns out to be lower than was known (programs that are still
    starting answer late), what they say is corrected too.

    Large transfers say more than small ones, so samples are weighted with their bytes, and those too small to be
    distinguished from noise are ignored where there are larger ones. A transfer that is overdue bounds the bandwidth
    from above at once: the bound is the estimate until a transfer finishes. (A small one only casts doubt: it may have
    met a hiccup of the receiver.)
    """

    def __init__(self) -> None:
        """Begin without samples."""
        self._bandwidth: ResettingMedian[_Crossing] = ResettingMedian(
            self._read, quantile=0.75, coincide=_Crossing.coincides_with
        )
        self._latency: ResettingMedian[float] = ResettingMedian(lambda ms: (ms, 1.0), patience=3, quantile=0.25)
        self._round_trips_ms: deque[float] = deque(maxlen=_WINDOW)
        self._is_bound = False
        self.samples = 0

    @property
    def bandwidth_mbps(self) -> float | None:
        """The estimate; none before the first sample."""
        return self._bandwidth.value

    @property
    def latency_ms(self) -> float | None:
        """The estimate, one way; none before the first round trip."""
        return self._latency.value

    @property
    def is_settled(self) -> bool:
        """Whether there are enough samples, and the last ones did not contradict them."""
        enough = self._bandwidth.is_converged and len(self._latency) >= 3
        return enough and not (self._is_bound or self._bandwidth.in_doubt or self._latency.in_doubt)

    def expected_ms(self, size_bytes: int) -> float | None:
        """Return how long `size_bytes` should be under way, without the latency; none as long as nothing is known."""
        bandwidth_mbps = self.bandwidth_mbps
        return None if bandwidth_mbps is None else transmission_ms(size_bytes, bandwidth_mbps)

    def is_confirmed_by(self, size_bytes: int, round_trip_ms: float) -> bool:
        """Return whether a padded probe took as long as a settled estimate says: nothing has disturbed it."""
        expected_ms = self.expected_ms(size_bytes)
        if expected_ms is None or not self.is_settled:
            return False
        difference_ms = round_trip_ms - 2 * (self.latency_ms or 0.0) - expected_ms
        return abs(difference_ms) <= max(_CONFIRMED * expected_ms, _UNDISTURBED_MS)

    def add_transfer(
        self, size_bytes: int, elapsed_ms: float, *, finished: bool = True, ended_s: float = math.inf
    ) -> None:
        """Take a transfer.

        Args:
            size_bytes: what was sent.
            elapsed_ms: from the first byte sent to the receipt, the latency included.
            finished: whether it has arrived; otherwise it is overdue.
            ended_s: when that was, by the same clock for all; infinity if it coincides with no other.
        """
        self._add(_Crossing(size_bytes, elapsed_ms, 1, self._latency_bound_ms, ended_s), finished)

    def add_probe(
        self, size_bytes: int, round_trip_ms: float, *, finished: bool = True, ended_s: float = math.inf
    ) -> None:
        """Take a padded probe of `size_bytes`, its round trip including the latency there and back."""
        self._add(_Crossing(size_bytes, round_trip_ms, 2, self._latency_bound_ms, ended_s), finished)

    def add_round_trip(self, round_trip_ms: float) -> None:
        """Take the round trip of a tiny probe: twice the latency."""
        latency_ms = max(round_trip_ms, 0.001) / 2
        known_ms = self.latency_ms
        self.samples += 1
        self._round_trips_ms.append(2 * latency_ms)
        if known_ms is None:
            self._latency.reseed(latency_ms)
            return
        difference_ms = latency_ms - known_ms
        if abs(difference_ms) <= max(NOISE_MS, known_ms / 2):
            self._latency.add(latency_ms, SampleVerdict.AGREES)
        elif difference_ms > 0:
            self._latency.add(latency_ms, SampleVerdict.ABOVE)
        else:
            # No round trip is shorter than the link allows, so one such sample is proof.
            self._latency.reseed(latency_ms)

    @property
    def _latency_bound_ms(self) -> float:
        return math.inf if self.latency_ms is None else self.latency_ms

    def _add(self, crossing: _Crossing, finished: bool) -> None:
        size_bytes = crossing.size_bytes
        if size_bytes <= 0 or crossing.elapsed_ms <= 0:
            return
        known_ms, known_mbps = self.latency_ms, self.bandwidth_mbps
        if not finished:
            self._bound(crossing)
            return
        self.samples += 1
        if known_mbps is None or self._is_bound:
            self._bandwidth.reseed(crossing)
            self._is_bound = False
            return
        rate_mbps, expected_ms = self._rate_mbps(crossing), transmission_ms(size_bytes, known_mbps)
        noise_ms = max(NOISE_MS, (known_ms or 0.0) / 4, self._jitter_ms())
        verdict = _verdict(rate_mbps / known_mbps, transmission_ms(size_bytes, rate_mbps) - expected_ms, noise_ms)
        if verdict is SampleVerdict.AGREES and expected_ms < noise_ms and self._has_larger(size_bytes):
            return
        self._bandwidth.add(crossing, verdict)

    def _rate_mbps(self, crossing: _Crossing) -> float:
        known_ms = self.latency_ms
        latency_ms = 0.0 if known_ms is None else min(crossing.latency_ms, known_ms)
        # A latency that is estimated too high must not make a transfer look instantaneous.
        on_link_ms = max(crossing.elapsed_ms - crossing.ways * latency_ms, crossing.elapsed_ms / 10)
        return min(bandwidth_of_mbps(crossing.size_bytes, on_link_ms), _MAX_BANDWIDTH_MBPS)

    def _read(self, crossing: _Crossing) -> tuple[float, float]:
        return self._rate_mbps(crossing), crossing.size_bytes

    def _has_larger(self, size_bytes: int) -> bool:
        """Whether at least three samples are so much larger that this one tells nothing beside them."""
        return sum(crossing.size_bytes >= 4 * size_bytes for crossing in self._bandwidth.samples) >= 3

    def _jitter_ms(self) -> float:
        """Return by how much recent round trips differed, the slowest quarter aside."""
        ordered = sorted(self._round_trips_ms)
        return ordered[3 * (len(ordered) - 1) // 4] - ordered[0] if len(ordered) > 2 else 0.0

    def _bound(self, crossing: _Crossing) -> None:
        known_mbps, rate_mbps = self.bandwidth_mbps, self._rate_mbps(crossing)
        if known_mbps is not None and rate_mbps >= known_mbps:
            return
        if (
            known_mbps is not None
            and not self._is_bound
            and transmission_ms(crossing.size_bytes, known_mbps) < CONCLUSIVE_MS
        ):
            self._bandwidth.add(crossing, SampleVerdict.BELOW)
            return
        self._bandwidth.reseed(crossing)
        self._is_bound = True


def _verdict(ratio: float, difference_ms: float, noise_ms: float) -> SampleVerdict:
    if abs(difference_ms) <= noise_ms or abs(math.log(ratio)) <= _AGREEMENT:
        return SampleVerdict.AGREES
    return SampleVerdict.ABOVE if ratio > 1 else SampleVerdict.BELOW
