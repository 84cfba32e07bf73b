"""Messages about a stream: declaration, committed plan, status and usage."""

import itertools
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, ClassVar, Final, Self

from pydantic import AfterValidator, Field, model_validator

from shared.bus import topics
from shared.messages.base import Message, MessageError, Part
from shared.messages.bounds import (
    MAX_INTEGER,
    MAX_ROUTES,
    MAX_STAGES,
    MAX_TILES,
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
    Rows,
    Word,
    at_most,
)
from shared.row_ranges import RowRange, partition_faults
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


class PlanTile(Part):
    """Rows `[top, bottom)` of a stage's output, computed by one device."""

    device: Name
    rows: Rows


class PlanStage(Part):
    """Blocks `[start, stop)` on one device, or on several that compute tiles. `codec` encodes the output as sent."""

    start: BlockIndex
    stop: BlockStop
    device: Name
    """Of a tiled stage, the device of the first tile."""
    codec: CodecName = "raw"
    """Rows of a tile are encoded by themselves."""
    tiles: Annotated[tuple[PlanTile, ...], at_most(MAX_TILES)] = ()
    """Two or more tiles, each on a device of its own, that make every row of the output once; none for a stage in one
    piece."""

    @model_validator(mode="after")
    def _has_whole_tiles(self) -> Self:
        if not self.tiles:
            return self
        if len(self.tiles) == 1 or len(set(self.devices)) < len(self.tiles) or self.device != self.tiles[0].device:
            raise ValueError("the tiles of a stage are two or more on different devices, the first on its device")
        for tile, fault in partition_faults([tile.rows for tile in self.tiles]):
            raise ValueError(f"tile {tile}: {fault}")
        return self

    @property
    def devices(self) -> tuple[str, ...]:
        """The device of each tile; of a stage in one piece, its device."""
        return tuple(tile.device for tile in self.tiles) if self.tiles else (self.device,)

    @property
    def rows(self) -> tuple[RowRange, ...]:
        """The rows of each tile; none for a stage in one piece."""
        return tuple(tile.rows for tile in self.tiles)


def _contiguous(stages: tuple[PlanStage, ...]) -> tuple[PlanStage, ...]:
    start = 0
    for stage in stages:
        if stage.start != start or stage.stop <= start:
            raise ValueError(f"a stage of blocks [{stage.start}, {stage.stop}) where block {start} comes next")
        start = stage.stop
    # Block 0 reads the bytes of a request, and the result is made of the whole output.
    for stage, place in ((stages[0], "first"), (stages[-1], "last")):
        if stage.tiles:
            raise ValueError(f"the {place} stage of a route runs on one device, not in tiles")
    return stages


# A whole route: every block from 0 on, in order.
Stages = Annotated[tuple[PlanStage, ...], at_most(MAX_STAGES, at_least=1), AfterValidator(_contiguous)]


def comes_in_parts(stages: Sequence[PlanStage], index: int) -> bool:
    """Return whether the input of a stage consists of rows that come from several devices, or go to several."""
    return bool(stages[index].tiles) or (index > 0 and bool(stages[index - 1].tiles))


def hops(source: str, stages: Sequence[PlanStage]) -> frozenset[tuple[str, str]]:
    """Return the pairs of different devices between which feature maps of a route may pass, sender first."""
    places = [(source,), *(stage.devices for stage in stages)]
    return frozenset(
        (sender, receiver)
        for senders, receivers in itertools.pairwise(places)
        for sender in senders
        for receiver in receivers
        if sender != receiver
    )


class PlanRoute(Part):
    """A route with its weight among the stream's routes (of a burst: its number of requests) and predicted latency."""

    stages: Stages
    weight: PositiveCardinal = 1
    predicted_ms: Estimate | None = None


def route_text(route: PlanRoute) -> str:
    """Return a route as text, such as ``pi[0,4) > server[4,9)``; with tiles ``pi:0-28+server:28-56[1,4)``."""
    return " > ".join(f"{_place_text(stage)}[{stage.start},{stage.stop})" for stage in route.stages)


def _place_text(stage: PlanStage) -> str:
    tiles = (f"{tile.device}:{tile.rows[0]}-{tile.rows[1]}" for tile in stage.tiles)
    return "+".join(tiles) or stage.device


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
        found = (hop for route in self.routes for hop in hops(self.source, route.stages))
        return frozenset(receiver for sender, receiver in found if sender == device)


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
