"""Messages of a direct connection between two executors: their bytes, their bounds, and a decoder without I/O.

    message  = preamble body
    preamble = "SGD1", kind in one byte, three zero bytes, length of the body in 64 bits     (big-endian)

Frames flow from the connecting to the accepting side, receipts flow back. A frame larger than `PART_BYTES` is sent as
`BEGIN` and several `PART`. Between two parts there is room for small frames, and `CANCEL` ends the frame early.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

import numpy as np

from shared.bus.errors import DecodeError
from shared.bus.frame import Buffer, frame_size_bytes
from shared.direct.memory_budget import MemoryBudget
from shared.messages.bounds import LONGEST_MS, clean_text

# A small frame waits for one part of a large frame at most: 20 ms at 100 Mbps.
PART_BYTES: Final = 256 * 1024
MAX_FRAME_BYTES: Final = 256 * 1024 * 1024
_MAX_GREETING_BYTES: Final = 4096
_MAX_TEXT_BYTES: Final = 2048
_SCRATCH_BYTES: Final = 64 * 1024

_PREAMBLE: Final = struct.Struct(">4sB3xQ")
_MAGIC: Final = b"SGD1"
_NUMBER: Final = struct.Struct(">Q")
_SPAN: Final = struct.Struct(">QQ")
_DURATION: Final = struct.Struct(">d")


class MessageKind(IntEnum):
    """Kinds of messages."""

    HELLO = 1
    """From the connecting side: who it is. The first message."""
    WELCOME = 2
    """From the accepting side: the answer to HELLO."""
    REFUSED = 3
    """The other answer: the reason as text. The connection ends."""
    FRAME = 4
    """A whole frame of at most `PART_BYTES`."""
    BEGIN = 5
    """Size of a larger frame, whose parts follow."""
    PART = 6
    """The next bytes of the larger frame."""
    CANCEL = 7
    """The larger frame has no further parts and is to be dropped."""
    SHARED = 8
    """Offset and length of a frame in the memory that the connecting side shares."""
    RECEIPT = 9
    """Processing time and id of a transfer that has arrived, from the accepting side."""
    FREE = 10
    """Offset of a shared frame that the accepting side no longer reads."""
    HEARTBEAT = 11
    """Nothing; sent after a time without other messages."""


class Side(Enum):
    """The end of a connection at which a decoder reads."""

    ACCEPTING = "accepting"
    CONNECTING = "connecting"


_GREETINGS: Final[Mapping[Side, frozenset[MessageKind]]] = {
    Side.ACCEPTING: frozenset({MessageKind.HELLO}),
    Side.CONNECTING: frozenset({MessageKind.WELCOME, MessageKind.REFUSED}),
}
_LATER: Final[Mapping[Side, frozenset[MessageKind]]] = {
    Side.ACCEPTING: frozenset(
        {
            MessageKind.FRAME,
            MessageKind.BEGIN,
            MessageKind.PART,
            MessageKind.CANCEL,
            MessageKind.SHARED,
            MessageKind.HEARTBEAT,
        }
    ),
    Side.CONNECTING: frozenset({MessageKind.RECEIPT, MessageKind.FREE, MessageKind.REFUSED, MessageKind.HEARTBEAT}),
}
# Least and largest length of the body. BEGIN states a size of its own, which is checked against `max_frame_bytes`.
_LENGTHS: Final[Mapping[MessageKind, tuple[int, int]]] = {
    MessageKind.HELLO: (1, _MAX_GREETING_BYTES),
    MessageKind.WELCOME: (1, _MAX_GREETING_BYTES),
    MessageKind.REFUSED: (0, _MAX_TEXT_BYTES),
    MessageKind.FRAME: (1, PART_BYTES),
    MessageKind.BEGIN: (_NUMBER.size, _NUMBER.size),
    MessageKind.PART: (1, PART_BYTES),
    MessageKind.CANCEL: (0, 0),
    MessageKind.SHARED: (_SPAN.size, _SPAN.size),
    MessageKind.RECEIPT: (_DURATION.size, _MAX_TEXT_BYTES),
    MessageKind.FREE: (_NUMBER.size, _NUMBER.size),
    MessageKind.HEARTBEAT: (0, 0),
}


@dataclass(frozen=True, slots=True)
class Greeted:
    """The body of HELLO or WELCOME. The decoder goes on after `DirectDecoder.admit`."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Dismissed:
    """The other side ends the connection for a reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class FrameArrived:
    """A whole frame, in memory of its own. Its bytes count in the decoder's budget until they are given back.

    Attributes:
        buffer: the frame, aligned to 16 bytes.
        first_at_s: arrival of its first bytes.
        first_bytes: number of bytes that arrived first.
    """

    buffer: memoryview
    first_at_s: float
    first_bytes: int


@dataclass(frozen=True, slots=True)
class SpanArrived:
    """A frame in the memory that the other side shares. Nothing has checked its bounds."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class SpanFreed:
    """The other side no longer reads the shared frame at this offset."""

    offset: int


