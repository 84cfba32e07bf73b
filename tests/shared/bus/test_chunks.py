"""Chunks: golden vectors, any order, duplicates, contradictions, and bounds on memory."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.chunks import Complete, Reassembler, decode_chunk, split_message
from shared.bus.errors import DecodeError
from shared.bus.frame import encode_frame
from tests.support.shared_paths import GOLDEN as GOLDEN_FOLDER

GOLDEN = json.loads((GOLDEN_FOLDER / "wire" / "chunks.json").read_text(encoding="utf-8"))
ID = b"transfer-001"


def chunk_payloads(transfer_id: bytes, buffers: list[bytes], chunk_bytes: int, *, sender: str = "") -> list[bytes]:
    """Return the payloads of a message's chunks, each in one piece."""
    return [b"".join(pieces) for pieces in split_message(transfer_id, buffers, chunk_bytes, sender=sender)]


def payload(*, data: bytes = b"ab", **changes: object) -> bytes:
    header = {"v": 1, "transfer": ID, "sender": "pi", "offset": 0, "total_bytes": 4}
    return b"".join(encode_frame({**header, **changes}, [data]))


@pytest.mark.parametrize("vector", [pytest.param(vector, id=vector["name"]) for vector in GOLDEN])
def test_golden_chunks_both_ways(vector: dict[str, Any]) -> None:
    buffers = [bytes.fromhex(buffer) for buffer in vector["buffers"]]
    transfer_id = bytes.fromhex(vector["transfer_id"])
    payloads = chunk_payloads(transfer_id, buffers, vector["chunk_bytes"], sender=vector["sender"])
    assert [payload.hex() for payload in payloads] == vector["payloads"]
    reassembler = Reassembler()
    *pending, complete = [reassembler.accept(payload, now_s=0.0) for payload in payloads]
    assert pending == [None] * len(pending)
    assert complete is not None
    assert (bytes(complete.buffer), complete.sender, complete.transfer_id) == (
        b"".join(buffers),
        vector["sender"],
        transfer_id,
    )


@given(
    st.lists(st.binary(max_size=60), min_size=1, max_size=5).filter(any),
    st.integers(1, 40),
    st.randoms(use_true_random=False),
)
def test_chunks_in_any_order_with_duplicates_make_the_whole(
    buffers: list[bytes], chunk_bytes: int, rng: random.Random
) -> None:
    payloads = chunk_payloads(ID, buffers, chunk_bytes, sender="pi")
    shuffled = payloads * 2
    rng.shuffle(shuffled)
    reassembler = Reassembler()
    completed = [result for result in (reassembler.accept(part, 0.0) for part in shuffled) if result is not None]
    assert [complete.buffer for complete in completed] == [b"".join(buffers)]
    assert reassembler.held_bytes == len(reassembler) == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(0, 14), st.binary(max_size=8)),
        min_size=10,
        max_size=40,
    )
)
def test_whatever_chunks_claim_memory_stays_bounded(parts: list[tuple[int, int, int, bytes]]) -> None:
    reassembler = Reassembler(max_bytes=20, max_transfers=2)
    for transfer, offset, total_bytes, data in parts:
        try:
            complete = reassembler.accept(
                payload(transfer=b"%d" % transfer, offset=offset, total_bytes=total_bytes, data=data), 0.0
            )
        except DecodeError:
            complete = None
        assert complete is None or len(complete.buffer) == total_bytes
        assert reassembler.held_bytes <= 20
        assert len(reassembler) <= 2


def damaged(where: int, what: int) -> bytes:
    chunk = bytearray(payload())
    chunk[where % len(chunk)] = what
    return bytes(chunk)


@given(st.binary(max_size=200) | st.builds(damaged, st.integers(0, 1000), st.integers(0, 255)))
def test_arbitrary_bytes_are_a_chunk_or_the_one_error(data: bytes) -> None:
    try:
        chunk = decode_chunk(data)
    except DecodeError:
        return
    assert 0 <= chunk.offset < chunk.total_bytes


def test_a_single_chunk_is_not_copied() -> None:
    (only,) = chunk_payloads(ID, [b"x" * 100], 1000)
    part = bytearray(only)
    complete = Reassembler().accept(part, 0.0)
    assert complete is not None
    part[-1:] = b"y"
    assert bytes(complete.buffer[-1:]) == b"y"


