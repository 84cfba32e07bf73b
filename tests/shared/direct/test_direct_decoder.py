"""The decoder of direct connections: any split of the bytes, any order of small and large frames, any garbage."""

import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.bus.errors import DecodeError
from shared.bus.frame import Buffer
from shared.direct.direct_decoder import DirectDecoder
from shared.direct.direct_messages import (
    PART_BYTES,
    DirectEvent,
    Dismissed,
    FrameArrived,
    Greeted,
    MessageKind,
    Side,
    SpanArrived,
    SpanFreed,
    TransferReceipt,
    frame_messages,
    free_message,
    message,
    receipt_message,
    refusal_message,
    span_message,
)
from shared.direct.memory_budget import MemoryBudget

HELLO = message(MessageKind.HELLO, b"hello")
LIMIT_BYTES = 4 * PART_BYTES


def feed(decoder: DirectDecoder, data: bytes, step: int = 1 << 20) -> list[DirectEvent]:
    """Feed bytes as a socket does, in pieces of at most `step`; every greeting is admitted."""
    events: list[DirectEvent] = []
    position = 0
    while position < len(data) and (buffers := decoder.buffers()):
        count = 0
        for buffer in buffers:
            piece = data[position + count : position + min(step, count + len(buffer))]
            buffer[: len(piece)] = piece
            count += len(piece)
            if len(piece) < len(buffer):
                break
        position += count
        new = decoder.received(count, 1.0)
        while new:
            events += new
            new = decoder.admit(1.0) if isinstance(new[-1], Greeted) else []
    return events


def sent(*frames: bytes) -> list[bytes]:
    """The messages of frames, each as the bytes on the wire."""
    return [b"".join(pieces) for frame in frames for pieces in frame_messages([frame])]


def frames_of(events: list[DirectEvent]) -> list[bytes]:
    return [bytes(event.buffer) for event in events if isinstance(event, FrameArrived)]


def accepting(budget: MemoryBudget | None = None) -> DirectDecoder:
    return DirectDecoder(Side.ACCEPTING, budget or MemoryBudget(LIMIT_BYTES), max_frame_bytes=LIMIT_BYTES)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from((1, 15, 16, 17, 4096, 65_536, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES)), max_size=5),
    st.sampled_from((1, 7, 16, 1000, 65_536, 1 << 20)),
)
def test_frames_of_any_size_arrive_however_the_bytes_are_split(sizes: list[int], step: int) -> None:
    sizes = [size for size in sizes if size < 70_000 or step >= 1000]
    frames = [os.urandom(size) for size in sizes]
    budget = MemoryBudget(1 << 40)
    events = feed(accepting(budget), HELLO + b"".join(sent(*frames)), step)
    assert events[0] == Greeted(b"hello")
    assert frames_of(events) == frames
    # Those who take the frames give their memory back.
    assert budget.used_bytes == sum(sizes)


def test_a_frame_in_pieces_is_sent_without_copies_and_arrives_aligned() -> None:
    tensor = b"t" * (2 * PART_BYTES)
    pieces: list[Buffer] = [b"h" * 1000, b"", memoryview(tensor), b"u" * 7]
    messages = frame_messages(pieces)
    assert any(view.obj is tensor for views in messages for view in views)
    (frame,) = [e for e in feed(accepting(), HELLO + b"".join(map(b"".join, messages))) if isinstance(e, FrameArrived)]
    assert bytes(frame.buffer) == b"".join(pieces)
    assert frame.buffer.readonly
    assert np.frombuffer(frame.buffer, np.uint8).ctypes.data % 16 == 0


def test_small_frames_pass_a_large_one() -> None:
    large, small = os.urandom(3 * PART_BYTES), os.urandom(100)
    begin, first, *rest = sent(large)
    events = feed(accepting(), HELLO + begin + first + sent(small)[0] + b"".join(rest), 5000)
    assert frames_of(events) == [small, large]


def test_a_cancelled_frame_is_dropped_and_its_memory_given_back() -> None:
    budget = MemoryBudget(LIMIT_BYTES)
    decoder = accepting(budget)
    begin, first, *_ = sent(bytes(3 * PART_BYTES))
    cancel = message(MessageKind.CANCEL)
    feed(decoder, HELLO + begin + first)
    assert decoder.has_begun_frame
    assert budget.used_bytes == 3 * PART_BYTES
    # A second one follows the last part of a frame that was cancelled too late.
    assert frames_of(feed(decoder, cancel + cancel + sent(b"next")[0])) == [b"next"]
    assert budget.used_bytes == 4


def test_nothing_is_reserved_before_the_greeting_is_admitted() -> None:
    budget = MemoryBudget(LIMIT_BYTES)
    decoder = accepting(budget)
    data = HELLO + sent(bytes(2 * PART_BYTES))[0]
    decoder.buffers()[0][: len(data)] = data
    assert decoder.received(len(data), 0.0) == [Greeted(b"hello")]
    assert decoder.buffers() == []
    assert budget.used_bytes == 0
    decoder.admit(0.0)
    assert budget.used_bytes == 2 * PART_BYTES
    decoder.close()
    assert budget.used_bytes == 0


