"""Alternatives to a committed plan: the ranges in which it stays the best, and the next best routes."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from shared.bus import topics
from shared.messages.base import Message, Part
from shared.messages.bounds import EpochNumber, Estimate, FactorFromOne, Milliseconds, Name, PolicyMilliseconds, at_most
from shared.messages.streams import PlanRoute


class ThresholdQuantity(StrEnum):
    """A quantity that a source can measure."""

    BANDWIDTH = "bandwidth"
    """Of the link between `device` and `target`, Mbps."""
    LOAD = "load"
    """The load factor of `device`."""


class Threshold(Part):
    """The range of one quantity, all others unchanged, in which the committed route stays the best.

    From `low` to `high` no route is better. At `leave_below` and less, and at `leave_above` and more, another route
    gains the policy's `min_gain`, or the committed one misses the deadline. The best routes there are `below` and
    `above`. They are None where no other route gains as much. If a deadline bounds the choice, the range ends at
    `value` on the side where the deadline is met.
    """

    quantity: ThresholdQuantity
    device: Name
    target: Name | None = None
    value: Annotated[float, Field(gt=0, le=1e100)]
    """The planner's present estimate."""
    sharing: FactorFromOne = 1.0
    """Factor of the load that is due to other streams. The device's own segments do not show it."""
    latency_ms: Milliseconds = 0.0
    """Of the link."""
    low: Estimate
    high: Estimate
    leave_below: Estimate | None = None
    below: PlanRoute | None = None
    leave_above: Estimate | None = None
    above: PlanRoute | None = None


class Alternatives(Message):
    """The thresholds of a committed plan (`streams/{stream}/alternatives`, retained)."""

    TOPIC: ClassVar = topics.alternatives

    stream: Name
    epoch: EpochNumber
    """Epoch of the plan to which the thresholds belong."""
    cooldown_ms: PolicyMilliseconds = 0.0
    """The policy's cooldown. The source does not switch sooner after it has adopted the plan."""
    thresholds: Annotated[tuple[Threshold, ...], at_most(1024)] = ()
