"""Commands of the planner to executors, and their reports."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.bus import topics
from shared.messages.base import Message, MessageUnion, Part
from shared.messages.bounds import (
    MAX_BLOCKS,
    MAX_DEVICES,
    MAX_TILES,
    BlockIndex,
    BlockStop,
    CodecName,
    EpochNumber,
    ModelId,
    Name,
    Prose,
    Rows,
    at_most,
)
from shared.messages.models import Manifest
from shared.messages.streams import PlanStage


class SegmentRange(Part):
    """Blocks `[start, stop)` of a model."""

    start: BlockIndex
    stop: BlockStop
    codec: CodecName = "raw"
    """Encoding of their output, as a hint: a device may prepare for it, but must serve any other."""

    rows: Rows | None = None
    """Rows of the output that this device makes, as a tile; None for a segment in one piece."""
    next_stop: Annotated[int, Field(ge=0, le=MAX_BLOCKS)] = 0
    """If tiles compute the next segment, the block behind its last; else 0."""
    next_rows: Annotated[tuple[Rows, ...], at_most(MAX_TILES)] = ()
    """Rows of the next segment's output that each of its tiles makes."""

    @model_validator(mode="after")
    def _runs_forward(self) -> Self:
        if self.start >= self.stop:
            raise ValueError(f"blocks [{self.start}, {self.stop}) are none")
        if (self.next_stop != 0) != bool(self.next_rows) or 0 < self.next_stop <= self.stop:
            raise ValueError(f"tiles of blocks [{self.stop}, {self.next_stop}) are none")
        if any(top >= bottom for top, bottom in (*self.next_rows, *((self.rows,) if self.rows else ()))):
            raise ValueError("a tile without rows")
        return self

    @classmethod
    def at(cls, stages: Sequence[PlanStage], index: int, tile: int) -> Self:
        """Return what one device of a stage holds."""
        stage = stages[index]
        after = stages[index + 1] if index + 1 < len(stages) and stages[index + 1].tiles else None
        return cls(
            start=stage.start,
            stop=stage.stop,
            codec=stage.codec,
            rows=stage.rows[tile] if stage.tiles else None,
            next_stop=0 if after is None else after.stop,
            next_rows=() if after is None else after.rows,
        )


def segments_of(routes: Iterable[Sequence[PlanStage]]) -> dict[str, tuple[SegmentRange, ...]]:
    """Return the segments that each device must hold for these routes, each once.

    A segment has its codec if it has the same in all routes.
    """
    found: dict[str, dict[SegmentRange, set[str]]] = {}
    for stages in routes:
        for index, stage in enumerate(stages):
            for tile, device in enumerate(stage.devices):
                held = SegmentRange.at(stages, index, tile)
                plain = held.model_copy(update={"codec": "raw"})
                found.setdefault(device, {}).setdefault(plain, set()).add(held.codec)
    return {
        device: tuple(
            held.model_copy(update={"codec": codecs.pop()}) if len(codecs) == 1 else held
            for held, codecs in ranges.items()
        )
        for device, ranges in found.items()
    }


class ProfileModel(Message):
    """Fetch a model and measure its blocks. Answered by a retained Profile, or by ProfileFailed."""

    TOPIC: ClassVar = topics.commands

    kind: Literal["profile"] = "profile"
    manifest: Manifest
    tiles: bool = False
    """Whether to measure tiles of its blocks, too. The profile without them is published before."""


class Prepare(Message):
    """Prepare to run these segments in epoch `epoch`. Answered by Preparing immediately, then by Ready or Rejected."""

    TOPIC: ClassVar = topics.commands

    kind: Literal["prepare"] = "prepare"
    stream: Name
    epoch: EpochNumber
    manifest: Manifest
    segments: Annotated[tuple[SegmentRange, ...], at_most(MAX_BLOCKS)]
    receivers: Annotated[tuple[Name, ...], at_most(MAX_DEVICES)] = ()
    """Devices that its feature maps may go to directly. It connects to them before the plan is in force."""


class Release(Message):
    """Release the epochs of `stream` up to `through_epoch`: drop their segments once their requests have ended."""

    TOPIC: ClassVar = topics.commands

    kind: Literal["release"] = "release"
    stream: Name
    through_epoch: EpochNumber


Command = Annotated[ProfileModel | Prepare | Release, Field(discriminator="kind")]
# Decodes the messages of `topics.commands`.
COMMANDS = MessageUnion(Command)


class RejectionCause(StrEnum):
    """Cause of a device's rejection."""

    MEMORY = "memory"
    MODEL_MISSING = "model_missing"
    MODEL_INVALID = "model_invalid"
    DISK = "disk"
    ERROR = "error"


class Preparing(Message):
    """The device has received the command and prepares. Without this message the planner treats it as offline."""

    TOPIC: ClassVar = topics.reports

    kind: Literal["preparing"] = "preparing"
    device: Name
    stream: Name
    epoch: EpochNumber


class Ready(Message):
    """The device can run the epoch's segments."""

    TOPIC: ClassVar = topics.reports

    kind: Literal["ready"] = "ready"
    device: Name
    stream: Name
    epoch: EpochNumber


class Rejected(Message):
    """The device cannot run the epoch's segments. The planner plans again without that choice."""

    TOPIC: ClassVar = topics.reports

    kind: Literal["rejected"] = "rejected"
    device: Name
    stream: Name
    epoch: EpochNumber
    cause: RejectionCause
    reason: Prose


class ProfileFailed(Message):
    """The device cannot fetch or measure the model."""

    TOPIC: ClassVar = topics.reports

    kind: Literal["profile_failed"] = "profile_failed"
    device: Name
    model: ModelId
    cause: RejectionCause
    reason: Prose


Report = Annotated[Preparing | Ready | Rejected | ProfileFailed, Field(discriminator="kind")]
# Decodes the messages of `topics.reports`.
REPORTS = MessageUnion(Report)
