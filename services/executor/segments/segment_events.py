"""Keys of segments and epochs, and the events and commands of the segment lifecycle."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.messages.control import RejectionCause, SegmentRange
from shared.messages.streams import PlanStage


@dataclass(frozen=True, slots=True, order=True)
class Tiling:
    """Rows that a segment makes, and the tiles to which it sends rows.

    Attributes:
        rows: of the segment's output, if it is a tile; else empty.
        next_stop: if tiles compute the next segment, the block behind its last; else 0.
        next_rows: of the next segment's output that each of its tiles makes.
    """

    rows: tuple[int, ...] = ()
    next_stop: int = 0
    next_rows: tuple[tuple[int, int], ...] = ()

    @property
    def row_range(self) -> tuple[int, int] | None:
        """The rows of a tile; None for a segment in one piece."""
        return (self.rows[0], self.rows[1]) if self.rows else None


# A segment in one piece, before another one in one piece.
IN_ONE_PIECE: Final = Tiling()


def tiling_at(stages: Sequence[PlanStage], index: int, tile: int = 0) -> Tiling:
    """Return the tiling of a stage of a route, on the device of one of its tiles."""
    rows = stages[index].rows
    after = stages[index + 1] if index + 1 < len(stages) and stages[index + 1].tiles else None
    if not rows and after is None:
        return IN_ONE_PIECE
    return Tiling(rows[tile] if rows else (), 0 if after is None else after.stop, () if after is None else after.rows)


def tiling_of(asked: SegmentRange) -> Tiling:
    """Return the tiling that a command asks for."""
    return Tiling(asked.rows or (), asked.next_stop, asked.next_rows)


@dataclass(frozen=True, slots=True, order=True)
class SegmentKey:
    """Blocks `[start, stop)` of a model, as one version of its manifest describes them.

    Attributes:
        model: SHA-256 of the model's file.
        start, stop: the blocks.
        encoding: representation in which the segment's graph encodes its outputs.
        version: of the manifest (`Manifest.version`), which holds preprocessing, labels and input shapes.
        tiling: rows that the segment makes and sends.
    """

    model: str
    start: int
    stop: int
    encoding: str = ""
    version: str = ""
    tiling: Tiling = IN_ONE_PIECE

    @property
    def blocks(self) -> tuple[str, int, int, Tiling]:
        """The model, its blocks and their rows, of any version and encoding."""
        return self.model, self.start, self.stop, self.tiling

    @property
    def graph(self) -> tuple[str, int, int, tuple[int, ...], str]:
        """All that determines the graph of the segment, of any version."""
        return self.model, self.start, self.stop, self.tiling.rows, self.encoding


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
