"""Keep-alive of one MQTT connection: when to ask whether the broker is still there, and when to give it up.

A state machine without input and output. `KeepAlive.step` is called when the time comes that it named last.
"""

from dataclasses import dataclass
from enum import Enum, auto


class KeepAliveAction(Enum):
    """What the owner of the connection has to do now."""

    WAIT = auto()
    PING = auto()
    """Send PINGREQ."""
    GIVE_UP = auto()
    """End the connection: PINGREQ has had no answer for the interval."""


@dataclass(slots=True)
class KeepAlive:
    """State of a connection's keep-alive.

    The broker's silence counts as well as the client's: what is sent to a broker that has stopped stays in the socket's
    memory.

    Attributes:
        interval_s: time of silence of either side before PINGREQ, and for its answer; 0 for no keep-alive.
        sent_at_s: time of the last bytes to the broker.
        received_at_s: time of the last bytes of the broker.
    """

    interval_s: float = 0.0
    sent_at_s: float = 0.0
    received_at_s: float = 0.0
    _pinged_at_s: float | None = None

    def answered(self) -> None:
        """Take note of PINGRESP."""
        self._pinged_at_s = None

    def step(self, now_s: float) -> tuple[KeepAliveAction, float]:
        """Return what to do now, and the time of the next step."""
        if self._pinged_at_s is not None:
            due_at_s = self._pinged_at_s + self.interval_s
            return (KeepAliveAction.GIVE_UP if due_at_s <= now_s else KeepAliveAction.WAIT), due_at_s
        due_at_s = min(self.sent_at_s, self.received_at_s) + self.interval_s
        if due_at_s > now_s:
            return KeepAliveAction.WAIT, due_at_s
        self._pinged_at_s = now_s
        return KeepAliveAction.PING, now_s + self.interval_s
