"""Planner and executors: commands, and the reports that answer them."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shared.bus import topics
from shared.messages.base import Message, ModelId, Name, Part, Union
from shared.messages.models import Manifest
from shared.messages.streams import PlanStage


class SegmentRange(Part):
    """Blocks `[start, stop)` of a model."""

    start: Annotated[int, Field(ge=0)]
    stop: Annotated[int, Field(gt=0)]
    codec: str = "raw"
    """What their output travels in: a device may prepare for it, and has to do without."""


def ranges_of(stages: Iterable[PlanStage]) -> tuple[SegmentRange, ...]:
    """Return what runs these stages, each range once; with its codec if all its stages have the same."""
    codecs: dict[tuple[int, int], set[str]] = {}
    for stage in stages:
        codecs.setdefault((stage.start, stage.stop), set()).add(stage.codec)
    return tuple(
        SegmentRange(start=start, stop=stop, codec=found.pop() if len(found) == 1 else "raw")
        for (start, stop), found in codecs.items()
    )


class ProfileModel(Message):
    """Fetch a model and measure its blocks; answered by a retained Profile or by ProfileFailed."""

    TOPIC: ClassVar = topics.commands

    kind: Literal["profile"] = "profile"
    manifest: Manifest


class Prepare(Message):
    """Make ready to run these segments in epoch `epoch`; answered by Preparing at once, then by Ready or Rejected."""

    TOPIC: ClassVar = topics.commands

    kind: Literal["prepare"] = "prepare"
    stream: Name
    epoch: int
    manifest: Manifest
    segments: tuple[SegmentRange, ...]


class Release(Message):
    """Epochs of `stream` up to `through_epoch` are over: drop what only they need, once their requests are through."""

    TOPIC: ClassVar = topics.commands

    kind: Literal["release"] = "release"
    stream: Name
    through_epoch: int


Command = Annotated[ProfileModel | Prepare | Release, Field(discriminator="kind")]
COMMANDS = Union(Command)
"""What travels on `devices/{device}/commands`."""


class RejectionCause(StrEnum):
    """Why a device cannot get ready."""

    MEMORY = "memory"
    MODEL_MISSING = "model_missing"
    MODEL_INVALID = "model_invalid"
    DISK = "disk"
    ERROR = "error"


class Preparing(Message):
    """The device has heard and gets ready, which may take a while; without this it is taken for gone."""

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
    """The device cannot run the epoch's segments; the planner plans again without that choice."""

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
REPORTS = Union(Report)
"""What travels on `devices/{device}/reports`."""
