"""Budget of the probes on one link: a share of the link, and a number of bytes per day where no stream could use it."""

from dataclasses import dataclass
from typing import Final

DAY_S: Final = 86_400.0
# Bytes of a probe or an echo without padding: the message, its topic, and the headers of MQTT, TCP and IP.
OVERHEAD_BYTES: Final = 220
# The budget of this time may be spent at once: a new link is measured by several probes in a row.
_BURST_S: Final = 60.0
# Bounds of that burst.
_LEAST_BURST_BYTES: Final = 64 * 1024
# Bytes that measure a new link: a slow one shows with the first few of them.
_FIRST_BYTES: Final = 1.5 * 1024 * 1024
_LARGEST_BURST_BYTES: Final = 4 * 1024 * 1024
# A link whose estimate has sunk keeps half of its former budget for so long: its recovery is noticed soon.
_HALF_LIFE_S: Final = 60.0
# Part of the burst that rounds of a settled link may spend. The rest is for links in doubt.
_ROUTINE: Final = 0.5
_BYTES_PER_MBPS: Final = 125_000.0


@dataclass(slots=True)
class ProbeBudget:
    """A token bucket of bytes. In no period of a day the probes of an unused link take more than `day_bytes`.

    Attributes:
        share: largest part of the link's bandwidth. A bandwidth that has sunk counts less with time.
        day_bytes: bytes per day while no stream could use the link.
    """

    share: float
    day_bytes: float
    _spent_bytes: float = 0.0
    _seen_s: float = 0.0
    # The largest estimate of the settled link, less with time.
    _reference_mbps: float = 0.0

    def spend(self, size_bytes: int, now_s: float, bandwidth_mbps: float | None, *, is_used: bool) -> None:
        """Count a message of this padding, its overhead included, at `now_s` (monotonic seconds)."""
        self._settle(now_s, bandwidth_mbps, is_used)
        self._spent_bytes += size_bytes + OVERHEAD_BYTES

    def wait_s(
        self, size_bytes: float, now_s: float, bandwidth_mbps: float | None, *, is_used: bool, is_routine: bool
    ) -> float:
        """Return how long a message of this padding has to wait, in seconds.

        Args:
            size_bytes: its padding.
            now_s: monotonic seconds.
            bandwidth_mbps: the estimate; None if there is none.
            is_used: whether a stream could use the link.
            is_routine: whether the link is settled.
        """
        self._settle(now_s, bandwidth_mbps, is_used)
        if is_routine:
            self._reference_mbps = max(self._reference_mbps, bandwidth_mbps or 0.0)
        capacity_bytes = self._capacity_bytes(bandwidth_mbps, is_used) * (_ROUTINE if is_routine else 1.0)
        # A message larger than all of the capacity waits until nothing else is counted.
        cost_bytes = min(size_bytes + OVERHEAD_BYTES, capacity_bytes)
        excess_bytes = self._spent_bytes + cost_bytes - capacity_bytes
        return max(0.0, excess_bytes / self._rate(bandwidth_mbps, is_used))

    def _settle(self, now_s: float, bandwidth_mbps: float | None, is_used: bool) -> None:
        passed_s = max(0.0, now_s - self._seen_s)
        self._seen_s = max(now_s, self._seen_s)
        self._reference_mbps *= 0.5 ** (passed_s / _HALF_LIFE_S)
        self._spent_bytes = max(0.0, self._spent_bytes - passed_s * self._rate(bandwidth_mbps, is_used))

    def _capacity_bytes(self, bandwidth_mbps: float | None, is_used: bool) -> float:
        if bandwidth_mbps is None:
            return _FIRST_BYTES
        known_mbps = max(bandwidth_mbps, self._reference_mbps)
        burst_bytes = _BURST_S * self.share * known_mbps * _BYTES_PER_MBPS
        largest_bytes = _LARGEST_BURST_BYTES if is_used else min(_LARGEST_BURST_BYTES, self.day_bytes / 10)
        return min(max(burst_bytes, _LEAST_BURST_BYTES), largest_bytes)

    def _rate(self, bandwidth_mbps: float | None, is_used: bool) -> float:
        """Return the bytes per second that the budget grows by."""
        rate = self.share * (max(bandwidth_mbps or 0.0, self._reference_mbps) or 1.0) * _BYTES_PER_MBPS
        if not is_used:
            # With the burst, a day has no more than its bytes.
            rate = min(rate, 0.9 * self.day_bytes / DAY_S)
        return max(rate, 1e-3)
