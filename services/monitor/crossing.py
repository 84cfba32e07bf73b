"""Transfers and padded probes as measurements of a link, and what they prove about its bandwidth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.monitor.resetting_median import Deviation
from shared.link_time import (
    CONFIRMATIONS,
    MUCH_FASTER,
    WEAK_CONFIRMATIONS,
    bandwidth_of_mbps,
    proves_little,
    transmission_ms,
)

# Size of the crossing that confirms a rise of the bandwidth, over the smallest one that claims it.
LARGER: Final = 2.0
MAX_BANDWIDTH_MBPS: Final = 100_000.0
# Keeps logarithms and quotients of rates finite.
_MIN_BANDWIDTH_MBPS: Final = 1e-12
# Largest ratio of the two rates of a crossing that still says something about the bandwidth.
_TELLING: Final = 1.4


@dataclass(frozen=True, slots=True)
class Crossing:
    """A transfer or a padded probe.

    Attributes:
        elapsed_ms: latencies included.
        ways: latencies in it: 1 for a transfer, 2 for a round trip.
        latency_ms: one-way estimate at that time; infinity if there was none.
        ended_s: when it ended or was reported overdue; infinity if that is unknown.
        processing_ms: part of `elapsed_ms` during which one of its ends computed or waited for a processor. The bytes
            may have travelled meanwhile or not.
    """

    size_bytes: int
    elapsed_ms: float
    ways: int
    latency_ms: float
    ended_s: float
    processing_ms: float = 0.0

    def coincides_with(self, later: "Crossing") -> bool:
        """Return whether `later` began before this one ended.

        This includes the same transfer, first reported as overdue and then as finished.
        """
        return math.isfinite(later.ended_s) and later.ended_s - later.elapsed_ms / 1000 < self.ended_s

    def rates_mbps(self, latency_ms: float | None) -> tuple[float, float]:
        """Return the bandwidth if the bytes travelled all the time, and if they stood still while an end was busy.

        Args:
            latency_ms: the present one-way estimate; None if there is none.
        """
        # The lower of both latencies. A latency measured while programs were still starting is too high. A latency that
        # has risen later does not hold for the earlier crossing.
        one_way_ms = 0.0 if latency_ms is None else min(self.latency_ms, latency_ms)
        return self._rate_mbps(self.elapsed_ms, one_way_ms), self._rate_mbps(
            max(self.elapsed_ms - self.processing_ms, 0.0), one_way_ms
        )

    def rate_mbps(self, latency_ms: float | None) -> float:
        """Return the bandwidth if the bytes travelled all the time, the smaller one."""
        # The latency estimate contains the usual processing time of small messages already.
        return self.rates_mbps(latency_ms)[0]

    def undelayed(self) -> "Crossing":
        """Return the crossing without its processing time."""
        elapsed_ms = max(self.elapsed_ms - self.processing_ms, self.elapsed_ms / 10)
        return replace(self, elapsed_ms=elapsed_ms, processing_ms=0.0)

    def weight(self) -> float:
        """Return the weight among other crossings: its bytes, less where an end was busy."""
        return self.size_bytes * max(0.05, 1 - self.processing_ms / self.elapsed_ms)

    def _rate_mbps(self, elapsed_ms: float, one_way_ms: float) -> float:
        # An overestimated latency must not make a transfer look instantaneous.
        on_link_ms = max(elapsed_ms - self.ways * one_way_ms, elapsed_ms / 10)
        rate_mbps = bandwidth_of_mbps(self.size_bytes, on_link_ms) if on_link_ms > 0 else math.inf
        return min(max(rate_mbps, _MIN_BANDWIDTH_MBPS), MAX_BANDWIDTH_MBPS)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a crossing says about an estimate.

    Attributes:
        deviation: where it lies, seen from the estimate.
        is_telling: whether it says anything. A crossing that agrees, but would also agree with a much slower link, does
            not.
    """

    deviation: Deviation
    is_telling: bool = True


def judge(crossing: Crossing, known_mbps: float, latency_ms: float | None, noise_ms: float) -> Verdict:
    """Compare a finished crossing with an estimate.

    It is slower only if it is slower without the processing time at its ends, and faster only if it is faster with it.

    Args:
        crossing: finished.
        known_mbps: the estimate.
        latency_ms: one-way estimate.
        noise_ms: a smaller difference of times is no deviation.
    """
    least_mbps, most_mbps = crossing.rates_mbps(latency_ms)
    expected_ms = transmission_ms(crossing.size_bytes, known_mbps)
    for rate_mbps, direction in ((most_mbps, Deviation.BELOW), (least_mbps, Deviation.ABOVE)):
        difference_ms = transmission_ms(crossing.size_bytes, rate_mbps) - expected_ms
        if Deviation.of(rate_mbps / known_mbps, difference_ms, noise_ms) is direction:
            return Verdict(direction)
    return Verdict(Deviation.NONE, most_mbps <= _TELLING * least_mbps)


def confirmations(
    newest: Crossing, deviation: Deviation, waiting: Sequence[Crossing], known_mbps: float, latency_ms: float | None
) -> int:
    """Return how many deviations in a row, `newest` included, replace an estimate.

    A token bucket lets what is smaller than its burst pass at once. So much faster small crossings need a larger one,
    or many. A crossing that should take a few milliseconds needs many to prove a slow link, since a single delay of a
    processor is longer.

    Args:
        newest: the crossing that deviates.
        deviation: its direction.
        waiting: earlier ones in a row.
        known_mbps: the estimate.
        latency_ms: one-way estimate.
    """
    if deviation is Deviation.BELOW:
        return WEAK_CONFIRMATIONS if proves_little(newest.size_bytes, known_mbps) else CONFIRMATIONS
    if newest.rates_mbps(latency_ms)[0] <= MUCH_FASTER * known_mbps:
        return CONFIRMATIONS
    sizes = [crossing.size_bytes for crossing in (*waiting, newest)]
    return CONFIRMATIONS if max(sizes) >= LARGER * min(sizes) else WEAK_CONFIRMATIONS
