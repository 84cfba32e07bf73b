"""Messages of a direct connection between two executors: their bytes and their bounds.

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

from shared.bus.errors import DecodeError
from shared.bus.frame import Buffer, frame_size_bytes
from shared.messages.bounds import LONGEST_MS, clean_text

# A small frame waits for one part of a large frame at most: 20 ms at 100 Mbps.
PART_BYTES: Final = 256 * 1024
_MAX_GREETING_BYTES: Final = 4096
_MAX_TEXT_BYTES: Final = 2048

_PREAMBLE: Final = struct.Struct(">4sB3xQ")
_MAGIC: Final = b"SGD1"
_NUMBER: Final = struct.Struct(">Q")
_SPAN: Final = struct.Struct(">QQ")
_DURATION: Final = struct.Struct(">d")
PREAMBLE_BYTES: Final = _PREAMBLE.size


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


def read_preamble(buffer: memoryview, offset: int, side: Side, *, is_greeted: bool) -> tuple[MessageKind, int]:
    """Return the kind and the length of the message that begins at an offset.

    Args:
        buffer: has at least `PREAMBLE_BYTES` from there on.
        offset: of the preamble.
        side: where the message has arrived.
        is_greeted: whether the greeting has arrived before.

    Raises:
        DecodeError: no such message may come here, or its length is out of bounds.
    """
    magic, number, length = _PREAMBLE.unpack_from(buffer, offset)
    if magic != _MAGIC:
        raise DecodeError("bytes that are no message of a direct connection")
    expected = (_LATER if is_greeted else _GREETINGS)[side]
    if number not in expected:
        raise DecodeError(f"a message of kind {number} in the wrong place")
    kind = MessageKind(number)
    least, most = _LENGTHS[kind]
    if not least <= length <= most:
        raise DecodeError(f"a message {kind.name} of {length} bytes, not {least} to {most}")
    return kind, length


def read_size(body: bytes) -> int:
    """Return the size in a message BEGIN."""
    (size_bytes,) = _NUMBER.unpack(body)
    return int(size_bytes)


def read_event(kind: MessageKind, body: bytes) -> DirectEvent | None:
    """Return what a message says that is no part of a frame; None if it says nothing.

    Raises:
        DecodeError: a value is out of bounds.
    """
    match kind:
        case MessageKind.HELLO | MessageKind.WELCOME:
            return Greeted(body)
        case MessageKind.REFUSED:
            return Dismissed(clean_text(body.decode(errors="replace")))
        case MessageKind.SHARED:
            return SpanArrived(*_SPAN.unpack(body))
        case MessageKind.FREE:
            return SpanFreed(*_NUMBER.unpack(body))
        case MessageKind.RECEIPT:
            (processing_ms,) = _DURATION.unpack_from(body)
            if not 0 <= processing_ms <= LONGEST_MS:
                raise DecodeError(f"a receipt with a processing time of {processing_ms} ms")
            return TransferReceipt(body[_DURATION.size :].decode(errors="replace"), processing_ms)
    return None
