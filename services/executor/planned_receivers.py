"""The devices to which this device sends by the plans in force."""

from dataclasses import dataclass, field

from shared.messages.streams import CommittedPlan


@dataclass(slots=True)
class PlannedReceivers:
    """Receivers of this device's feature maps, plan by plan.

    Attributes:
        device: name of this device.
    """

    device: str
    _by_stream: dict[str, frozenset[str]] = field(default_factory=dict, init=False)

    def planned(self, stream: str, plan: CommittedPlan | None) -> frozenset[str]:
        """Take the plan of a stream, None if it has none, and return the receivers by all plans."""
        self._by_stream.pop(stream, None)
        if plan is not None and (found := plan.direct_receivers(self.device)):
            self._by_stream[stream] = found
        return frozenset().union(*self._by_stream.values())