def test_times_and_sizes_allow_a_bandwidth_estimate() -> None:
    first, second, third = chunk_payloads(ID, [bytes(25)], 10)
    reassembler = Reassembler()
    assert reassembler.accept(first, 1.0) is None
    assert reassembler.accept(second, 1.5) is None
    complete = reassembler.accept(third, 2.0)
    assert complete is not None
    assert (complete.first_chunk_at_s, complete.completed_at_s) == (1.0, 2.0)
    assert (complete.size_bytes, complete.first_chunk_bytes) == (25, 10)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"v": 2}, "version"),
        ({"transfer": b""}, "transfer id"),
        ({"transfer": "text"}, "transfer id"),
        ({"transfer": bytes(65)}, "transfer id"),
        ({"sender": 7}, "sender"),
        ({"sender": "x" * 257}, "sender"),
        ({"offset": "0"}, "without offset"),
        ({"offset": True}, "without offset"),
        ({"total_bytes": None}, "without offset"),
        ({"offset": -1}, "in a message of"),
        ({"offset": 3}, "in a message of"),
        ({"data": b""}, "in a message of"),
        ({"total_bytes": 0}, "in a message of"),
    ],
)
def test_a_malformed_chunk_is_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(DecodeError, match=fault):
        decode_chunk(payload(**changes))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"offset": 1}, "overlaps"),
        ({"data": b"abc"}, "overlaps"),
        ({"offset": 2, "total_bytes": 5}, "disagree"),
        ({"offset": 2, "sender": "jetson"}, "disagree"),
    ],
)
def test_a_contradiction_ends_the_transfer(changes: dict[str, Any], fault: str) -> None:
    reassembler = Reassembler()
    reassembler.accept(payload(), 0.0)
    with pytest.raises(DecodeError, match=fault):
        reassembler.accept(payload(**changes), 0.0)
    assert reassembler.held_bytes == 0
    assert reassembler.accept(payload(offset=2), 0.0) is None
    assert len(reassembler) == 0


def test_a_message_beyond_the_bound_is_refused_before_memory_is_taken() -> None:
    reassembler = Reassembler(max_bytes=1000)
    with pytest.raises(DecodeError, match="at most 1000"):
        reassembler.accept(payload(total_bytes=2**40), 0.0)
    assert reassembler.held_bytes == 0


def test_a_transfer_without_progress_expires_once() -> None:
    reassembler = Reassembler(timeout_s=10.0)
    reassembler.accept(payload(total_bytes=100), 0.0)
    reassembler.accept(payload(total_bytes=100, offset=2), 5.0)
    reassembler.accept(payload(total_bytes=100, offset=2), 14.0)
    assert reassembler.expire(14.9) == []
    (expired,) = reassembler.expire(15.0)
    assert (expired.sender, expired.received_bytes, expired.total_bytes) == ("pi", 4, 100)
    assert reassembler.expire(100.0) == []
    assert reassembler.accept(payload(total_bytes=100, offset=4), 101.0) is None
    assert len(reassembler) == 0


def test_the_transfer_that_waits_longest_makes_room() -> None:
    reassembler = Reassembler(max_bytes=250)
    reassembler.accept(payload(transfer=b"a", total_bytes=100), 0.0)
    reassembler.accept(payload(transfer=b"b", total_bytes=100), 1.0)
    reassembler.accept(payload(transfer=b"a", total_bytes=100, offset=2), 2.0)
    reassembler.accept(payload(transfer=b"c", total_bytes=100), 3.0)
    assert [(expired.transfer_id, expired.reason) for expired in reassembler.expire(3.0)] == [
        (b"b", "made room for a newer transfer")
    ]
    assert reassembler.held_bytes == 200


def test_late_duplicates_of_a_finished_transfer_change_nothing() -> None:
    reassembler = Reassembler()
    first, second = chunk_payloads(ID, [b"abcd"], 2)
    reassembler.accept(first, 0.0)
    assert isinstance(reassembler.accept(second, 0.0), Complete)
    assert reassembler.accept(first, 1.0) is None
    assert len(reassembler) == 0


@pytest.mark.parametrize(
    ("transfer_id", "buffers", "chunk_bytes"),
    [(b"", [b"x"], 1), (bytes(65), [b"x"], 1), (ID, [], 1), (ID, [b""], 1), (ID, [b"x"], 0), (ID, [bytes(9000)], 1)],
)
def test_what_cannot_be_split_is_said_at_once(transfer_id: bytes, buffers: list[bytes], chunk_bytes: int) -> None:
    with pytest.raises(ValueError, match=r"transfer id|cannot send"):
        next(split_message(transfer_id, buffers, chunk_bytes))
