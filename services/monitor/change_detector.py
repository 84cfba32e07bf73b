"""When is a change worth a message? Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class MonitoredQuantity:
    """A value to watch.

    Attributes:
        value: not negative.
        floor: values below it count as this much, so that changes among tiny values are none.
    """

    value: float
    floor: float = 1e-9


class Occasion(Enum):
    """Why something should be published now."""

    CHANGE = "change"
    HEARTBEAT = "heartbeat"


class ChangeDetector:
    """Says when to publish: when values moved away from those last published and stayed there, and as a heartbeat."""

    def __init__(
        self, *, threshold: float = 0.1, urgent: float = 0.5, patience: int = 2, heartbeat_s: float = 5.0
    ) -> None:
        """Begin with nothing published.

        Args:
            threshold: relative change that counts, up or down alike: the greater value over the smaller, less 1.
            urgent: relative change that is published without waiting for a second sample.
            patience: consecutive samples beyond `threshold` before it is published.
            heartbeat_s: longest silence.
        """
        self._threshold = threshold
        self._urgent = urgent
        self._patience = patience
        self._heartbeat_s = heartbeat_s
        self._published: Mapping[str, MonitoredQuantity] | None = None
        self._published_s = 0.0
        self._beyond = 0

    def next_heartbeat_s(self) -> float | None:
        """Return when the heartbeat is due; none before anything was published."""
        return None if self._published is None else self._published_s + self._heartbeat_s

    def examine(self, quantities: Mapping[str, MonitoredQuantity], now_s: float) -> Occasion | None:
        """Take a new sample of the values and say whether to publish them. `published` must follow if so.

        Args:
            quantities: by name; one that appears or disappears is a change.
            now_s: monotonic seconds.
        """
        if self._published is None or self._published.keys() != quantities.keys():
            return Occasion.CHANGE
        change = max((relative_change(self._published[name], each) for name, each in quantities.items()), default=0.0)
        self._beyond = self._beyond + 1 if change > self._threshold else 0
        if change > self._urgent or self._beyond >= self._patience:
            return Occasion.CHANGE
        return Occasion.HEARTBEAT if now_s - self._published_s >= self._heartbeat_s else None

    def published(self, quantities: Mapping[str, MonitoredQuantity], now_s: float) -> None:
        """Note that these values were published."""
        self._published = dict(quantities)
        self._published_s = now_s
        self._beyond = 0


def relative_change(before: MonitoredQuantity, after: MonitoredQuantity) -> float:
    """Return by which part of the smaller value the two differ; 1 for twice as much and for half as much."""
    first, second = max(before.value, before.floor), max(after.value, after.floor)
    return max(first, second) / min(first, second) - 1
