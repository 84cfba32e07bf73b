"""Schedule of an emulated link: when the bytes of a transfer have passed it.

A transfer takes the time of `shared.link_time`. A link carries one transfer at a time, in the order of booking.
"""

import math
from collections import deque
from dataclasses import dataclass

from shared.link_time import bytes_within, transmission_ms


@dataclass(frozen=True, slots=True)
class LinkRate:
    """Bandwidth and latency of a link.

    Attributes:
        bandwidth_mbps: 10^6 bits per second; 0 for a link that is down, infinity for no limit.
        latency_ms: added to every transfer.
    """

    bandwidth_mbps: float
    latency_ms: float = 0.0

    def __post_init__(self) -> None:
        if not self.bandwidth_mbps >= 0 or not 0 <= self.latency_ms < math.inf:
            raise ValueError(f"a link of {self.bandwidth_mbps} Mbps and {self.latency_ms} ms cannot be")

    def bytes_s(self, size_bytes: float) -> float:
        """Return the time of this number of bytes at this bandwidth, in seconds, without latency."""
        if size_bytes <= 0:
            return 0.0
        return transmission_ms(size_bytes, self.bandwidth_mbps) / 1000


class Booking:
    """A transfer's place on a link. Its times change with the link and with the transfers before it.

    Changed by its `LinkSchedule` only. Since `_begun_at_s` the link is at `_rate`: after `_waiting_s` of latency the
    bytes beyond `_passed_bytes` pass.
    """

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._begun_at_s = 0.0
        self._rate = LinkRate(math.inf)
        self._waiting_s = 0.0
        self._passed_bytes = 0.0

    @property
    def deliver_at_s(self) -> float:
        """Arrival of the last byte, in seconds; infinity while the link is down."""
        return self.passed_at_s(self.size_bytes)

    def passed_at_s(self, size_bytes: float) -> float:
        """Return the arrival of byte number `size_bytes`, in seconds, if the link does not change."""
        left = min(size_bytes, self.size_bytes) - self._passed_bytes
        return self._begun_at_s + self._waiting_s + self._rate.bytes_s(left)

    def _begin(self, at_s: float, rate: LinkRate) -> None:
        self._begun_at_s, self._rate, self._waiting_s = at_s, rate, rate.latency_ms / 1000

    def _change(self, now_s: float, rate: LinkRate) -> None:
        """Keep the bytes that have passed by now; the rest pass at the new rate. The latency counts once, unchanged."""
        # Not begun: nothing has passed, so the whole transfer, latency included, gets the new rate.
        if now_s <= self._begun_at_s:
            self._begin(self._begun_at_s, rate)
            return
        # Negative while the latency has not passed: then no byte has arrived, and the rest of the latency remains.
        moving_s = now_s - self._begun_at_s - self._waiting_s
        if moving_s > 0 and self._rate.bandwidth_mbps > 0:
            passed = bytes_within(1000 * moving_s, self._rate.bandwidth_mbps)
            self._passed_bytes = min(self.size_bytes, self._passed_bytes + passed)
        self._waiting_s = max(0.0, -moving_s)
        self._begun_at_s, self._rate = now_s, rate


class LinkSchedule:
    """The transfers booked on one link. The caller states the time, which must not go backwards.

    Invariant: the bookings are in the order in which they pass, and each begins when the one before it is delivered.
    """

    def __init__(self, rate: LinkRate) -> None:
        self._rate = rate
        self._bookings: deque[Booking] = deque()

    @property
    def rate(self) -> LinkRate:
        """The present rate of the link."""
        return self._rate

    def book(self, now_s: float, size_bytes: int) -> Booking:
        """Append a transfer behind those already booked."""
        self._forget_past(now_s)
        booking = Booking(size_bytes)
        # The latency counts as occupancy of the link, as in the cost model. Thus predictions and emulation agree.
        free_at_s = self._bookings[-1].deliver_at_s if self._bookings else now_s
        booking._begin(max(now_s, free_at_s), self._rate)
        self._bookings.append(booking)
        return booking

    def change(self, now_s: float, rate: LinkRate) -> None:
        """Change the rate of the link from now on. Bytes of the transfer under way that have passed stay passed."""
        self._forget_past(now_s)
        self._rate = rate
        self._rebook(now_s)

    def cancel(self, now_s: float, booking: Booking) -> None:
        """Remove a transfer. Those behind it move forward."""
        self._forget_past(now_s)
        if booking in self._bookings:
            self._bookings.remove(booking)
            self._rebook(now_s)

    def _rebook(self, now_s: float) -> None:
        free_at_s = now_s
        for position, booking in enumerate(self._bookings):
            # Only the first can be under way; the others have not begun and get the new rate as a whole.
            if position == 0 and booking._begun_at_s <= now_s:
                booking._change(now_s, self._rate)
            else:
                booking._begin(free_at_s, self._rate)
            free_at_s = booking.deliver_at_s

    def _forget_past(self, now_s: float) -> None:
        while self._bookings and self._bookings[0].deliver_at_s <= now_s:
            self._bookings.popleft()
