"""The devices to which this device sends by the plans in force."""

import itertools
from dataclasses import dataclass, field

from shared.messages.streams import CommittedPlan
from shared.transport_mode import TransportMode


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
        if plan is not None and plan.transport is not TransportMode.MQTT and (found := self._receivers(plan)):
            self._by_stream[stream] = found
        return frozenset().union(*self._by_stream.values())

    def _receivers(self, plan: CommittedPlan) -> frozenset[str]:
        ways = [(plan.source, *(stage.device for stage in route.stages)) for route in plan.routes]
        return frozenset(
            after for way in ways for before, after in itertools.pairwise(way) if before == self.device != after
        )
