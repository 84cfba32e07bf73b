"""Events for operators and the collector."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from shared.bus import topics
from shared.messages.base import Message, Part
from shared.messages.bounds import MAX_ROUTES, Details, EpochNumber, Estimate, Instant, Name, Prose, Word, at_most
from shared.messages.streams import PlanRoute


class EventKind(StrEnum):
    """Kind of an event."""

    REROUTE = "reroute"
    REJECTION = "rejection"
    INFEASIBLE = "infeasible"
    POLICY_ACCEPTED = "policy_accepted"
    POLICY_REFUSED = "policy_refused"
    DEVICE_LOST = "device_lost"
    DEVICE_BACK = "device_back"
    REQUEST_FAILED = "request_failed"
    REQUEST_RETRIED = "request_retried"
    SWITCHED = "switched"
    """A source has switched to another route by itself, or back."""
    CODEC_WITHDRAWN = "codec_withdrawn"
    BAD_MESSAGE = "bad_message"
    FAILURE = "failure"


class RerouteCause(StrEnum):
    """Cause of a change of routes by the planner."""

    FIRST_PLAN = "first_plan"
    LINK_CHANGED = "link_changed"
    LOAD_CHANGED = "load_changed"
    DEVICE_LOST = "device_lost"
    DEVICE_BACK = "device_back"
    POLICY_CHANGED = "policy_changed"
    PROFILE_CHANGED = "profile_changed"
    STREAM_CHANGED = "stream_changed"
    REJECTED = "rejected"
    MEASURED = "measured"
    """The last reroute has made the measured latency worse, and is taken back."""


class Event(Message):
    """An event of interest to operators."""

    TOPIC: ClassVar = topics.events

    kind: EventKind
    at_s: Instant
    origin: Name
    """The service or device that reports it."""
    text: Prose
    """One line for operators."""
    stream: Name | None = None
    device: Name | None = None
    data: Details = Field(default_factory=dict)


class Reroute(Part):
    """The `data` of a reroute event: cause, previous and chosen routes, and predictions."""

    stream: Name
    epoch: EpochNumber
    cause: RerouteCause
    reason: Prose
    previous: Annotated[tuple[PlanRoute, ...], at_most(MAX_ROUTES)]
    chosen: Annotated[tuple[PlanRoute, ...], at_most(MAX_ROUTES)]
    objective: Word
    predicted_before: Estimate | None
    """Predicted objective of the previous routes in the new state; None if they cannot run."""
    predicted_after: Estimate
    together: Annotated[tuple[Name, ...], at_most(1000)] = ()
    """The streams that are planned together, this one included, and share the objective. Empty for a single stream."""
    trigger_at_s: Instant
    """Wall clock of the message that caused it."""
    committed_at_s: Instant