@dataclass(frozen=True, slots=True)
class TransferReceipt:
    """The other side has taken a transfer in.

    Attributes:
        transfer_id: as in the header of its feature map.
        processing_ms: time for which the other side computed or waited for a processor meanwhile.
    """

    transfer_id: str
    processing_ms: float


DirectEvent = Greeted | Dismissed | FrameArrived | SpanArrived | SpanFreed | TransferReceipt


def message(kind: MessageKind, body: bytes = b"") -> bytes:
    """Return a message with a short body."""
    return _PREAMBLE.pack(_MAGIC, kind, len(body)) + body


def receipt_message(transfer_id: str, processing_ms: float) -> bytes | None:
    """Return the receipt of a transfer; None for an id that is too long for one."""
    body = _DURATION.pack(processing_ms) + transfer_id.encode(errors="replace")
    return message(MessageKind.RECEIPT, body) if len(body) <= _MAX_TEXT_BYTES else None


def refusal_message(reason: str) -> bytes:
    """Return a refusal; a long reason is shortened."""
    return message(MessageKind.REFUSED, reason.encode(errors="replace")[:_MAX_TEXT_BYTES])


def span_message(offset: int, length: int) -> bytes:
    """Return the announcement of a frame in shared memory."""
    return message(MessageKind.SHARED, _SPAN.pack(offset, length))


def free_message(offset: int) -> bytes:
    """Return the release of a frame in shared memory."""
    return message(MessageKind.FREE, _NUMBER.pack(offset))


def frame_messages(buffers: Sequence[Buffer]) -> list[list[memoryview]]:
    """Return the messages that carry a frame, each as the pieces to send. The bytes are referenced, not copied."""
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    size_bytes = frame_size_bytes(buffers)
    if size_bytes <= PART_BYTES:
        return [[_preamble(MessageKind.FRAME, size_bytes), *views]]
    messages = [[memoryview(message(MessageKind.BEGIN, _NUMBER.pack(size_bytes)))]]
    part: list[memoryview] = []
    left = size_bytes
    room = min(PART_BYTES, left)
    for view in views:
        position = 0
        while position < len(view):
            piece = view[position : position + room]
            part.append(piece)
            position += len(piece)
            room -= len(piece)
            left -= len(piece)
            if not room:
                messages.append([_preamble(MessageKind.PART, sum(map(len, part))), *part])
                part, room = [], min(PART_BYTES, left)
    return messages


def _preamble(kind: MessageKind, length: int) -> memoryview:
    return memoryview(_PREAMBLE.pack(_MAGIC, kind, length))


@dataclass(slots=True)
class _Frame:
    """A frame that has begun.

    Attributes:
        filled: bytes of it that have arrived.
    """

    buffer: memoryview
    first_at_s: float
    first_bytes: int = 0
    filled: int = 0


@dataclass(slots=True)
class _Body:
    """The body of FRAME or PART that is being read into its place in a frame."""

    frame: _Frame
    stop: int

    @property
    def place(self) -> memoryview:
        return self.frame.buffer[self.frame.filled : self.stop]