def test_a_large_frame_waits_for_memory() -> None:
    budget = MemoryBudget(3 * PART_BYTES)
    budget.take(2 * PART_BYTES)
    decoder = accepting(budget)
    begin, *parts = sent(bytes(2 * PART_BYTES))
    assert feed(decoder, HELLO + begin) == [Greeted(b"hello")]
    assert decoder.needs_room
    assert decoder.buffers() == []
    budget.give(2 * PART_BYTES)
    assert decoder.resume(0.0) == []
    assert frames_of(feed(decoder, b"".join(parts))) == [bytes(2 * PART_BYTES)]


def test_answers_reach_the_connecting_side() -> None:
    decoder = DirectDecoder(Side.CONNECTING, MemoryBudget(0))
    receipt = receipt_message("t" * 32, 1.5)
    assert receipt is not None
    data = (
        message(MessageKind.WELCOME, b"w")
        + receipt
        + free_message(4096)
        + message(MessageKind.HEARTBEAT)
        + refusal_message("x\n")
    )
    expected = [Greeted(b"w"), TransferReceipt("t" * 32, 1.5), SpanFreed(4096), Dismissed("x ")]
    assert feed(decoder, data, 3) == expected


def test_shared_frames_are_announced() -> None:
    assert feed(accepting(), HELLO + span_message(0, 2**63))[1:] == [SpanArrived(0, 2**63)]


@pytest.mark.parametrize("transfer_id", ["x" * 2041, "é" * 1021])
def test_an_id_that_fits_no_receipt_has_none(transfer_id: str) -> None:
    assert receipt_message(transfer_id, 0.0) is None


def number(value: int) -> bytes:
    return struct.pack(">Q", value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no message"),
        (b"\x16\x03\x01" + bytes(20), "no message"),
        (sent(b"frame")[0], "wrong place"),
        (message(MessageKind.WELCOME, b"w"), "wrong place"),
        (message(MessageKind.HELLO, bytes(4097)), "4097 bytes"),
        (message(MessageKind.HELLO), "0 bytes"),
        (HELLO + HELLO, "wrong place"),
        (HELLO + message(MessageKind.RECEIPT, bytes(9)), "wrong place"),
        (HELLO + b"SGD1" + bytes([200]) + bytes(11), "wrong place"),
        (HELLO + message(MessageKind.FRAME), "0 bytes"),
        (HELLO + struct.pack(">4sB3xQ", b"SGD1", MessageKind.FRAME, 2**64 - 1), "bytes, not"),
        (HELLO + struct.pack(">4sB3xQ", b"SGD1", MessageKind.PART, PART_BYTES + 1), "bytes, not"),
        (HELLO + message(MessageKind.BEGIN, number(0)), "a frame of 0 bytes"),
        (HELLO + message(MessageKind.BEGIN, number(2**64 - 1)), "are accepted"),
        (HELLO + message(MessageKind.BEGIN, number(LIMIT_BYTES + 1)), "are accepted"),
        (HELLO + 2 * message(MessageKind.BEGIN, number(500_000)), "within another"),
        (HELLO + message(MessageKind.PART, b"x"), "of no frame"),
        (HELLO + message(MessageKind.BEGIN, number(3)) + message(MessageKind.PART, b"four"), "beyond its end"),
        (HELLO + message(MessageKind.SHARED, b"short"), "5 bytes, not 16"),
        (HELLO + message(MessageKind.HEARTBEAT, b"x"), "1 bytes, not 0"),
    ],
)
def test_what_is_out_of_place_or_bounds_ends_the_connection(data: bytes, reason: str) -> None:
    budget = MemoryBudget(LIMIT_BYTES)
    decoder = accepting(budget)
    with pytest.raises(DecodeError, match=reason):
        feed(decoder, data, 11)
    decoder.close()
    assert budget.used_bytes == 0


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 50))
def test_garbage_raises_one_error_and_holds_no_memory(data: bytes, step: int) -> None:
    budget = MemoryBudget(LIMIT_BYTES)
    decoder = accepting(budget)
    handed_over = 0
    try:
        events = feed(decoder, HELLO + data, step)
        handed_over = sum(len(frame) for frame in frames_of(events))
    except DecodeError:
        handed_over = -1
    decoder.close()
    assert handed_over == -1 or budget.used_bytes == handed_over


@pytest.mark.parametrize("processing_ms", [-1.0, float("nan"), float("inf"), 1e300])
def test_a_receipt_with_an_impossible_time_ends_the_connection(processing_ms: float) -> None:
    receipt = receipt_message("t", processing_ms)
    assert receipt is not None
    with pytest.raises(DecodeError, match="processing time"):
        feed(DirectDecoder(Side.CONNECTING, MemoryBudget(0)), message(MessageKind.WELCOME, b"w") + receipt)
