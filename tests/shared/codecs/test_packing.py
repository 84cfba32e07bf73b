"""Bytes of packings, written by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from shared.codecs import Array, CodecError, TensorSpec
from shared.codecs.packing import Bytewise, Dense, Nibbles, Packing, Sparse
from shared.codecs.spec import gather

SPEC = TensorSpec(np.dtype(np.float32), (1, 5))
# bfloat16 1.0 is 0x3F80, little-endian; the zero point is 2.
SCALE_AND_ZERO = b"\x80\x3f\x02"


def parts(*integers: int) -> tuple[Array, ...]:
    return np.array([1.0], np.float32), np.array([2], np.uint8), np.array([integers], np.uint8)


def lists(arrays: Sequence[Array]) -> list[object]:
    return [array.tolist() for array in arrays]


@pytest.mark.parametrize(
    ("packing", "body"),
    [
        (Bytewise(), SCALE_AND_ZERO + b"\x01\x02\x03\x0f\x02"),
        # Elements 0 to 2 in the lower halves, 3 and 4 in the upper ones.
        (Nibbles(), SCALE_AND_ZERO + b"\xf1\x22\x03"),
        # Elements 0, 2 and 3 differ from the zero point: bits 10110 and their integers.
        (Sparse(), SCALE_AND_ZERO + b"\xb0\x01\x03\x0f"),
    ],
)
def test_scales_zero_points_and_integers(packing: Packing, body: bytes) -> None:
    integers = parts(1, 2, 3, 15, 2)
    assert gather(packing.pack(integers, SPEC)) == body
    least, largest = packing.size_bounds(SPEC)
    assert least <= len(body) <= largest
    assert lists(packing.unpack(memoryview(body), SPEC)) == lists(integers)


def test_integers_above_fifteen_are_limited_to_a_nibble() -> None:
    body = gather(Nibbles().pack(parts(255, 0, 0, 16, 0), SPEC))
    assert body == SCALE_AND_ZERO + b"\xff\x00\x00"


@pytest.mark.parametrize(
    ("packing", "body", "reason"),
    [
        (Bytewise(), b"\x80\x7f\x02" + bytes(5), "scale"),
        (Bytewise(), b"\x00\x00\x02" + bytes(5), "scale is zero"),
        (Nibbles(), b"\x80\x3f\x10" + bytes(3), "zero point"),
        (Nibbles(), SCALE_AND_ZERO + b"\x00\x00\x10", "past the last element"),
        (Sparse(), SCALE_AND_ZERO + b"\xb4\x01\x03\x0f", "past the last element"),
        (Sparse(), SCALE_AND_ZERO + b"\xb0\x01\x03", "do not fit the bits"),
    ],
)
def test_bodies_that_packing_cannot_have_made(packing: Packing, body: bytes, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        packing.unpack(memoryview(body), SPEC)


def test_dense_booleans_are_zero_or_one() -> None:
    spec = TensorSpec(np.dtype(np.bool_), (2,))
    assert lists(Dense().unpack(memoryview(b"\x00\x01"), spec)) == [[False, True]]
    with pytest.raises(CodecError, match="neither 0 nor 1"):
        Dense().unpack(memoryview(b"\x00\x02"), spec)


def test_dense_halves_are_finite_only_where_they_represent_another_type() -> None:
    infinity = memoryview(b"\x00\x7c")
    (own,) = Dense().unpack(infinity, TensorSpec(np.dtype(np.float16), (1,)))
    assert own.tolist() == [np.inf]
    with pytest.raises(CodecError, match="not finite"):
        Dense(np.dtype(np.float16)).unpack(infinity, TensorSpec(np.dtype(np.float32), (1,)))
