"""Transfer of a model file over the bus: the receiver's state machine and the provider's answers, without I/O.

The receiver pulls chunks of 256 kB, four at a time. Every chunk has a CRC-32, and every piece of the file a SHA-256.
`shared.bus.model_files.model_exchange` waits, writes and publishes.

    PULLING --every wanted byte received--> VERIFYING --no piece damaged--> DONE
       ^                                        |
       +------- pieces damaged, once -----------+-- twice --> FAILED
    PULLING --refused, or ATTEMPT_LIMIT stalls or damaged chunks in a row--> FAILED
"""

import zlib
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, assert_never

from shared.bus.errors import BusError
from shared.bus.model_files.pieces import ByteRange, count_bytes, merge_ranges, subtract_ranges
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
    """Every wanted byte was received: compare the pieces with their digests and report with `Verified`."""


@dataclass(frozen=True, slots=True)
class DiscardRanges:
    """Forget these pieces of the file: their SHA-256 is wrong."""

    ranges: tuple[ByteRange, ...]


@dataclass(frozen=True, slots=True)
class Finish:
    """The wanted pieces are complete and verified."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The transfer has failed for this reason."""

    reason: str


TransferCommand = SendPull | WriteChunk | VerifyFile | DiscardRanges | Finish | GiveUp


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
    """The pieces whose SHA-256 is wrong; none if all are right."""

    damaged: tuple[ByteRange, ...] = ()


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
        model: identity of the file (`Manifest.file_id`).
        receiver: name of the receiver; part of the topic of the chunks.
        wanted: pieces of the file that are needed.
        received: byte ranges that the receiver holds, at first from an earlier attempt; only wanted ones count.
        window: largest number of outstanding pulls.
        pull_bytes: length of a pull.
        stall_s: time without a chunk after which outstanding pulls are repeated.
        attempt_limit: stalls or damaged chunks in a row that end the transfer.
    """

    model: str
    receiver: str
    wanted: tuple[ByteRange, ...]
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
        self.wanted = merge_ranges(self.wanted)
        # The part of `received` that is wanted.
        self.received = subtract_ranges(self.wanted, subtract_ranges(self.wanted, self.received))

    @property
    def received_bytes(self) -> int:
        """Number of wanted bytes that have arrived, not yet verified."""
        return count_bytes(self.received)

    @property
    def wanted_bytes(self) -> int:
        """Number of bytes that are needed."""
        return count_bytes(self.wanted)

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
            case Verified(damaged):
                if self.phase is not TransferPhase.VERIFYING:
                    raise ValueError(f"nothing is being verified: the transfer is {self.phase.name.lower()}")
                return self._judge(damaged, now_s)
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
        for gap in subtract_ranges(self.wanted, (*self.received, *taken)):
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

    def _judge(self, damaged: tuple[ByteRange, ...], now_s: float) -> list[TransferCommand]:
        if not damaged:
            self.phase = TransferPhase.DONE
            return [Finish()]
        # Once, the bytes of an earlier attempt may be to blame. Twice, the provider's file is another one.
        if self._restarted:
            return self._fail("the bytes do not have the model's SHA-256, twice")
        self._restarted = True
        self._failures = 0
        self._progress_at_s = now_s
        self.received = subtract_ranges(self.received, damaged)
        self.phase = TransferPhase.PULLING
        return [DiscardRanges(damaged), *self._pull_more()]

    def _failed_once(self, reason: str) -> list[TransferCommand]:
        self._failures += 1
        return self._fail(reason) if self._failures >= self.attempt_limit else []

    def _fail(self, reason: str) -> list[TransferCommand]:
        self.phase = TransferPhase.FAILED
        self._outstanding.clear()
        return [GiveUp(reason)]


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
