"""Estimates the bandwidth and the latency of one directed link from transfers and probes."""

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

from services.monitor.resetting_median import WINDOW, Deviation, ResettingMedian
from shared.link_time import CONCLUSIVE_MS, NOISE_MS, bandwidth_of_mbps, transmission_ms

# A probe that differs by a smaller part of the expected time confirms the estimate.
_CONFIRMED: Final = 0.05
# Below this absolute difference a probe confirms the estimate whatever the relative one.
_UNDISTURBED_MS: Final = 0.5
_MAX_BANDWIDTH_MBPS: Final = 100_000.0
# Keeps logarithms and quotients of rates finite.
_MIN_BANDWIDTH_MBPS: Final = 1e-12


@dataclass(frozen=True, slots=True)
class _Crossing:
    """A transfer or a padded probe.

    Attributes:
        elapsed_ms: latencies included.
        ways: latencies in it: 1 for a transfer, 2 for a round trip.
        latency_ms: one-way estimate at that time; infinity if there was none.
        ended_s: when it ended or was reported overdue; infinity if that is unknown.
    """

    size_bytes: int
    elapsed_ms: float
    ways: int
    latency_ms: float
    ended_s: float

    def coincides_with(self, later: "_Crossing") -> bool:
        """Return whether `later` began before this one ended.

        This includes the same transfer, first reported as overdue and then as finished.
        """
        return math.isfinite(later.ended_s) and later.ended_s - later.elapsed_ms / 1000 < self.ended_s


class LinkEstimator:
    """Bandwidth and latency of one directed link.

    The bandwidth is the slope between two sizes: size over the time beyond the latency, and tiny round trips give the
    latency. Disturbances (scheduling, other traffic) only ever lengthen a measurement. Every estimate is therefore
    biased to the fast side: the lower quartile of latencies, the fastest of two padded probes, the upper quartile of
    rates.

    Samples are weighted with their bytes, because large transfers carry more information than small ones. Samples too
    small to stand out from the noise are ignored beside larger ones.

    An overdue transfer bounds the bandwidth from above immediately. The bound is the estimate until a transfer
    finishes. A small overdue transfer only counts as a deviation, since a short delay at the receiver explains it as
    well.

    Invariant: while `_is_bound`, the bandwidth's window holds exactly one sample, the overdue one.
    """

    def __init__(self) -> None:
        """Begin without samples."""
        self._bandwidth: ResettingMedian[_Crossing] = ResettingMedian(
            self._read, quantile=0.75, coincide=_Crossing.coincides_with
        )
        self._latency: ResettingMedian[float] = ResettingMedian(lambda ms: (ms, 1.0), confirmations=3, quantile=0.25)
        self._round_trips_ms: deque[float] = deque(maxlen=WINDOW)
        self._is_bound = False
        self.samples = 0

    @property
    def bandwidth_mbps(self) -> float | None:
        """The estimated bandwidth; none before the first sample."""
        return self._bandwidth.value

    @property
    def latency_ms(self) -> float | None:
        """The estimated one-way latency; none before the first round trip."""
        return self._latency.value

    @property
    def is_settled(self) -> bool:
        """True if there are enough samples and the last ones did not deviate."""
        enough = self._bandwidth.is_converged and len(self._latency) >= 3
        return enough and not (self._is_bound or self._bandwidth.in_doubt or self._latency.in_doubt)

    def expected_ms(self, size_bytes: int) -> float | None:
        """Return the expected transmission time without the latency; none before the first sample."""
        bandwidth_mbps = self.bandwidth_mbps
        return None if bandwidth_mbps is None else transmission_ms(size_bytes, bandwidth_mbps)

    def is_confirmed_by(self, size_bytes: int, round_trip_ms: float) -> bool:
        """Return whether a padded probe took as long as a settled estimate predicts."""
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
            size_bytes: bytes sent.
            elapsed_ms: from the first byte sent to the receipt, the latency included.
            finished: false if it is overdue and has not arrived yet.
            ended_s: when that was, by one clock for all; infinity if it coincides with no other.
        """
        self._add(_Crossing(size_bytes, elapsed_ms, 1, self._latency_bound_ms, ended_s), finished)

    def add_probe(
        self, size_bytes: int, round_trip_ms: float, *, finished: bool = True, ended_s: float = math.inf
    ) -> None:
        """Take a padded probe of `size_bytes`; its round trip includes the latency there and back."""
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
            self._latency.add(latency_ms, Deviation.NONE)
        elif difference_ms > 0:
            self._latency.add(latency_ms, Deviation.ABOVE)
        else:
            # No round trip is shorter than the link allows: one shorter sample proves a lower latency.
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
        # A finished crossing is better evidence than the bound of an overdue one, even if it is slower.
        if known_mbps is None or self._is_bound:
            self._bandwidth.reseed(crossing)
            self._is_bound = False
            return
        rate_mbps, expected_ms = self._rate_mbps(crossing), transmission_ms(size_bytes, known_mbps)
        # An error of the latency estimate shifts the rate, so noise grows with the latency and with its jitter.
        noise_ms = max(NOISE_MS, (known_ms or 0.0) / 4, self._jitter_ms())
        difference_ms = transmission_ms(size_bytes, rate_mbps) - expected_ms
        deviation = Deviation.of(rate_mbps / known_mbps, difference_ms, noise_ms)
        if deviation is Deviation.NONE and expected_ms < noise_ms and self._has_larger(size_bytes):
            return
        self._bandwidth.add(crossing, deviation)

    def _rate_mbps(self, crossing: _Crossing) -> float:
        known_ms = self.latency_ms
        # The lower of both latencies. A latency measured while programs were still starting is too high. A latency that
        # has risen later does not hold for the earlier crossing.
        latency_ms = 0.0 if known_ms is None else min(crossing.latency_ms, known_ms)
        # An overestimated latency must not make a transfer look instantaneous.
        on_link_ms = max(crossing.elapsed_ms - crossing.ways * latency_ms, crossing.elapsed_ms / 10)
        rate_mbps = bandwidth_of_mbps(crossing.size_bytes, on_link_ms) if on_link_ms > 0 else math.inf
        return min(max(rate_mbps, _MIN_BANDWIDTH_MBPS), _MAX_BANDWIDTH_MBPS)

    def _read(self, crossing: _Crossing) -> tuple[float, float]:
        return self._rate_mbps(crossing), crossing.size_bytes

    def _has_larger(self, size_bytes: int) -> bool:
        """Return whether three samples or more are at least four times as large."""
        return sum(crossing.size_bytes >= 4 * size_bytes for crossing in self._bandwidth.samples) >= 3

    def _jitter_ms(self) -> float:
        """Return the spread of recent round trips, the slowest quarter aside."""
        ordered = sorted(self._round_trips_ms)
        return ordered[3 * (len(ordered) - 1) // 4] - ordered[0] if len(ordered) > 2 else 0.0

    def _bound(self, crossing: _Crossing) -> None:
        """Take an overdue crossing, whose rate so far is an upper bound of the bandwidth."""
        known_mbps, rate_mbps = self.bandwidth_mbps, self._rate_mbps(crossing)
        # A bound above the estimate carries no information.
        if known_mbps is not None and rate_mbps >= known_mbps:
            return
        is_small = known_mbps is not None and transmission_ms(crossing.size_bytes, known_mbps) < CONCLUSIVE_MS
        if is_small and not self._is_bound:
            self._bandwidth.add(crossing, Deviation.BELOW)
            return
        self._bandwidth.reseed(crossing)
        self._is_bound = True
