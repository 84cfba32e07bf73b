"""Devices that are asked and say nothing: the planner takes them for gone, and says so in their place. Pure.

Presence is retained. A device that dies together with a broker that keeps its retained messages is said to be online
for ever, since nobody was there to publish its last will. If it is there after all, it hears that it is said to be
gone, and contradicts.
"""

from dataclasses import dataclass, field

ANSWER_WITHIN_S = 4.0
"""A device says at once that it has heard a command to prepare, however long the preparation takes."""


@dataclass(slots=True)
class Silence:
    """Who owes an answer since when (planner's clock)."""

    _asked_s: dict[str, float] = field(default_factory=dict, init=False)

    @property
    def due_at_s(self) -> float:
        """When the next device will have been silent for too long; infinity if none owes an answer."""
        return min(self._asked_s.values(), default=float("inf")) + ANSWER_WITHIN_S

    def asked(self, device: str, now_s: float) -> None:
        """A command has been sent that is answered at once."""
        self._asked_s.setdefault(device, now_s)

    def heard(self, device: str) -> None:
        """The device has said something."""
        self._asked_s.pop(device, None)

    def take_due(self, now_s: float) -> list[str]:
        """Return the devices that have just been silent for too long; they owe nothing any more."""
        due = [device for device, since_s in self._asked_s.items() if now_s - since_s >= ANSWER_WITHIN_S]
        for device in due:
            del self._asked_s[device]
        return due
