"""Topics and topic filters that the embedded broker can serve."""

from dataclasses import dataclass, field
from typing import Final

# Bounds of a topic. Mosquitto has the same one on levels.
_MAX_TOPIC_BYTES: Final = 4096
_MAX_LEVELS: Final = 200


@dataclass(slots=True)
class TopicQuota:
    """The topics and filters of all clients, of which the broker keeps a log each for ever.

    Attributes:
        limit: largest number. The broker compares every message with every one of them.
    """

    limit: int = 100_000
    _known: set[str] = field(default_factory=set, init=False)

    def _admit(self, topic: str) -> bool:
        """Note a topic or a filter, and return whether it is within the bound."""
        if topic in self._known:
            return True
        if len(self._known) >= self.limit:
            return False
        self._known.add(topic)
        return True

    def topic_fault(self, topic: str) -> str:
        """Return why the broker cannot serve a topic name; empty if it can."""
        if not topic or wildcard(topic):
            return "a topic that is empty or has wildcards"
        if not topic[0].isascii():
            return "a topic whose first character is not ASCII"
        if topic[0] == "$":
            return "a topic that begins with $"
        return self._size_fault(topic)

    def filter_fault(self, topic_filter: str, qos: int) -> str:
        """Return why the broker cannot serve a subscription; empty if it can."""
        if not topic_filter or not _is_filter(topic_filter):
            return "a topic filter that is none"
        if topic_filter[0] == "$":
            return "a topic filter that begins with $, as shared subscriptions do"
        if qos == 2:
            return "quality of service 2"
        return self._size_fault(topic_filter)

    def _size_fault(self, topic: str) -> str:
        if len(topic.encode()) > _MAX_TOPIC_BYTES or topic.count("/") >= _MAX_LEVELS:
            return f"a topic of more than {_MAX_TOPIC_BYTES} bytes or {_MAX_LEVELS} levels"
        if not self._admit(topic):
            return f"a new topic beyond {self.limit}"
        return ""


def wildcard(topic: object) -> str:
    """Return what is wrong with a topic name that has wildcards; empty if it has none, or is no text."""
    return "a wildcard in a topic" if isinstance(topic, str) and ("+" in topic or "#" in topic) else ""


def _is_filter(text: str) -> bool:
    """Return whether wildcards stand where they may (MQTT 5.0, 4.7.1)."""
    *levels, last = text.split("/")
    return all(level == "+" or not wildcard(level) for level in levels) and (last in ("+", "#") or not wildcard(last))
