"""Estimates the bandwidth and the latency of one directed link from transfers and probes."""

import math
from collections import deque
from typing import Final

from services.monitor.crossing import LARGER, Crossing, Verdict, confirmations, judge
from services.monitor.resetting_median import WINDOW, Deviation, ResettingMedian
from shared.link_time import (
    CONCLUSIVE_MS,
    MUCH_FASTER,
    NOISE_MS,
    WEAK_CONFIRMATIONS,
    bytes_within,
    transmission_ms,
)

# A probe that differs by a smaller part of the expected time confirms the estimate.
_CONFIRMED: Final = 0.05
# Below this absolute difference a probe confirms the estimate whatever the relative one.
_UNDISTURBED_MS: Final = 0.5
# Weight of the newest crossing in the share of processing time.
_SMOOTHING: Final = 0.3
# Share of processing time from which an overdue crossing may as well wait at a busy end.
_BUSY: Final = 0.3
# Disturbances only slow a crossing down.
_QUANTILE: Final = 0.75
# Crossings in a row that say nothing, after which more of them would not either.
_UNCLEAR: Final = 3


class LinkEstimator:
    """Bandwidth and latency of one directed link.

    The bandwidth is the slope between two sizes: size over the time beyond the latency, and tiny round trips give the
    latency. Disturbances (scheduling, other traffic) only ever lengthen a measurement. Every estimate is therefore
    biased to the fast side: the lower quartile of latencies, the fastest of two padded probes, the upper quartile of
    rates.

    Samples are weighted with their bytes, because large transfers carry more information than small ones. Samples too
    small to stand out from the noise are ignored beside larger ones.

    An end that computes, or waits for a processor, delays a transfer as a slow link does. Such a sample lies between
    two rates (`Crossing.rates_mbps`). It deviates only if both do, and it is ignored if one agrees with the estimate
    and the other does not. How many deviations replace the estimate depends on what each proves (`confirmations`).

    An overdue transfer bounds the bandwidth from above immediately. The bound is the estimate until a transfer
    finishes. A small overdue transfer only counts as a deviation, since a short delay at the receiver explains it as
    well.

    Invariant: while `_is_bound`, the bandwidth's window holds exactly one sample, the overdue one.
    """

    def __init__(self) -> None:
        """Begin without samples."""
        self._bandwidth: ResettingMedian[Crossing] = ResettingMedian(
            self._read, quantile=_QUANTILE, coincide=Crossing.coincides_with
        )
        self._latency: ResettingMedian[float] = ResettingMedian(lambda ms: (ms, 1.0), confirmations=3, quantile=0.25)
        self._round_trips_ms: deque[float] = deque(maxlen=WINDOW)
        self._is_bound = False
        # The window before the bound, until a crossing after the overdue one tells whether it still holds.
        self._unbound: tuple[Crossing, ...] = ()
        # Crossings up to this size are fast in the burst of a token bucket, and say nothing about the bandwidth.
        self._burst_bytes = 0
        # Whether every sample is too small to stand out from the noise.
        self._is_guess = False
        self._processing_share = 0.0
        # Crossings in a row that agree with the estimate, and would with a much slower link.
        self._unclear = 0
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
        is_enough = self._bandwidth.is_converged or self._unclear >= _UNCLEAR
        enough = is_enough and len(self._latency) >= 3
        return enough and not (self._is_bound or self._unbound or self._bandwidth.in_doubt or self._latency.in_doubt)

    @property
    def probed_mbps(self) -> float | None:
        """The bandwidth for which a probe is sized: the one before a bound that is not confirmed."""
        if not self._unbound:
            return self.bandwidth_mbps
        return max(map(self._read, self._unbound))[0]

    def expected_ms(self, size_bytes: int) -> float | None:
        """Return the expected transmission time without the latency; none before the first sample."""
        bandwidth_mbps = self.bandwidth_mbps
        return None if bandwidth_mbps is None else transmission_ms(size_bytes, bandwidth_mbps)

    @property
    def claim(self) -> tuple[int, float] | None:
        """Size and rate (Mbps) of the last small crossing that claims a much faster link; None if there is none."""
        waiting, known_mbps = self._bandwidth.waiting(Deviation.ABOVE), self.bandwidth_mbps
        if not waiting or known_mbps is None:
            return None
        rate_mbps = waiting[-1].rates_mbps(self.latency_ms)[0]
        return (waiting[-1].size_bytes, rate_mbps) if rate_mbps > MUCH_FASTER * known_mbps else None

    def assume(self, bandwidth_mbps: float) -> None:
        """Begin with a bandwidth that was not measured; the first transfer replaces it."""
        size_bytes = round(bytes_within(1.0, bandwidth_mbps))
        self._bandwidth.reseed(Crossing(max(1, size_bytes), 1.0, 0, 0.0, math.inf))
        self._is_bound = True

    def is_informative(self, size_bytes: int) -> bool:
        """Return whether a crossing of this size stands out from the noise."""
        expected_ms = self.expected_ms(size_bytes)
        return expected_ms is None or expected_ms >= self._noise_ms()

    def rate_of_probe_mbps(self, size_bytes: int, round_trip_ms: float) -> float:
        """Return the bandwidth that the round trip of a padded probe shows."""
        return Crossing(size_bytes, max(round_trip_ms, 1e-3), 2, self._latency_bound_ms, 0.0).rate_mbps(self.latency_ms)

    def is_confirmed_by(self, size_bytes: int, round_trip_ms: float) -> bool:
        """Return whether a padded probe took as long as a settled estimate predicts."""
        expected_ms = self.expected_ms(size_bytes)
        if expected_ms is None or not self.is_settled:
            return False
        difference_ms = round_trip_ms - 2 * (self.latency_ms or 0.0) - expected_ms
        return abs(difference_ms) <= max(_CONFIRMED * expected_ms, _UNDISTURBED_MS)

    def add_transfer(
        self,
        size_bytes: int,
        elapsed_ms: float,
        *,
        finished: bool = True,
        ended_s: float = math.inf,
        processing_ms: float = 0.0,
    ) -> None:
        """Take a transfer.

        Args:
            size_bytes: bytes sent.
            elapsed_ms: from the first byte sent to the receipt, the latency included.
            finished: false if it is overdue and has not arrived yet.
            ended_s: when that was, by one clock for all; infinity if it coincides with no other.
            processing_ms: part of the time in which an end computed or waited for a processor.
        """
        latency_ms = self._latency_bound_ms
        self._add(Crossing(size_bytes, elapsed_ms, 1, latency_ms, ended_s, min(processing_ms, elapsed_ms)), finished)

    def add_probe(
        self,
        size_bytes: int,
        round_trip_ms: float,
        *,
        finished: bool = True,
        ended_s: float = math.inf,
        processing_ms: float = 0.0,
    ) -> None:
        """Take a padded probe of `size_bytes`; its round trip includes the latency there and back."""
        latency_ms, busy_ms = self._latency_bound_ms, min(processing_ms, round_trip_ms)
        self._add(Crossing(size_bytes, round_trip_ms, 2, latency_ms, ended_s, busy_ms), finished)

    def add_round_trip(self, round_trip_ms: float, *, processing_ms: float = 0.0) -> None:
        """Take the round trip of a tiny probe: twice the latency, and the processing time at the ends."""
        latency_ms = max(round_trip_ms, 0.001) / 2
        least_ms = max(round_trip_ms - processing_ms, 0.001) / 2
        known_ms = self.latency_ms
        self.samples += 1
        self._round_trips_ms.append(2 * latency_ms)
        if known_ms is None:
            self._latency.reseed(latency_ms)
            return
        noise_ms = max(NOISE_MS, known_ms / 2)
        if abs(latency_ms - known_ms) <= noise_ms:
            self._latency.add(latency_ms, Deviation.NONE)
        elif latency_ms < known_ms:
            # No round trip is shorter than the link allows: one shorter sample proves a lower latency.
            self._latency.reseed(latency_ms)
        elif least_ms > known_ms + noise_ms:
            self._latency.add(least_ms, Deviation.ABOVE)

    @property
    def _latency_bound_ms(self) -> float:
        return math.inf if self.latency_ms is None else self.latency_ms

    def _add(self, crossing: Crossing, finished: bool) -> None:
        size_bytes = crossing.size_bytes
        if size_bytes <= 0 or crossing.elapsed_ms <= 0:
            return
        known_ms, known_mbps = self.latency_ms, self.bandwidth_mbps
        if not finished:
            self._bound(crossing)
            return
        self.samples += 1
        noise_ms = self._noise_ms()
        is_informative = transmission_ms(size_bytes, crossing.rates_mbps(known_ms)[0]) >= noise_ms
        if self._unbound and self._is_restored_by(crossing, noise_ms):
            return
        # A finished crossing is better evidence than the bound of an overdue one, even if it is slower.
        if known_mbps is None or self._is_bound:
            self._bandwidth.reseed(crossing if known_mbps is None else crossing.undelayed())
            self._is_bound, self._is_guess = False, not is_informative
            return
        self._unbound = ()
        self._processing_share += _SMOOTHING * (crossing.processing_ms / crossing.elapsed_ms - self._processing_share)
        if self._is_guess and not self._is_larger_in_window(size_bytes):
            self._bandwidth.reseed(crossing)
            self._is_guess = not is_informative
            return
        verdict = judge(crossing, known_mbps, known_ms, noise_ms)
        if verdict.deviation is Deviation.NONE:
            self._agree(crossing, verdict, known_mbps, noise_ms)
            return
        if verdict.deviation is Deviation.ABOVE and size_bytes <= self._burst_bytes:
            return
        self._unclear = 0
        if size_bytes > self._burst_bytes:
            self._burst_bytes = 0
        waiting = self._bandwidth.waiting(verdict.deviation)
        if verdict.deviation is Deviation.BELOW:
            crossing = crossing.undelayed()
        needed = confirmations(crossing, verdict.deviation, waiting, known_mbps, known_ms)
        self._bandwidth.add(crossing, verdict.deviation, confirmations=needed)

    def _agree(self, crossing: Crossing, verdict: Verdict, known_mbps: float, noise_ms: float) -> None:
        """Take a crossing that agrees with the estimate; one that says little only settles doubts."""
        size_bytes = crossing.size_bytes
        self._note_burst(size_bytes)
        is_small = transmission_ms(size_bytes, known_mbps) < noise_ms and self._is_larger_in_window(size_bytes)
        if is_small or not verdict.is_telling:
            self._unclear += 1
        if verdict.is_telling and not is_small:
            self._bandwidth.add(crossing, verdict.deviation)
        elif verdict.is_telling and not self._is_larger_waiting(size_bytes):
            self._bandwidth.calm()
        else:
            # It may have been reported as overdue before, and has now told why.
            self._bandwidth.retract(lambda waiting: waiting.coincides_with(crossing))

    def _is_restored_by(self, crossing: Crossing, noise_ms: float) -> bool:
        """Return to what was known before an overdue crossing, if a finished one agrees with it.

        The overdue one itself agrees if an end was busy meanwhile. The next one agrees if only a segment was lost.
        """
        before = ResettingMedian(self._read, quantile=_QUANTILE)
        before.restore(self._unbound)
        verdict = judge(crossing, before.value or 0.0, self.latency_ms, noise_ms)
        if verdict.deviation is not Deviation.NONE:
            return False
        # One that is too small to tell both rates apart refutes only a bound that it clearly exceeds.
        is_small = transmission_ms(crossing.size_bytes, before.value or 1.0) < noise_ms
        if is_small and crossing.rate_mbps(self.latency_ms) <= MUCH_FASTER * (self.bandwidth_mbps or 0.0):
            return False
        self._bandwidth.restore((*self._unbound, crossing) if verdict.is_telling else self._unbound)
        self._is_bound, self._unbound = False, ()
        return True

    def _noise_ms(self) -> float:
        # An error of the latency estimate shifts the rate, so noise grows with the latency and with its jitter.
        return max(NOISE_MS, (self.latency_ms or 0.0) / 4, self._jitter_ms())

    def _read(self, crossing: Crossing) -> tuple[float, float]:
        return crossing.rate_mbps(self.latency_ms), crossing.weight()

    def _note_burst(self, size_bytes: int) -> None:
        """Remember up to which size crossings are fast in a burst, as one of `size_bytes` that is not has shown."""
        claims = [each.size_bytes for each in self._bandwidth.waiting(Deviation.ABOVE)]
        if claims and LARGER * max(claims) <= size_bytes:
            self._burst_bytes = max(self._burst_bytes, *claims)

    def _is_larger_waiting(self, size_bytes: int) -> bool:
        waiting = (*self._bandwidth.waiting(Deviation.BELOW), *self._bandwidth.waiting(Deviation.ABOVE))
        return any(crossing.size_bytes > LARGER * size_bytes for crossing in waiting)

    def _is_larger_in_window(self, size_bytes: int) -> bool:
        return any(crossing.size_bytes > size_bytes for crossing in self._bandwidth.samples)

    def _jitter_ms(self) -> float:
        """Return the spread of recent round trips, the slowest quarter aside."""
        ordered = sorted(self._round_trips_ms)
        return ordered[3 * (len(ordered) - 1) // 4] - ordered[0] if len(ordered) > 2 else 0.0

    def _bound(self, crossing: Crossing) -> None:
        """Take an overdue crossing, whose rate so far is an upper bound of the bandwidth."""
        crossing = crossing.undelayed()
        known_mbps, rate_mbps = self.bandwidth_mbps, crossing.rate_mbps(self.latency_ms)
        # A bound above the estimate carries no information.
        if known_mbps is not None and rate_mbps >= known_mbps:
            return
        is_small = known_mbps is not None and transmission_ms(crossing.size_bytes, known_mbps) < CONCLUSIVE_MS
        if known_mbps is not None and not self._is_bound and (is_small or self._processing_share > _BUSY):
            self._bandwidth.add(crossing, Deviation.BELOW, confirmations=WEAK_CONFIRMATIONS)
            return
        if not self._is_bound:
            self._unbound = self._bandwidth.samples
        self._bandwidth.reseed(crossing)
        self._is_bound = True
