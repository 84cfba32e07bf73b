"""Commands of the planner to executors, and their reports."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from shared.bus import topics
from shared.messages.base import Message, MessageUnion, Part
from shared.messages.bounds import (
    MAX_BLOCKS,
    MAX_DEVICES,
    BlockIndex,
    BlockStop,
    CodecName,
    EpochNumber,
    ModelId,
    Name,
    Prose,
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

    @model_validator(mode="after")
    def _runs_forward(self) -> Self:
        if self.start >= self.stop:
            raise ValueError(f"blocks [{self.start}, {self.stop}) are none")
        return self


def ranges_of(stages: Iterable[PlanStage]) -> tuple[SegmentRange, ...]:
    """Return the ranges of these stages, each once, with its codec if all stages of the range have the same."""
    codecs: dict[tuple[int, int], set[str]] = {}
    for stage in stages:
        codecs.setdefault((stage.start, stage.stop), set()).add(stage.codec)
    return tuple(
        SegmentRange(start=start, stop=stop, codec=found.pop() if len(found) == 1 else "raw")
        for (start, stop), found in codecs.items()
    )


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
