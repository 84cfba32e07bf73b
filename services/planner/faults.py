"""Messages that do not decode: counted, and told once per cause."""

from dataclasses import dataclass, field

_MAX_CAUSES = 512


@dataclass(slots=True)
class BadMessages:
    """How many messages were dropped, and which causes are known already.

    Attributes:
        dropped: messages so far.
    """

    dropped: int = 0
    _causes: set[tuple[str, str]] = field(default_factory=set)

    def note(self, topic: str, reason: str) -> bool:
        """Count a message; say whether its cause is new. Past a bound of causes nothing is new any more."""
        self.dropped += 1
        cause = (topic, reason)
        if cause in self._causes or len(self._causes) >= _MAX_CAUSES:
            return False
        self._causes.add(cause)
        return True
