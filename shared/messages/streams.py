"""Messages about a stream: declaration, committed plan, status and usage."""

import itertools
from enum import StrEnum
from typing import Annotated, ClassVar, Final, Self

from pydantic import AfterValidator, Field, model_validator

from shared.bus import topics
from shared.messages.base import Message, MessageError, Part
from shared.messages.bounds import (
    MAX_INTEGER,
    MAX_ROUTES,
    MAX_STAGES,
    BlockIndex,
    BlockStop,
    Cardinal,
    CodecName,
    EpochNumber,
    Estimate,
    Instant,
    Line,
    Milliseconds,
    ModelId,
    Name,
    PolicyMilliseconds,
    PositiveCardinal,
    Prose,
    Reasons,
    Word,
    at_most,
)
from shared.transport_mode import TransportMode


class StreamDeclaration(Message):
    """A stream of requests (`streams/{stream}`, retained). An empty `model` withdraws it."""

    TOPIC: ClassVar = topics.stream

    stream: Name
    model: Line
    """SHA-256 of the file, or an alias: the manifest's name."""
    version: Word = ""
    """Version of the model (`ModelVersion`) that the stream keeps; empty for the newest one."""
    source: Name
    sink: Name | None = None
    rate_hz: Annotated[float, Field(gt=0, le=1e9)] | None = None
    jobs: PositiveCardinal = 1
    live: bool = False
    """Drop older frames instead of queueing them when too many are in flight."""


def withdrawn(stream: str) -> StreamDeclaration:
    """Return the meaning of a declaration that was cleared.

    Raises:
        MessageError: the topic's stream is no name.
    """
    if not topics.is_name(stream):
        raise MessageError("the topic's stream is no name")
    return StreamDeclaration(stream=stream, model="", source="none")


class PlanStage(Part):
    """Blocks `[start, stop)` on one device. `codec` encodes the output that it sends."""

    start: BlockIndex
    stop: BlockStop
    device: Name
    codec: CodecName = "raw"


def _contiguous(stages: tuple[PlanStage, ...]) -> tuple[PlanStage, ...]:
    start = 0
    for stage in stages:
        if stage.start != start or stage.stop <= start:
            raise ValueError(f"a stage of blocks [{stage.start}, {stage.stop}) where block {start} comes next")
        start = stage.stop
    return stages


# A whole route: every block from 0 on, in order.
Stages = Annotated[tuple[PlanStage, ...], at_most(MAX_STAGES, at_least=1), AfterValidator(_contiguous)]


class PlanRoute(Part):
    """A route with its weight among the stream's routes (of a burst: its number of requests) and predicted latency."""

    stages: Stages
    weight: PositiveCardinal = 1
    predicted_ms: Estimate | None = None


def route_text(route: PlanRoute) -> str:
    """Return a route as text, such as ``pi[0,4) > server[4,9)``."""
    return " > ".join(f"{stage.device}[{stage.start},{stage.stop})" for stage in route.stages)


class CommittedPlan(Message):
    """The plan in force for a stream (`streams/{stream}/plan`, retained)."""

    TOPIC: ClassVar = topics.plan

    stream: Name
    epoch: EpochNumber
    model: ModelId
    version: Word = ""
    """Version of the manifest (`ModelVersion`) under which devices run the model; empty in plans of old planners."""
    source: Name
    strategy: Line
    routes: Annotated[tuple[PlanRoute, ...], at_most(MAX_ROUTES, at_least=1)]
    queue: Word = "fifo"
    """Queue discipline (policy `queue`)."""
    max_in_flight: PositiveCardinal = 4
    retry_limit: Cardinal = 3
    deadline_ms: PolicyMilliseconds | None = None
    transport: TransportMode | None = None
    """Transports that the policy allows; None for each device's own setting."""
    live: bool = False
    jobs: PositiveCardinal = 1
    """Requests of a burst. Above 1, the first `weight` requests of a burst take the first of `routes`, and so on. At 1,
    requests are spread over the routes by weight."""
    reason: Prose = ""
    committed_at_s: Instant = 0.0
    trigger_at_s: Instant | None = None
    """Wall-clock time of the message that caused the reroute."""

    @model_validator(mode="after")
    def _of_one_model(self) -> Self:
        stops = {route.stages[-1].stop for route in self.routes}
        if len(stops) > 1:
            raise ValueError(f"its routes end after different blocks: {min(stops)} and {max(stops)}")
        return self

    def direct_receivers(self, device: str) -> frozenset[str]:
        """Return the devices that a device sends feature maps to, if these may travel without the broker."""
        if self.transport is TransportMode.MQTT:
            return frozenset()
        ways = [(self.source, *(stage.device for stage in route.stages)) for route in self.routes]
        return frozenset(
            after for way in ways for before, after in itertools.pairwise(way) if before == device != after
        )


class StreamPhase(StrEnum):
    """Phase of a stream in the planner."""

    WAITING = "waiting"
    """Waits for its source, its model or profiles: see `reasons`."""
    PLANNING = "planning"
    RUNNING = "running"
    INFEASIBLE = "infeasible"


class StreamStatus(Message):
    """The planner's state of a stream and its policy (`streams/{stream}/status`, retained)."""

    TOPIC: ClassVar = topics.status

    stream: Name
    state: StreamPhase
    reasons: Reasons = ()
    """Reasons why it does not run, or overloads of the routes of a stream that runs."""
    epoch: EpochNumber = 0
    policy_revision: Line = ""
    """Revision of the policy that was checked last."""
    policy_accepted: bool = True
    policy_reasons: Reasons = ()
    """Reasons for a refusal, or warnings about an accepted policy."""


# Latencies in one report, at most.
MAX_LATENCIES: Final = 32


class DeviceTime(Part):
    """Median time of a stream's requests on one device, by its own clock: queueing and computing."""

    device: Name
    took_ms: Milliseconds


class MeasuredLatencies(Part):
    """Latencies of requests under one plan, from dispatch to outcome, by the source's monotonic clock."""

    epoch: EpochNumber
    latencies_ms: Annotated[tuple[Milliseconds, ...], at_most(MAX_LATENCIES)] = ()
    """Of requests that had their result at the first attempt since the last report, oldest first."""
    devices: Annotated[tuple[DeviceTime, ...], at_most(MAX_STAGES)] = ()


class StreamUsage(Message):
    """Size and rate of a stream's requests, measured by the source (`streams/{stream}/usage`, retained)."""

    TOPIC: ClassVar = topics.usage

    stream: Name
    input_bytes: Annotated[int, Field(gt=0, le=MAX_INTEGER)]
    """Median bytes of a request."""
    rate_hz: Annotated[float, Field(ge=0, le=1e9)] | None = None
    measured: MeasuredLatencies | None = None
    """None if no request has ended since the last report."""
