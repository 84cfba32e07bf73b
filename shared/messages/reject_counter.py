"""Counter of dropped messages that reports each cause once."""

from dataclasses import dataclass, field
from typing import Final

# Largest number of reported causes: endless faults must not fill memory and logs.
MAX_CAUSES: Final = 256
_MAX_REASON_CHARACTERS: Final = 200


@dataclass(slots=True)
class RejectCounter:
    """Number of dropped messages, and the causes that were reported.

    Changed by `add` only. Invariant: at most `MAX_CAUSES` causes are stored.

    Attributes:
        count: messages dropped so far.
    """

    count: int = 0
    _causes: set[tuple[str, str]] = field(default_factory=set, init=False)

    def add(self, topic: str, reason: str) -> bool:
        """Count a message, and return whether its cause is new on this topic and should be reported."""
        self.count += 1
        cause = (topic, reason[:_MAX_REASON_CHARACTERS])
        if cause in self._causes or len(self._causes) >= MAX_CAUSES:
            return False
        self._causes.add(cause)
        return True
