"""Messages of the lane: the same after a round trip, refused within bounds when they are damaged."""

import json
import math
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.bus.errors import DecodeError
from shared.bus.frame import encode_frame
from shared.lane.lane_messages import (
    MAX_TABLE_BYTES,
    Piece,
    RequestFacts,
    RowsMessage,
    TableMessage,
    decode_lane_message,
    encode_rows,
    encode_table,
    is_lane_message,
)
from shared.lane.lane_tables import ReceivedTables
from shared.lane.stage_records import StageRecord
from tests.support.shared_paths import GOLDEN
from tests.support.short_stages import FACTS, joined

RECORDS = StageRecord(0, 100.5, 0.25, 1.5).pack() * 2
GOOD = joined(encode_rows(7, FACTS, 9.0, RECORDS, [(Piece(0, 0, 2), memoryview(b"abcdefgh"))], measurement=5))
_TIMES = st.floats(-1e9, 1e9)


def rows(buffer: memoryview) -> RowsMessage:
    decoded = decode_lane_message(buffer)
    assert isinstance(decoded, RowsMessage)
    return decoded


def test_a_table_is_the_same_after_a_round_trip() -> None:
    message = encode_table(7, b"document")
    assert is_lane_message(memoryview(message))
    decoded = decode_lane_message(memoryview(message))
    assert isinstance(decoded, TableMessage)
    assert (decoded.number, bytes(decoded.document)) == (7, b"document")
    with pytest.raises(ValueError, match="at most"):
        encode_table(7, bytes(MAX_TABLE_BYTES + 1))


@settings(max_examples=50)
@given(
    st.builds(
        RequestFacts,
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}", fullmatch=True),
        st.integers(1, 1_000_000),
        st.integers(0, 2**53),
        _TIMES,
        _TIMES,
        st.none() | _TIMES,
        st.none() | _TIMES,
        st.binary(max_size=200),
    ),
    st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4),
    st.integers(0, 3),
    st.integers(0, 2**32 - 1),
)
def test_rows_are_the_same_after_a_round_trip(
    facts: RequestFacts, payloads: list[bytes], records: int, measurement: int
) -> None:
    pieces = [
        (Piece(index, index, index + len(payload)), memoryview(payload)) for index, payload in enumerate(payloads)
    ]
    record = StageRecord(1, 5.0, 1.0, 2.0).pack()
    buffers = encode_rows(9, facts, 3.5, record * records, pieces, measurement=measurement)
    decoded = rows(joined(buffers))
    assert (decoded.table, decoded.facts, decoded.sent_s) == (9, facts, 3.5)
    assert (decoded.measurement, decoded.records) == (measurement, record * records)
    assert decoded.pieces == tuple(piece for piece, _ in pieces)
    assert len(buffers[0]) % 16 == 0, "the first payload is aligned"
    start = 0
    for payload in payloads:
        assert bytes(decoded.payload[start : start + len(payload)]) == payload
        start += len(payload) + -len(payload) % 16


def test_the_header_is_small() -> None:
    assert len(GOOD) - len(RECORDS) - 8 <= 112


def test_a_frame_is_no_message_of_the_lane() -> None:
    frame = joined(encode_frame({"a": 1}, [b"x"]))
    assert not is_lane_message(frame)
    assert not is_lane_message(memoryview(b""))
    with pytest.raises(DecodeError, match="no message"):
        decode_lane_message(frame)


@pytest.mark.parametrize("size_bytes", range(0, 160))
def test_a_message_that_is_cut_short_is_refused(size_bytes: int) -> None:
    cut = GOOD[:size_bytes]
    if size_bytes < len(GOOD) - 8:
        with pytest.raises(DecodeError):
            decode_lane_message(cut)
    else:
        # The table says how long the payload is.
        assert len(rows(cut).payload) == size_bytes - (len(GOOD) - 8)


@pytest.mark.parametrize(
    ("offset", "field", "value"),
    [
        (4, "B", 3),
        (5, "B", 0),
        (5, "B", 129),
        (6, ">H", 0),
        (6, ">H", 2000),
        (12, ">I", 0),
        (12, ">I", 1_000_001),
        (20, ">I", 2**32 - 1),
        (24, ">H", 2**16 - 1),
        (32, ">d", math.nan),
        (40, ">d", math.inf),
        (48, ">d", -math.inf),
        (56, ">d", 1e300),
        (64, ">d", math.nan),
        (72, ">Q", 2**64 - 1),
        (80, "B", 0xFF),
    ],
)
def test_a_value_out_of_bounds_is_refused(offset: int, field: str, value: float) -> None:
    damaged = bytearray(GOOD)
    struct.pack_into(field, damaged, offset, value)
    with pytest.raises(DecodeError):
        decode_lane_message(memoryview(damaged))


@settings(max_examples=300)
@given(st.binary(max_size=300), st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=4))
def test_any_bytes_are_decoded_or_refused(garbage: bytes, changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(GOOD)
    for offset, value in changes:
        damaged[offset] = value
    for buffer in (garbage, b"SGL1\x01" + garbage, b"SGL1\x02" + garbage, bytes(damaged)):
        try:
            decode_lane_message(memoryview(buffer))
        except DecodeError:
            continue


def test_what_has_no_deadline_and_no_clock_says_so() -> None:
    facts = replace(FACTS, deadline_at_s=None, accepted_s=None)
    decoded = rows(joined(encode_rows(7, facts, 9.0, b"", [(Piece(0, 0, 1), memoryview(b"x"))])))
    assert decoded.facts == facts


def test_the_bytes_of_messages_never_change() -> None:
    golden = json.loads((GOLDEN / "wire" / "lane.json").read_text())
    told = golden["rows"]
    facts = RequestFacts(**{**told["facts"], "context": bytes.fromhex(told["facts"]["context"])})
    pieces = [
        (Piece(each["tensor"], each["top"], each["bottom"]), memoryview(bytes.fromhex(each["hex"])))
        for each in told["pieces"]
    ]
    records = bytes.fromhex(told["records"])
    message = joined(encode_rows(7, facts, told["sent_s"], records, pieces, measurement=told["measurement"]))
    assert message.hex() == told["hex"]
    decoded = rows(message)
    assert (decoded.table, decoded.facts, decoded.records) == (told["table"], facts, records)
    table = decode_lane_message(memoryview(bytes.fromhex(golden["table"]["hex"])))
    assert isinstance(table, TableMessage)
    received = ReceivedTables("server")
    received.learn("pi", table)
    layout = received.find("pi", golden["table"]["number"]).layout
    assert [bytes(part) for _, part in layout.rows_of(decoded)] == [bytes(part) for _, part in pieces]
