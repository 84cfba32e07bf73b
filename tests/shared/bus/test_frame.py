"""The wire format of feature maps: golden vectors both ways, round trips, and every way to be wrong."""

import io
import json
from typing import Any

import msgpack
import pytest
from _pytest.mark.structures import ParameterSet
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.errors import DecodeError
from shared.bus.frame import (
    ALIGNMENT_BYTES,
    MAX_HEADER_BYTES,
    MAX_TENSORS,
    decode_frame,
    encode_frame,
    frame_size_bytes,
)
from tests.support.shared_paths import GOLDEN as GOLDEN_FOLDER

GOLDEN = json.loads((GOLDEN_FOLDER / "wire" / "frames.json").read_text(encoding="utf-8"))


def named(vectors: list[dict[str, Any]]) -> list[ParameterSet]:
    return [pytest.param(vector, id=vector["name"]) for vector in vectors]


def decoded(frame: bytes) -> tuple[dict[str, Any], list[bytes]]:
    header, tensors = decode_frame(frame)
    return header, [bytes(tensor) for tensor in tensors]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
headers = st.dictionaries(st.text().filter(lambda key: key != "_pad"), values, max_size=6)


@pytest.mark.parametrize("vector", named(GOLDEN["accepted"]))
def test_golden_frames_both_ways(vector: dict[str, Any]) -> None:
    tensors = [bytes.fromhex(tensor) for tensor in vector["tensors"]]
    frame = bytes.fromhex(vector["frame"])
    assert b"".join(encode_frame(vector["header"], tensors)) == frame
    assert decoded(frame) == (vector["header"], tensors)


@pytest.mark.parametrize("vector", named(GOLDEN["also_read"]))
def test_frames_of_other_writers_are_read(vector: dict[str, Any]) -> None:
    header, tensors = decode_frame(bytes.fromhex(vector["frame"]))
    assert header == vector["header"]
    assert [tensor.hex() for tensor in tensors] == vector["tensors"]


@pytest.mark.parametrize("vector", named(GOLDEN["refused"]))
def test_golden_faults_are_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match=vector["fault"]):
        decode_frame(bytes.fromhex(vector["frame"]))


@given(headers, st.lists(st.binary(max_size=200), max_size=4))
def test_round_trip(header: dict[str, Any], tensors: list[bytes]) -> None:
    pieces = encode_frame(header, tensors)
    frame = b"".join(pieces)
    assert frame_size_bytes(pieces) == len(frame)
    assert decoded(frame) == (header, tensors)


@given(headers, st.lists(st.binary(max_size=50), min_size=1, max_size=3))
def test_any_msgpack_reader_can_read_a_frame(header: dict[str, Any], tensors: list[bytes]) -> None:
    first, *rest = msgpack.Unpacker(io.BytesIO(b"".join(encode_frame(header, tensors))))
    first.pop("_pad")
    assert first == header
    assert rest == tensors


@given(st.binary(max_size=300))
def test_arbitrary_bytes_decode_or_raise_the_one_error(data: bytes) -> None:
    decode_or_refuse(data)


@given(headers, st.binary(max_size=50), st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_frame_decodes_or_raises_the_one_error(
    header: dict[str, Any], tensor: bytes, where: int, what: int
) -> None:
    frame = bytearray(b"".join(encode_frame(header, [tensor])))
    frame[where % len(frame)] = what
    decode_or_refuse(bytes(frame))


def decode_or_refuse(data: bytes) -> None:
    try:
        header, tensors = decode_frame(data)
    except DecodeError:
        return
    assert all(isinstance(key, str) for key in header)
    assert sum(len(tensor) for tensor in tensors) <= len(data)


@given(headers, st.binary(min_size=1, max_size=50))
def test_the_first_tensor_is_aligned(header: dict[str, Any], tensor: bytes) -> None:
    assert len(encode_frame(header, [tensor])[0]) % ALIGNMENT_BYTES == 0


def test_tensors_are_not_copied() -> None:
    tensor = bytearray(b"0123456789")
    pieces = encode_frame({"n": 1}, [tensor])
    tensor[0:1] = b"X"
    frame = bytearray(b"".join(pieces))
    _, (view,) = decode_frame(frame)
    assert bytes(view) == b"X123456789"
    frame[-1:] = b"Y"
    assert bytes(view) == b"X12345678Y"
    assert view.readonly


def test_a_tensor_of_any_element_type_is_written_as_bytes() -> None:
    shorts = memoryview(bytes(8)).cast("H")
    _, (view,) = decode_frame(b"".join(encode_frame({}, [shorts])))
    assert view == bytes(8)


def test_a_header_of_more_than_one_block_is_read() -> None:
    header = {"trace": list(range(8000)), "text": "x" * 200_000}
    assert decoded(b"".join(encode_frame(header, [b"tensor"]))) == (header, [b"tensor"])


def test_a_header_beyond_its_bound_is_refused_on_both_sides() -> None:
    header = {"text": "x" * MAX_HEADER_BYTES}
    with pytest.raises(ValueError, match="at most"):
        encode_frame(header, [])
    with pytest.raises(DecodeError):
        decode_frame(msgpack.packb(header))


def test_an_endless_header_is_refused_at_its_bound() -> None:
    with pytest.raises(DecodeError, match="longer than"):
        decode_frame(msgpack.packb({"a": [["x" * 60] * 8000] * 4})[:-1])


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(DecodeError):
        decode_frame(b"\x81\xa1a" + b"\x91" * 100_000 + b"\xc0")


def test_too_many_tensors_are_refused_on_both_sides() -> None:
    with pytest.raises(ValueError, match="at most"):
        encode_frame({}, [b""] * (MAX_TENSORS + 1))
    with pytest.raises(DecodeError, match="more than"):
        decode_frame(b"\x80" + b"\xc4\x00" * (MAX_TENSORS + 1))


def test_the_padding_key_is_reserved() -> None:
    with pytest.raises(ValueError, match="reserved"):
        encode_frame({"_pad": b""}, [])
