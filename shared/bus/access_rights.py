"""Rights that a broker's access rules deny to this client, as far as they show.

A broker says so in PUBACK and SUBACK, but not for a message of QoS 0, and Mosquitto grants subscriptions of which it
delivers nothing. So the first message of QoS 0 on a topic is sent with QoS 1 (`Connection`), and what can be sent to
oneself is tried (`BrokerTransport`).
"""

import logging
from dataclasses import dataclass, field
from typing import Final

_LOGGER = logging.getLogger(__name__)

_MAX_RIGHTS: Final = 64
# Bound on the topics whose right to write is known. Beyond it messages of QoS 0 are not tried.
_MAX_TRIED: Final = 256


@dataclass(slots=True)
class MissingRights:
    """The rights that are known to be missing, each logged once. Topics are given with the root."""

    _found: dict[str, None] = field(default_factory=dict, init=False)
    _tried: set[str] = field(default_factory=set, init=False)

    def is_tried(self, topic: str) -> bool:
        """Return whether a message of QoS 1 was sent on a topic: the broker says whether this client may."""
        return topic in self._tried

    def try_to_write(self, topic: str) -> bool:
        """Take a topic as tried; return False, and do not, if there are too many of them."""
        if len(self._tried) >= _MAX_TRIED:
            return False
        self._tried.add(topic)
        return True

    def note(self, right: str, topic: str) -> None:
        """Note that a right is missing. A topic to write is to be tried again: an operator may change the rules.

        Args:
            right: `read` or `write`.
            topic: or a filter.
        """
        if right == "write":
            self._tried.discard(topic)
        text = f"{right} {topic}"
        if text not in self._found and len(self._found) < _MAX_RIGHTS:
            self._found[text] = None
            _LOGGER.error("the broker's access rules deny this account a right: %s", text)

    def forget(self, right: str, topic: str) -> None:
        """Note that a right is there after all: an operator may change the rules of a running broker."""
        self._found.pop(f"{right} {topic}", None)

    @property
    def text(self) -> str:
        """What is missing, in one line; empty if nothing is."""
        return f"the broker's access rules deny: {', '.join(self._found)}" if self._found else ""
