"""Decides when a change of measured values is published."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class MonitoredQuantity:
    """A value whose changes are detected.

    Attributes:
        value: not negative.
        floor: smaller values count as the floor, so that changes among tiny values are ignored.
    """

    value: float
    floor: float = 1e-9


class Occasion(Enum):
    """Reason to publish now."""

    CHANGE = "change"
    HEARTBEAT = "heartbeat"


class ChangeDetector:
    """Compares samples with the values last published.

    Publishing is due when values have moved away and stayed there, when they moved far, and as a heartbeat.
    """

    def __init__(
        self, *, threshold: float = 0.1, urgent: float = 0.5, confirmations: int = 2, heartbeat_s: float = 5.0
    ) -> None:
        """Begin with nothing published.

        Args:
            threshold: relative change that counts, as `relative_change` defines it.
            urgent: relative change that is published without waiting for a second sample.
            confirmations: consecutive samples beyond `threshold` before it is published.
            heartbeat_s: longest silence.
        """
        self._threshold = threshold
        self._urgent = urgent
        self._confirmations = confirmations
        self._heartbeat_s = heartbeat_s
        self._published: Mapping[str, MonitoredQuantity] | None = None
        self._published_s = 0.0
        self._beyond = 0

    def next_heartbeat_s(self) -> float | None:
        """Return when the heartbeat is due; none before anything was published."""
        return None if self._published is None else self._published_s + self._heartbeat_s

    def examine(self, quantities: Mapping[str, MonitoredQuantity], now_s: float) -> Occasion | None:
        """Compare a new sample with the published values; return why to publish it, or none.

        The caller publishes and then calls `published`.

        Args:
            quantities: by name; one that appears or disappears is a change.
            now_s: monotonic seconds.
        """
        # A link that appears or disappears changes what the planner may use, so it does not wait for confirmation.
        if self._published is None or self._published.keys() != quantities.keys():
            return Occasion.CHANGE
        change = max(
            (relative_change(self._published[name], quantity) for name, quantity in quantities.items()), default=0.0
        )
        self._beyond = self._beyond + 1 if change > self._threshold else 0
        if change > self._urgent or self._beyond >= self._confirmations:
            return Occasion.CHANGE
        return Occasion.HEARTBEAT if now_s - self._published_s >= self._heartbeat_s else None

    def published(self, quantities: Mapping[str, MonitoredQuantity], now_s: float) -> None:
        """Record that these values were published."""
        self._published = dict(quantities)
        self._published_s = now_s
        self._beyond = 0


def relative_change(before: MonitoredQuantity, after: MonitoredQuantity) -> float:
    """Return the greater value over the smaller, less 1: symmetric, 1 for a doubled and for a halved value."""
    first, second = max(before.value, before.floor), max(after.value, after.floor)
    return max(first, second) / min(first, second) - 1
