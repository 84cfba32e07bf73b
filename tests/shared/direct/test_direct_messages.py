"""The bytes of messages, as docs/wire.md states them."""

import struct

import pytest

from shared.bus.errors import DecodeError
from shared.direct.direct_messages import (
    PART_BYTES,
    MessageKind,
    Side,
    frame_messages,
    free_message,
    message,
    read_preamble,
    receipt_message,
    refusal_message,
    span_message,
)


def test_the_bytes_are_those_of_the_description() -> None:
    assert message(MessageKind.HELLO, b"body") == b"SGD1\x01\0\0\0" + bytes(7) + b"\x04body"
    assert span_message(4096, 300_000) == b"SGD1\x08\0\0\0" + bytes(7) + b"\x10" + struct.pack(">QQ", 4096, 300_000)
    assert receipt_message("id", 1.5) == b"SGD1\x09\0\0\0" + bytes(7) + b"\x0a" + struct.pack(">d", 1.5) + b"id"
    assert free_message(4096) == b"SGD1\x0a\0\0\0" + bytes(7) + b"\x08" + struct.pack(">Q", 4096)
    assert len(refusal_message("x" * 5000)) == 16 + 2048


def test_a_large_frame_begins_with_its_size_and_follows_in_parts() -> None:
    begin, *parts = [b"".join(pieces) for pieces in frame_messages([b"a" * 10, b"b" * (2 * PART_BYTES)])]
    assert begin == message(MessageKind.BEGIN, struct.pack(">Q", 2 * PART_BYTES + 10))
    assert [len(part) - 16 for part in parts] == [PART_BYTES, PART_BYTES, 10]
    assert b"".join(part[16:] for part in parts) == b"a" * 10 + b"b" * (2 * PART_BYTES)


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("kind", MessageKind)
def test_each_side_takes_the_messages_of_the_other_only(side: Side, kind: MessageKind) -> None:
    accepted = []
    for is_greeted in (False, True):
        try:
            read_preamble(memoryview(message(kind, bytes(16))), 0, side, is_greeted=is_greeted)
            accepted.append(is_greeted)
        except DecodeError as error:
            if "wrong place" not in str(error):
                accepted.append(is_greeted)
    first = {Side.ACCEPTING: (1,), Side.CONNECTING: (2, 3)}[side]
    later = {Side.ACCEPTING: (4, 5, 6, 7, 8, 11), Side.CONNECTING: (3, 9, 10, 11)}[side]
    assert accepted == [is_greeted for is_greeted, kinds in ((False, first), (True, later)) if kind in kinds]
