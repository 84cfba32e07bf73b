"""Transfer of a model file over the bus: the receiver's state machine and the provider's answers, without I/O.

The receiver pulls chunks of 256 kB, four at a time. Every chunk has a CRC-32, and the file has the SHA-256 that names
the model. `shared.bus.model_exchange` waits, writes and publishes.

    PULLING --every byte received--> VERIFYING --SHA-256 right--> DONE
       ^                                 |
       +------- SHA-256 wrong, once -----+-- twice --> FAILED
    PULLING --refused, or ATTEMPT_LIMIT stalls or damaged chunks in a row--> FAILED
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, assert_never

from shared.bus.errors import BusError
from shared.messages.models import ModelChunk, Pull

PULL_BYTES: Final = 256 * 1024
# Largest chunk that a provider sends, whatever length a pull has.
MAX_PULL_BYTES: Final = 1024 * 1024
# Outstanding pulls: enough to keep the provider busy during a round trip.
WINDOW: Final = 4
# Time without a chunk after which outstanding pulls are repeated: pulls and chunks may be lost with a broker.
STALL_S: Final = 10.0
# Stalls or damaged chunks in a row that end the transfer.
ATTEMPT_LIMIT: Final = 6


class ModelTransferError(BusError):
    """A model file could not be fetched: no answer, no such model, wrong bytes, or a full disk."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes ``[start, stop)`` of a file."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class SendPull:
    """Publish this pull."""

    pull: Pull


@dataclass(frozen=True, slots=True)
class WriteChunk:
    """Write ``data`` at ``offset`` of the partial file."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class VerifyFile:
    """Every byte was received: compute the SHA-256 of the file and report it with `Verified`."""


@dataclass(frozen=True, slots=True)
class DiscardFile:
    """Empty the partial file: its SHA-256 is wrong."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The file is complete and verified."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The transfer has failed for this reason."""

    reason: str


TransferCommand = SendPull | WriteChunk | VerifyFile | DiscardFile | Finish | GiveUp


@dataclass(frozen=True, slots=True)
class Started:
    """The receiver has subscribed to the chunks and can pull."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A chunk was received."""

    chunk: ModelChunk


@dataclass(frozen=True, slots=True)
class TransferTicked:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Verified:
    """The SHA-256 of the file, in hexadecimal."""

    sha256: str


TransferEvent = Started | Arrived | TransferTicked | Verified


class TransferPhase(Enum):
    """State of a download; the module's docstring draws the transitions."""

    PULLING = auto()
    VERIFYING = auto()
    DONE = auto()
    FAILED = auto()


