"""Offset of another machine's clock from this one's, estimated from exchanges of messages, with a bounded error.

In an exchange, this machine sends a message, and the other one answers it. Four readings bound the offset, whatever the
time that each message was under way (RFC 5905, section 8): the other clock is ahead by at least the answer's departure
minus its arrival, and by at most the question's arrival minus its departure. The bounds of several exchanges are
intersected (Marzullo and Owicki, Maintaining the time in a distributed system, PODC 1983), each widened by the drift of
two clocks since then.
"""

from dataclasses import dataclass, field
from typing import Final

# Two crystals of 50 ppm each, in opposite directions.
_DRIFT: Final = 1e-4


@dataclass(frozen=True, slots=True)
class OffsetEstimate:
    """An estimate of an offset.

    Attributes:
        offset_s: reading of the other clock minus the reading of this one at the same moment.
        error_s: bound on the difference to the true offset.
    """

    offset_s: float
    error_s: float


@dataclass(slots=True)
class ClockOffset:
    """The offset of one other clock. No value is stored but the bounds, and when they held.

    Bounds that contradict the newest ones are dropped: a clock was set, or the other machine was started again.
    """

    _lowest_s: float = field(default=0.0, init=False)
    _highest_s: float = field(default=0.0, init=False)
    _bounded_s: float | None = field(default=None, init=False)

    def exchanged(self, sent_s: float, arrived_s: float, answered_s: float, received_s: float) -> None:
        """Record an exchange. One whose readings contradict themselves is ignored.

        Args:
            sent_s: when the question was sent, on this clock.
            arrived_s: when it arrived, on the other clock.
            answered_s: when the answer was sent, on the other clock.
            received_s: when the answer arrived, on this clock.
        """
        lowest_s, highest_s = answered_s - received_s, arrived_s - sent_s
        if not (lowest_s <= highest_s and sent_s <= received_s and arrived_s <= answered_s):
            return
        if self._bounded_s is not None:
            drift_s = _DRIFT * max(0.0, received_s - self._bounded_s)
            both = max(lowest_s, self._lowest_s - drift_s), min(highest_s, self._highest_s + drift_s)
            if both[0] <= both[1]:
                lowest_s, highest_s = both
        self._lowest_s, self._highest_s, self._bounded_s = lowest_s, highest_s, received_s

    def estimate(self, now_s: float) -> OffsetEstimate | None:
        """Return the estimate at `now_s` on this clock; None before the first exchange."""
        if self._bounded_s is None:
            return None
        drift_s = _DRIFT * max(0.0, now_s - self._bounded_s)
        error_s = (self._highest_s - self._lowest_s) / 2 + drift_s
        return OffsetEstimate((self._lowest_s + self._highest_s) / 2, error_s)

    def age_s(self, now_s: float) -> float:
        """Return the time since the last exchange; infinity before the first."""
        return float("inf") if self._bounded_s is None else now_s - self._bounded_s
