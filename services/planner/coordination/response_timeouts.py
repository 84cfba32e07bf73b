"""Devices that were sent a command and have not answered in time.

Presence is retained by the broker. A device that dies together with such a broker stays "online" there, because no
connection is left that could publish its last will. The planner therefore declares a silent device offline. A device
that is alive receives this message on its own presence topic and publishes that it is online.
"""

# A device acknowledges a command to prepare immediately (`Preparing`), however long the preparation takes.
ANSWER_WITHIN_S = 4.0


class ResponseTimeouts:
    """Devices that owe an answer, each with the time of the oldest unanswered command (planner's clock).

    Only the methods change it. A device is listed from its first unanswered command until any answer or the timeout.
    """

    def __init__(self) -> None:
        """Start without any command under way."""
        self._asked_at_s: dict[str, float] = {}

    @property
    def due_at_s(self) -> float:
        """Time of the next timeout; infinity if no device owes an answer."""
        return min(self._asked_at_s.values(), default=float("inf")) + ANSWER_WITHIN_S

    def expect(self, device: str, now_s: float) -> None:
        """Note that a device has been sent a command."""
        self._asked_at_s.setdefault(device, now_s)

    def received(self, device: str) -> None:
        """Note that a device has sent a message."""
        self._asked_at_s.pop(device, None)

    def take_due(self, now_s: float) -> list[str]:
        """Remove and return the devices whose time is over."""
        due = [device for device, asked_at_s in self._asked_at_s.items() if now_s - asked_at_s >= ANSWER_WITHIN_S]
        for device in due:
            del self._asked_at_s[device]
        return due
