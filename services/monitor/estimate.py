"""Robust estimates from noisy samples: load factor, bandwidth, latency. Pure."""

import math
from collections import deque
from enum import Enum, auto

_WINDOW = 9
_AGREEMENT = math.log(1.4)
"""Samples further from the estimate than this factor contradict it."""
_NOISE_MS = 1.5
"""What scheduling and the broker add or take on a whim; differences below it contradict nothing."""
_TELLING_MS = 10 * _NOISE_MS
"""Overdue transfers that should have taken less may only have met a hiccup."""
_LEAST_IDLE_MS = 0.2
_LEAST_LOAD_FACTOR = 0.05
_MAX_BANDWIDTH_MBPS = 100_000.0


class Verdict(Enum):
    """What a sample says of the estimate."""

    AGREES = auto()
    ABOVE = auto()
    BELOW = auto()


class ReseedingMedian:
    """The weighted median of a sliding window, which starts anew when consecutive samples contradict it.

    A sample that contradicts the estimate waits outside the window. The next one decides: if it contradicts in the same
    direction, the two are the new window; if it agrees with the estimate, the first was an outlier and is forgotten.
    So a change is followed within two samples, and one outlier changes nothing at all.
    """

    def __init__(self, *, window: int = _WINDOW, patience: int = 2, quantile: float = 0.5) -> None:
        """Make an estimate without samples.

        Args:
            window: samples that are remembered.
            patience: consecutive contradictions in one direction that start the window anew.
            quantile: 0.5 for the median.
        """
        self._window: deque[tuple[float, float]] = deque(maxlen=window)
        self._waiting: list[tuple[float, float, Verdict]] = []
        self._patience = patience
        self._quantile = quantile
        self._value: float | None = None

    def __len__(self) -> int:
        """Samples in the window."""
        return len(self._window)

    @property
    def value(self) -> float | None:
        """The estimate; none before the first sample."""
        return self._value

    @property
    def in_doubt(self) -> bool:
        """Whether the last sample contradicted the estimate, and the next one decides."""
        return bool(self._waiting)

    def add(self, value: float, weight: float, verdict: Verdict) -> None:
        """Take a sample.

        Args:
            value: what it says.
            weight: how much it counts, positive.
            verdict: whether it contradicts the present estimate; ignored for the first sample.
        """
        if verdict is Verdict.AGREES or not self._window:
            self._waiting.clear()
            self._window.append((value, weight))
        else:
            self._contradict(value, weight, verdict)
        self._value = weighted_quantile(self._window, self._quantile)

    def reseed(self, value: float, weight: float) -> None:
        """Forget everything but this sample."""
        self._waiting.clear()
        self._window.clear()
        self._window.append((value, weight))
        self._value = value

    def _contradict(self, value: float, weight: float, verdict: Verdict) -> None:
        self._waiting.append((value, weight, verdict))
        same = [sample for sample in self._waiting if sample[2] is verdict]
        if len(same) < self._patience and len(self._waiting) < 2 * self._patience:
            return
        # Of a change that caught a sample half-way, only what agrees with the newest sample is kept.
        kept = [(v, w) for v, w, _ in self._waiting if abs(math.log(v / value)) <= _AGREEMENT]
        self._waiting.clear()
        self._window.clear()
        self._window.extend(kept)


def weighted_quantile(samples: deque[tuple[float, float]], quantile: float) -> float:
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
        self._ratio = ReseedingMedian()

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
        self._ratio.add(ratio, idle_ms, _verdict(ratio / self.load_factor, measured_ms - expected_ms, _NOISE_MS))