@dataclass(slots=True)
class ModelDownload:
    """The receiver's state machine: takes an event and the time, returns the commands to perform.

    Changed by `handle` only. Invariants. `received` and the outstanding pulls are disjoint. Once started, at least one
    and at most `window` pulls are outstanding while `PULLING`, and none otherwise.

    Attributes:
        model: SHA-256 of the file, in hexadecimal.
        receiver: name of the receiver; part of the topic of the chunks.
        size_bytes: size of the file.
        received: byte ranges that the partial file holds, at first from an earlier attempt.
        window: largest number of outstanding pulls.
        pull_bytes: length of a pull.
        stall_s: time without a chunk after which outstanding pulls are repeated.
        attempt_limit: stalls or damaged chunks in a row that end the transfer.
    """

    model: str
    receiver: str
    size_bytes: int
    received: tuple[ByteRange, ...] = ()
    window: int = WINDOW
    pull_bytes: int = PULL_BYTES
    stall_s: float = STALL_S
    attempt_limit: int = ATTEMPT_LIMIT
    phase: TransferPhase = field(default=TransferPhase.PULLING, init=False)
    _outstanding: dict[int, int] = field(default_factory=dict, init=False)
    _progress_at_s: float = field(default=0.0, init=False)
    _failures: int = field(default=0, init=False)
    _restarted: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.received = merge_ranges(_clip(self.received, self.size_bytes))

    @property
    def received_bytes(self) -> int:
        """Number of bytes in the partial file, not yet verified as a whole."""
        return sum(piece.stop - piece.start for piece in self.received)

    @property
    def due_at_s(self) -> float:
        """Time of the next `TransferTicked`, in monotonic seconds."""
        return self._progress_at_s + self.stall_s

    def handle(self, event: TransferEvent, now_s: float) -> list[TransferCommand]:
        """Process an event at ``now_s`` (monotonic seconds) and return the commands to perform, in order.

        Raises:
            ValueError: for `Verified` when nothing is being verified.
        """
        match event:
            case Verified(sha256):
                if self.phase is not TransferPhase.VERIFYING:
                    raise ValueError(f"nothing is being verified: the transfer is {self.phase.name.lower()}")
                return self._judge(sha256, now_s)
            case Started() | Arrived() | TransferTicked() if self.phase is not TransferPhase.PULLING:
                return []
            case Started():
                self._progress_at_s = now_s
                return self._pull_more()
            case Arrived(chunk):
                return self._take(chunk, now_s)
            case TransferTicked():
                return self._repeat(now_s)
            case _ as never:
                assert_never(never)

    def _take(self, chunk: ModelChunk, now_s: float) -> list[TransferCommand]:
        if chunk.model != self.model:
            return []
        if chunk.error:
            return self._fail(chunk.error)
        length = self._outstanding.get(chunk.offset)
        if length is None:
            # A second answer to a pull that was repeated.
            return []
        if len(chunk.data) != length or zlib.crc32(chunk.data) != chunk.crc32:
            return self._failed_once(f"chunk at byte {chunk.offset} arrives damaged") or [self._pull(chunk.offset)]
        del self._outstanding[chunk.offset]
        self._failures = 0
        self._progress_at_s = now_s
        self.received = merge_ranges((*self.received, ByteRange(chunk.offset, chunk.offset + length)))
        return [WriteChunk(chunk.offset, chunk.data), *self._pull_more()]

    def _repeat(self, now_s: float) -> list[TransferCommand]:
        if now_s < self.due_at_s:
            return []
        self._progress_at_s = now_s
        waited_s = self.stall_s * self.attempt_limit
        return self._failed_once(f"the provider has not answered for {waited_s:.0f} s") or [
            self._pull(offset) for offset in self._outstanding
        ]

    def _pull_more(self) -> list[TransferCommand]:
        taken = [ByteRange(offset, offset + length) for offset, length in self._outstanding.items()]
        commands: list[TransferCommand] = []
        for gap in missing_ranges((*self.received, *taken), self.size_bytes):
            for offset in range(gap.start, gap.stop, self.pull_bytes):
                if len(self._outstanding) >= self.window:
                    return commands
                self._outstanding[offset] = min(self.pull_bytes, gap.stop - offset)
                commands.append(self._pull(offset))
        if not self._outstanding:
            self.phase = TransferPhase.VERIFYING
            commands.append(VerifyFile())
        return commands

    def _pull(self, offset: int) -> SendPull:
        return SendPull(Pull(model=self.model, receiver=self.receiver, offset=offset, length=self._outstanding[offset]))

    def _judge(self, sha256: str, now_s: float) -> list[TransferCommand]:
        if sha256 == self.model:
            self.phase = TransferPhase.DONE
            return [Finish()]
        # Once, the partial file of an earlier attempt may be to blame. Twice, the provider's file is another one.
        if self._restarted:
            return self._fail("the bytes do not have the model's SHA-256, twice")
        self._restarted = True
        self._failures = 0
        self._progress_at_s = now_s
        self.received = ()
        self.phase = TransferPhase.PULLING
        return [DiscardFile(), *self._pull_more()]

    def _failed_once(self, reason: str) -> list[TransferCommand]:
        self._failures += 1
        return self._fail(reason) if self._failures >= self.attempt_limit else []

    def _fail(self, reason: str) -> list[TransferCommand]:
        self.phase = TransferPhase.FAILED
        self._outstanding.clear()
        return [GiveUp(reason)]


def merge_ranges(ranges: Iterable[ByteRange]) -> tuple[ByteRange, ...]:
    """Return the union of byte ranges as ascending ranges that do not touch."""
    merged: list[ByteRange] = []
    for piece in sorted(ranges, key=lambda each: each.start):
        if piece.start >= piece.stop:
            continue
        if merged and piece.start <= merged[-1].stop:
            merged[-1] = ByteRange(merged[-1].start, max(merged[-1].stop, piece.stop))
        else:
            merged.append(piece)
    return tuple(merged)


def missing_ranges(ranges: Iterable[ByteRange], size_bytes: int) -> tuple[ByteRange, ...]:
    """Return the gaps that ``ranges`` leave in a file of ``size_bytes``."""
    gaps: list[ByteRange] = []
    end = 0
    for piece in merge_ranges(ranges):
        if piece.start > end:
            gaps.append(ByteRange(end, min(piece.start, size_bytes)))
        end = max(end, piece.stop)
    if end < size_bytes:
        gaps.append(ByteRange(end, size_bytes))
    return tuple(gaps)


def chunk_for(pull: Pull, data: bytes) -> ModelChunk:
    """Build the chunk that answers a pull.

    Args:
        pull: the pull.
        data: at most `MAX_PULL_BYTES` from the pull's offset on. Empty past the end of the file: a refusal.
    """
    if not data:
        return refusal_for(pull, f"the model has no byte {pull.offset}")
    return ModelChunk(model=pull.model, offset=pull.offset, crc32=zlib.crc32(data), data=data)


def refusal_for(pull: Pull, reason: str) -> ModelChunk:
    """Build the chunk that refuses a pull."""
    return ModelChunk(model=pull.model, offset=pull.offset, crc32=0, data=b"", error=reason)


def _clip(ranges: Iterable[ByteRange], size_bytes: int) -> Iterable[ByteRange]:
    return (ByteRange(max(0, piece.start), min(piece.stop, size_bytes)) for piece in ranges)
