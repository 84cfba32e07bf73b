"""What lies beside the plan in force: within which ranges it stays the best, and which route is next beyond them."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from shared.bus import topics
from shared.messages.base import Message, Name, Part
from shared.messages.streams import PlanRoute


class ThresholdQuantity(StrEnum):
    """What may change."""

    BANDWIDTH = "bandwidth"
    """Of the link between `device` and `target`, Mbps."""
    LOAD = "load"
    """The load factor of `device`."""


class Threshold(Part):
    """One quantity, everything else as it is: from `low` to `high` no route is better than the committed one.

    Beyond that others are, and from `leave_below` down and `leave_above` up they are so by the policy's `min_gain`, or
    the committed one misses the deadline; there `below` and `above` are the best. None where no other route gains as
    much. Under a deadline that bounds the objective's choice, the side on which it is kept ends at `value`.
    """

    quantity: ThresholdQuantity
    device: Name
    target: Name | None = None
    value: Annotated[float, Field(gt=0)]
    """At present, as far as the planner knows."""
    sharing: Annotated[float, Field(ge=1)] = 1.0
    """How many times of a load the computing of other streams accounts for: the device's own segments do not show it.
    """
    latency_ms: Annotated[float, Field(ge=0)] = 0.0
    """Of the link."""
    low: float
    high: float
    leave_below: float | None = None
    below: PlanRoute | None = None
    leave_above: float | None = None
    above: PlanRoute | None = None


class Alternatives(Message):
    """The thresholds of a committed plan (`streams/{stream}/alternatives`, retained)."""

    TOPIC: ClassVar = topics.alternatives

    stream: Name
    epoch: int
    """Of the plan; for another one they mean nothing."""
    cooldown_ms: Annotated[float, Field(ge=0)] = 0.0
    """The policy's: the source does not switch sooner after it has taken the plan."""
    thresholds: tuple[Threshold, ...] = ()