class DirectDecoder:
    """Decodes the messages that arrive at one side of a connection.

    A state machine without I/O. The caller reads bytes into `buffers()` and states their number with `received`. Frames
    are read straight into their memory. A message is checked before memory is reserved for it. After a greeting nothing
    is decoded until `admit`, so a stranger cannot make this side reserve memory.

    Invariants: while a body is being read into its place, the scratch buffer is empty. The budget holds the bytes of
    the large frame and of the small one that is being read, until they are handed over in `FrameArrived`.

    Attributes:
        frame_bytes: bytes of frames that have arrived, those of frames that are not whole included.
    """

    def __init__(self, side: Side, budget: MemoryBudget, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        """Begin before the greeting.

        Args:
            side: where the decoder reads.
            budget: memory of the frames that have begun.
            max_frame_bytes: largest frame.
        """
        self._side = side
        self._budget = budget
        self._max_frame_bytes = max_frame_bytes
        self._is_greeted = self._is_admitted = self._needs_room = False
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._start = self._stop = 0
        self._body: _Body | None = None
        self._large: _Frame | None = None
        self.frame_bytes = 0

    @property
    def has_begun_frame(self) -> bool:
        """True while a frame has begun and not arrived whole."""
        return self._large is not None or self._body is not None

    @property
    def needs_room(self) -> bool:
        """True while the next large frame waits for memory. The caller then reads nothing, and calls `resume` later."""
        return self._needs_room

    def buffers(self) -> list[memoryview]:
        """Return the buffers to fill, in this order; none while the decoder waits for `admit` or for memory."""
        if self._is_waiting:
            return []
        if self._body is not None:
            # With the next preamble, so that a part costs one system call.
            return [self._body.place, self._scratch[: _PREAMBLE.size]]
        return [self._scratch[self._stop :]]

    def received(self, count: int, now_s: float) -> list[DirectEvent]:
        """Take the number of bytes that were read into `buffers()`.

        Raises:
            DecodeError: the bytes are none of this protocol, or exceed a bound. The connection must end.
        """
        events: list[DirectEvent] = []
        if self._body is not None:
            taken = min(count, len(self._body.place))
            self._fill(self._body, taken, events)
            count -= taken
        self._stop += count
        self._decode(events, now_s)
        return events

    def admit(self, now_s: float) -> list[DirectEvent]:
        """Decode what follows the greeting, which the caller has checked.

        Raises:
            DecodeError: as `received`.
        """
        self._is_admitted = True
        return self.resume(now_s)

    def resume(self, now_s: float) -> list[DirectEvent]:
        """Decode further after a wait for memory.

        Raises:
            DecodeError: as `received`.
        """
        self._needs_room = False
        events: list[DirectEvent] = []
        self._decode(events, now_s)
        return events

    def close(self) -> None:
        """Drop frames that have not arrived whole and give their memory back. Call it last."""
        if self._body is not None and self._body.frame is not self._large:
            self._budget.give(len(self._body.frame.buffer))
        self._body = None
        self._drop_large()
        self._needs_room = True

    @property
    def _is_waiting(self) -> bool:
        return self._needs_room or (self._is_greeted and not self._is_admitted)

    def _decode(self, events: list[DirectEvent], now_s: float) -> None:
        """Decode the messages in the scratch buffer."""
        while self._body is None and not self._is_waiting and self._stop - self._start >= _PREAMBLE.size:
            kind, length = self._preamble()
            if kind in (MessageKind.FRAME, MessageKind.PART):
                self._begin_body(kind, length, events, now_s)
                continue
            body_start = self._start + _PREAMBLE.size
            if self._stop - body_start < length:
                break
            if kind is MessageKind.BEGIN and not self._begin_large(body_start, now_s):
                break
            self._start = body_start + length
            self._take(kind, bytes(self._scratch[body_start : self._start]), events)
        # What is left is the beginning of a message, or waits.
        left = bytes(self._scratch[self._start : self._stop])
        self._scratch[: len(left)] = left
        self._start, self._stop = 0, len(left)

    def _preamble(self) -> tuple[MessageKind, int]:
        magic, number, length = _PREAMBLE.unpack_from(self._scratch, self._start)
        if magic != _MAGIC:
            raise DecodeError("bytes that are no message of a direct connection")
        expected = (_LATER if self._is_greeted else _GREETINGS)[self._side]
        if number not in expected:
            raise DecodeError(f"a message of kind {number} in the wrong place")
        kind = MessageKind(number)
        least, most = _LENGTHS[kind]
        if not least <= length <= most:
            raise DecodeError(f"a message {kind.name} of {length} bytes, not {least} to {most}")
        return kind, length

    def _begin_body(self, kind: MessageKind, length: int, events: list[DirectEvent], now_s: float) -> None:
        """Find the place of a body, and move the part of it that has arrived there."""
        if kind is MessageKind.FRAME:
            self._budget.take_always(length)
            body = _Body(_Frame(_allocate(length), now_s), length)
        elif self._large is None or self._large.filled + length > len(self._large.buffer):
            raise DecodeError("a part of no frame, or beyond its end")
        else:
            body = _Body(self._large, self._large.filled + length)
        start = self._start + _PREAMBLE.size
        have = min(length, self._stop - start)
        body.place[:have] = self._scratch[start : start + have]
        self._start = start + have
        if not body.frame.filled:
            body.frame.first_bytes = have
        self._body = body
        self._fill(body, have, events)

    def _fill(self, body: _Body, count: int, events: list[DirectEvent]) -> None:
        """Count bytes that are in their place, and end the body and its frame with their last one."""
        frame = body.frame
        frame.filled += count
        self.frame_bytes += count
        if frame.filled == body.stop:
            self._body = None
        if frame.filled == len(frame.buffer):
            if frame is self._large:
                self._large = None
            events.append(FrameArrived(frame.buffer.toreadonly(), frame.first_at_s, frame.first_bytes))

    def _begin_large(self, start: int, now_s: float) -> bool:
        (size_bytes,) = _NUMBER.unpack_from(self._scratch, start)
        if self._large is not None:
            raise DecodeError("a large frame within another")
        if not 0 < size_bytes <= self._max_frame_bytes:
            raise DecodeError(f"a frame of {size_bytes} bytes; at most {self._max_frame_bytes} are accepted")
        self._needs_room = not self._budget.take(size_bytes)
        if self._needs_room:
            return False
        self._large = _Frame(_allocate(size_bytes), now_s)
        return True

    def _drop_large(self) -> None:
        # CANCEL may follow the last part: then there is nothing to drop.
        if self._large is not None:
            self._budget.give(len(self._large.buffer))
            self._large = None

    def _take(self, kind: MessageKind, body: bytes, events: list[DirectEvent]) -> None:
        """Take a message other than a frame's bytes."""
        match kind:
            case MessageKind.HELLO | MessageKind.WELCOME:
                self._is_greeted = True
                events.append(Greeted(body))
            case MessageKind.REFUSED:
                events.append(Dismissed(clean_text(body.decode(errors="replace"))))
            case MessageKind.CANCEL:
                self._drop_large()
            case MessageKind.SHARED:
                events.append(SpanArrived(*_SPAN.unpack(body)))
            case MessageKind.FREE:
                events.append(SpanFreed(*_NUMBER.unpack(body)))
            case MessageKind.RECEIPT:
                (processing_ms,) = _DURATION.unpack_from(body)
                if not 0 <= processing_ms <= LONGEST_MS:
                    raise DecodeError(f"a receipt with a processing time of {processing_ms} ms")
                events.append(TransferReceipt(body[_DURATION.size :].decode(errors="replace"), processing_ms))


def _allocate(size_bytes: int) -> memoryview:
    # numpy neither clears the memory nor touches it: a frame that never arrives costs address space only.
    return np.empty(size_bytes, np.uint8).data
