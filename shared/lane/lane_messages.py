"""Messages of the lane: their bytes and their bounds.

    message = "SGL1", kind in one byte, body                                                       (numbers big-endian)
    table   = three zero bytes, number of the table in 32 bits, FeatureMapHeader in msgpack                    (kind 1)
    rows    = fixed header, request id, context, stage records, piece*, payloads                               (kind 2)
    piece   = index of a tensor of the table in 16 bits, two zero bytes, top and bottom row in 32 bits each

The payload of a piece holds the rows `[top, bottom)` of its tensor, little-endian and in row-major order. It begins at
a multiple of 16 bytes from the start of the message. The table gives its size. No frame begins like a message: in
msgpack an "S" is a number.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from shared.bus.errors import DecodeError
from shared.bus.frame import ALIGNMENT_BYTES, MAX_TENSORS, Buffer
from shared.lane.stage_records import RECORD_BYTES
from shared.messages.bounds import MAX_INTEGER, MAX_STAGES

MAX_TABLE_BYTES: Final = 64 * 1024
MAX_CONTEXT_BYTES: Final = 256 * 1024
MAX_RECORDS: Final = 4 * MAX_STAGES
_LARGEST_NUMBER: Final = 2**32 - 1
_LARGEST_ATTEMPT: Final = 1_000_000
_LATEST_S: Final = 1e16

_MAGIC: Final = b"SGL1"
_TABLE: Final = struct.Struct(">4sB3xI")
# Magic, kind, bytes of the request id, pieces; table, attempt, measurement, bytes of the context; records; times of
# acceptance, dispatch and deadline on the source's wall clock, of acceptance and sending on the sender's monotonic
# clock; bytes of the request.
_ROWS: Final = struct.Struct(">4sBBHIIIIH6xdddddQ")
_PIECE: Final = struct.Struct(">H2xII")


class LaneKind(IntEnum):
    """Kinds of messages."""

    TABLE = 1
    """What the messages of one stage and epoch have in common."""
    ROWS = 2
    """Rows of the tensors that a stage of one request needs."""


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What distinguishes one attempt of a request from others of its stream.

    Attributes:
        request_id: its id.
        attempt: number of the attempt.
        input_bytes: size of the request.
        accepted_at_s: acceptance, on the source's wall clock.
        dispatched_at_s: start of the attempt, on the same clock.
        deadline_at_s: deadline, on the same clock; None without one.
        accepted_s: acceptance, on the sender's monotonic clock; None from a sender that does not know it.
        context: further fields of the header (`lane_requests`), passed on unread; mostly empty.
    """

    request_id: str
    attempt: int
    input_bytes: int
    accepted_at_s: float
    dispatched_at_s: float
    deadline_at_s: float | None
    accepted_s: float | None
    context: bytes = b""


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows `[top, bottom)` of a tensor, which is the `tensor`-th one of the table."""

    tensor: int
    top: int
    bottom: int


@dataclass(frozen=True, slots=True)
class TableMessage:
    """A table.

    Attributes:
        number: chosen by the sender; rows refer to it.
        document: the header of a feature map in msgpack, not decoded.
    """

    number: int
    document: memoryview


@dataclass(frozen=True, slots=True)
class RowsMessage:
    """Rows for a stage of a request. The payload is not checked against the table.

    Attributes:
        table: number of the table.
        facts: the request.
        sent_s: when it was sent, on the sender's monotonic clock.
        measurement: number of the transfer that the receiver acknowledges; 0 for none.
        records: stage records, one behind another.
        pieces: what the payload holds.
        payload: from the start of the first piece's rows on, read-only.
    """

    table: int
    facts: RequestFacts
    sent_s: float
    measurement: int
    records: bytes
    pieces: tuple[Piece, ...]
    payload: memoryview


def is_lane_message(buffer: memoryview) -> bool:
    """Return whether a buffer begins like a message of the lane, and not like a frame."""
    return bytes(buffer[:4]) == _MAGIC


def encode_table(number: int, document: bytes) -> bytes:
    """Return a table.

    Raises:
        ValueError: the document is larger than `MAX_TABLE_BYTES`.
    """
    if len(document) > MAX_TABLE_BYTES:
        raise ValueError(f"a table of {len(document)} bytes; at most {MAX_TABLE_BYTES}")
    return _TABLE.pack(_MAGIC, LaneKind.TABLE, number) + document


def encode_rows(
    table: int,
    facts: RequestFacts,
    sent_s: float,
    records: bytes,
    pieces: Sequence[tuple[Piece, memoryview]],
    *,
    measurement: int = 0,
) -> list[Buffer]:
    """Return rows as buffers to send one behind another. The payloads are referenced, not copied.

    Args:
        table: number of the table, which the receiver must have.
        facts: the request.
        sent_s: this moment on the sender's monotonic clock.
        records: stage records, one behind another.
        pieces: each piece with its rows, as bytes.
        measurement: number of the transfer, to be acknowledged; 0 for none.
    """
    request_id = facts.request_id.encode("ascii")
    head = _ROWS.pack(
        _MAGIC,
        LaneKind.ROWS,
        len(request_id),
        len(pieces),
        table,
        facts.attempt,
        measurement,
        len(facts.context),
        len(records) // RECORD_BYTES,
        facts.accepted_at_s,
        facts.dispatched_at_s,
        math.nan if facts.deadline_at_s is None else facts.deadline_at_s,
        math.nan if facts.accepted_s is None else facts.accepted_s,
        sent_s,
        facts.input_bytes,
    )
    listed = b"".join([_PIECE.pack(piece.tensor, piece.top, piece.bottom) for piece, _ in pieces])
    lead = b"".join((head, request_id, facts.context, records, listed))
    buffers: list[Buffer] = [lead + bytes(-len(lead) % ALIGNMENT_BYTES)]
    for _, rows in pieces:
        buffers.append(rows)
        if (padding := -len(rows) % ALIGNMENT_BYTES) and len(pieces) > 1:
            buffers.append(bytes(padding))
    return buffers


def decode_lane_message(buffer: memoryview) -> TableMessage | RowsMessage:
    """Decode a message. Nothing is allocated for its payload, and nothing of it is copied.

    Raises:
        DecodeError: the bytes are no message, or a value is out of bounds.
    """
    kind = buffer[4] if len(buffer) > 4 else 0
    if not is_lane_message(buffer) or kind not in (LaneKind.TABLE, LaneKind.ROWS):
        raise DecodeError("bytes that are no message of the lane")
    return _decode_table(buffer) if kind == LaneKind.TABLE else _decode_rows(buffer.toreadonly())


def _decode_table(buffer: memoryview) -> TableMessage:
    size_bytes = len(buffer) - _TABLE.size
    if not 0 < size_bytes <= MAX_TABLE_BYTES:
        raise DecodeError(f"a table of {size_bytes} bytes, not 1 to {MAX_TABLE_BYTES}")
    number = _TABLE.unpack_from(buffer)[2]
    return TableMessage(number, buffer[_TABLE.size :])


def _decode_rows(buffer: memoryview) -> RowsMessage:
    if len(buffer) < _ROWS.size:
        raise DecodeError("a header that is cut short")
    (
        *_,
        id_bytes,
        piece_count,
        table,
        attempt,
        measurement,
        context_bytes,
        record_count,
        accepted_at_s,
        dispatched_at_s,
        deadline_at_s,
        accepted_s,
        sent_s,
        input_bytes,
    ) = _ROWS.unpack_from(buffer)
    if not 1 <= attempt <= _LARGEST_ATTEMPT or input_bytes > MAX_INTEGER:
        raise DecodeError("an attempt or a size out of bounds")
    if not 1 <= id_bytes <= 128 or context_bytes > MAX_CONTEXT_BYTES or record_count > MAX_RECORDS:
        raise DecodeError("a request id, a context or a trace that is empty or too long")
    if not 1 <= piece_count <= MAX_TENSORS:
        raise DecodeError(f"{piece_count} pieces in one message")
    context_start = _ROWS.size + id_bytes
    records_start = context_start + context_bytes
    pieces_start = records_start + record_count * RECORD_BYTES
    pieces_stop = pieces_start + piece_count * _PIECE.size
    payload_start = pieces_stop + -pieces_stop % ALIGNMENT_BYTES
    if payload_start > len(buffer):
        raise DecodeError("a message that is cut short")
    facts = RequestFacts(
        _text(buffer[_ROWS.size : context_start]),
        attempt,
        input_bytes,
        _checked_s(accepted_at_s),
        _checked_s(dispatched_at_s),
        None if math.isnan(deadline_at_s) else _checked_s(deadline_at_s),
        None if math.isnan(accepted_s) else _checked_s(accepted_s),
        bytes(buffer[context_start:records_start]),
    )
    return RowsMessage(
        table,
        facts,
        _checked_s(sent_s),
        measurement,
        bytes(buffer[records_start:pieces_start]),
        tuple(Piece(*each) for each in _PIECE.iter_unpack(buffer[pieces_start:pieces_stop])),
        buffer[payload_start:],
    )


def _text(buffer: memoryview) -> str:
    try:
        return str(buffer, "ascii")
    except UnicodeDecodeError:
        raise DecodeError("a request id that is no text") from None


def _checked_s(time_s: float) -> float:
    # False for NaN. The header of a feature map has narrower bounds; these keep comparisons and sums sound until then.
    if not -_LATEST_S <= time_s <= _LATEST_S:
        raise DecodeError("a time out of bounds")
    return time_s
