"""Commands of the planner to executors, and their reports."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shared.bus import topics
from shared.messages.base import Message, MessageUnion, ModelId, Name, Part
from shared.messages.models import Manifest
from shared.messages.streams import PlanStage


class SegmentRange(Part):
    """Blocks `[start, stop)` of a model."""

    start: Annotated[int, Field(ge=0)]
    stop: Annotated[int, Field(gt=0)]
    codec: str = "raw"
    """Encoding of their output, as a hint: a device may prepare for it, but must serve any other."""


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


class Prepare(Message):
    """Prepare to run these segments in epoch `epoch`. Answered by Preparing immediately, then by Ready or Rejected."""

    TOPIC: ClassVar = topics.commands

    kind: Literal["prepare"] = "prepare"
    stream: Name
    epoch: int
    manifest: Manifest
    segments: tuple[SegmentRange, ...]


class Release(Message):
    """Release the epochs of `stream` up to `through_epoch`: drop their segments once their requests have ended."""

    TOPIC: ClassVar = topics.commands

    kind: Literal["release"] = "release"
    stream: Name
    through_epoch: int


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
    epoch: int


class Ready(Message):
    """The device can run the epoch's segments."""

    TOPIC: ClassVar = topics.reports

    kind: Literal["ready"] = "ready"
    device: Name
    stream: Name
    epoch: int


class Rejected(Message):
    """The device cannot run the epoch's segments. The planner plans again without that choice."""

    TOPIC: ClassVar = topics.reports

    kind: Literal["rejected"] = "rejected"
    device: Name
    stream: Name
    epoch: int
    cause: RejectionCause
    reason: str


class ProfileFailed(Message):
    """The device cannot fetch or measure the model."""

    TOPIC: ClassVar = topics.reports

    kind: Literal["profile_failed"] = "profile_failed"
    device: Name
    model: ModelId
    cause: RejectionCause
    reason: str


Report = Annotated[Preparing | Ready | Rejected | ProfileFailed, Field(discriminator="kind")]
# Decodes the messages of `topics.reports`.
REPORTS = MessageUnion(Report)