class LinkEstimator:
    """Bandwidth and latency of one directed link, from transfers and probes.

    What disturbs a measurement (scheduling, other traffic) only ever makes it longer, so that the estimates lean to the
    fast side: the lower quartile of latencies, a little more than the median of bandwidths.

    Large transfers say more than small ones, so samples are weighted with their bytes, and those too small to be
    distinguished from noise are ignored. A transfer that is overdue bounds the bandwidth from above at once: the bound
    is the estimate until a transfer finishes. (A small one only casts doubt: it may have met a hiccup of the receiver.)
    """

    def __init__(self) -> None:
        """Begin without samples."""
        self._bandwidth = ReseedingMedian(quantile=0.6)
        self._latency = ReseedingMedian(patience=3, quantile=0.25)
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
        enough = len(self._bandwidth) >= 3 and len(self._latency) >= 3
        return enough and not (self._is_bound or self._bandwidth.in_doubt or self._latency.in_doubt)

    def expected_ms(self, size_bytes: int) -> float | None:
        """Return how long `size_bytes` should be under way, without the latency; none as long as nothing is known."""
        bandwidth_mbps = self.bandwidth_mbps
        return None if bandwidth_mbps is None else transmission_ms(size_bytes, bandwidth_mbps)

    def add_transfer(self, size_bytes: int, elapsed_ms: float, *, finished: bool = True) -> None:
        """Take a transfer.

        Args:
            size_bytes: what was sent.
            elapsed_ms: from the first byte sent to the receipt, the latency included.
            finished: whether it has arrived; otherwise it is overdue.
        """
        if size_bytes <= 0 or elapsed_ms <= 0:
            return
        # A latency that is estimated too high must not make a transfer look instantaneous.
        on_link_ms = max(elapsed_ms - (self.latency_ms or 0.0), elapsed_ms / 10)
        self._add(size_bytes, on_link_ms, finished)

    def add_probe(self, size_bytes: int, round_trip_ms: float, *, finished: bool = True) -> None:
        """Take a padded probe of `size_bytes`, its round trip including the latency there and back."""
        if size_bytes <= 0 or round_trip_ms <= 0:
            return
        on_link_ms = max(round_trip_ms - 2 * (self.latency_ms or 0.0), round_trip_ms / 10)
        self._add(size_bytes, on_link_ms, finished)

    def add_round_trip(self, round_trip_ms: float) -> None:
        """Take the round trip of a tiny probe: twice the latency."""
        latency_ms = max(round_trip_ms, 0.001) / 2
        known_ms = self.latency_ms
        self.samples += 1
        self._round_trips_ms.append(2 * latency_ms)
        if known_ms is None:
            self._latency.reseed(latency_ms, 1.0)
            return
        difference_ms = latency_ms - known_ms
        if abs(difference_ms) <= max(_NOISE_MS, known_ms / 2):
            self._latency.add(latency_ms, 1.0, Verdict.AGREES)
        elif difference_ms > 0:
            self._latency.add(latency_ms, 1.0, Verdict.ABOVE)
        else:
            # No round trip is shorter than the link allows, so one such sample is proof.
            self._latency.reseed(latency_ms, 1.0)

    def _add(self, size_bytes: int, on_link_ms: float, finished: bool) -> None:
        rate_mbps = min(8 * size_bytes / (1000 * on_link_ms), _MAX_BANDWIDTH_MBPS)
        known_mbps = self.bandwidth_mbps
        if not finished:
            self._bound(size_bytes, rate_mbps)
            return
        self.samples += 1
        if known_mbps is None or self._is_bound:
            self._bandwidth.reseed(rate_mbps, size_bytes)
            self._is_bound = False
            return
        noise_ms = max(_NOISE_MS, (self.latency_ms or 0.0) / 4, self._jitter_ms())
        expected_ms = transmission_ms(size_bytes, known_mbps)
        verdict = _verdict(rate_mbps / known_mbps, on_link_ms - expected_ms, noise_ms)
        if verdict is Verdict.AGREES and expected_ms < noise_ms and len(self._bandwidth) >= 3:
            return
        self._bandwidth.add(rate_mbps, size_bytes, verdict)

    def _jitter_ms(self) -> float:
        """Return by how much recent round trips differed, the slowest aside."""
        ordered = sorted(self._round_trips_ms)
        return ordered[-2] - ordered[0] if len(ordered) > 2 else 0.0

    def _bound(self, size_bytes: int, rate_mbps: float) -> None:
        known_mbps = self.bandwidth_mbps
        if known_mbps is not None and rate_mbps >= known_mbps:
            return
        if known_mbps is not None and not self._is_bound and transmission_ms(size_bytes, known_mbps) < _TELLING_MS:
            self._bandwidth.add(rate_mbps, size_bytes, Verdict.BELOW)
            return
        self._bandwidth.reseed(rate_mbps, size_bytes)
        self._is_bound = True


def transmission_ms(size_bytes: int, bandwidth_mbps: float) -> float:
    """Return how long `size_bytes` take on a link, without latency; infinite on a link of 0 Mbps."""
    return 8 * size_bytes / (1000 * bandwidth_mbps) if bandwidth_mbps > 0 else math.inf


def _verdict(ratio: float, difference_ms: float, noise_ms: float) -> Verdict:
    if abs(difference_ms) <= noise_ms or abs(math.log(ratio)) <= _AGREEMENT:
        return Verdict.AGREES
    return Verdict.ABOVE if ratio > 1 else Verdict.BELOW
