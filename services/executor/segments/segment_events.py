"""Keys of segments and epochs, and the events and commands of the segment lifecycle."""

from dataclasses import dataclass

from shared.messages.control import RejectionCause


@dataclass(frozen=True, slots=True, order=True)
class SegmentKey:
    """Blocks `[start, stop)` of a model, as one version of its manifest describes them.

    Attributes:
        model: SHA-256 of the model's file.
        start, stop: the blocks.
        encoding: representation in which the segment's graph encodes its outputs.
        version: of the manifest (`Manifest.version`), which holds preprocessing, labels and input shapes.
    """

    model: str
    start: int
    stop: int
    encoding: str = ""
    version: str = ""

    @property
    def blocks(self) -> tuple[str, int, int]:
        """The model and its blocks, of any version and encoding."""
        return self.model, self.start, self.stop


@dataclass(frozen=True, slots=True)
class SegmentNeed:
    """A segment and its memory according to the manifest."""

    key: SegmentKey
    parameter_bytes: int = 0
    activation_bytes: int = 0


@dataclass(frozen=True, slots=True)
class EpochKey:
    """An epoch of a stream."""

    stream: str
    epoch: int


# Events


@dataclass(frozen=True, slots=True)
class PrepareAsked:
    """Prepare these segments for an epoch; `available_bytes` is the free memory of the machine."""

    epoch: EpochKey
    needs: tuple[SegmentNeed, ...]
    available_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class SegmentBorrowed:
    """A feature map of this epoch needs a segment, prepared or not; `SegmentReturned` always follows."""

    epoch: EpochKey
    need: SegmentNeed


@dataclass(frozen=True, slots=True)
class SegmentReturned:
    """A feature map is done with its segment."""

    epoch: EpochKey


@dataclass(frozen=True, slots=True)
class BuildSucceeded:
    """A segment is loaded."""

    key: SegmentKey


@dataclass(frozen=True, slots=True)
class BuildFailed:
    """A segment cannot be loaded."""

    key: SegmentKey
    cause: RejectionCause
    reason: str


@dataclass(frozen=True, slots=True)
class EpochsOver:
    """The epochs of a stream up to `through_epoch` are over; None for all of them."""

    stream: str
    through_epoch: int | None


@dataclass(frozen=True, slots=True)
class ReleaseTick:
    """Time has passed."""


SegmentEvent = (
    PrepareAsked | SegmentBorrowed | SegmentReturned | BuildSucceeded | BuildFailed | EpochsOver | ReleaseTick
)


# Commands


@dataclass(frozen=True, slots=True)
class Build:
    """Load this segment in the background; BuildSucceeded or BuildFailed follows."""

    key: SegmentKey


@dataclass(frozen=True, slots=True)
class Drop:
    """Unload this segment."""

    key: SegmentKey


@dataclass(frozen=True, slots=True)
class AnswerReady:
    """Answer the planner: the epoch can run here."""

    epoch: EpochKey


@dataclass(frozen=True, slots=True)
class AnswerRejected:
    """Answer the planner: the epoch cannot run here, with the reason."""

    epoch: EpochKey
    cause: RejectionCause
    reason: str


SegmentCommand = Build | Drop | AnswerReady | AnswerRejected
