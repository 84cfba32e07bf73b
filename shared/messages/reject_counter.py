"""Messages that are dropped because they do not decode: all of them counted, each cause told once."""

from dataclasses import dataclass, field
from typing import Final

MAX_CAUSES: Final = 256
"""Past so many causes none is told any more: a fault without end must not fill memory and logs."""
_MAX_REASON_CHARACTERS: Final = 200


@dataclass(slots=True)
class RejectCounter:
    """How many messages were dropped, and which causes are known already.

    Attributes:
        count: messages so far.
    """

    count: int = 0
    _causes: set[tuple[str, str]] = field(default_factory=set, init=False)

    def add(self, topic: str, reason: str) -> bool:
        """Count a message; say whether its cause is new on this topic and should be told."""
        self.count += 1
        cause = (topic, reason[:_MAX_REASON_CHARACTERS])
        if cause in self._causes or len(self._causes) >= MAX_CAUSES:
            return False
        self._causes.add(cause)
        return True
