"""Descriptions of tensors: bounds, channels and bytes."""

import numpy as np
import pytest

from shared.codecs import CodecError, TensorSpec
from shared.codecs.spec import MAX_RANK, as_bytes, gather


@pytest.mark.parametrize(
    ("shape", "channels", "grouped"),
    [
        ((1, 3, 4, 4), 3, (1, 3, 16)),
        ((2, 3, 4, 4), 3, (2, 3, 16)),
        ((1, 3, 3, 5), 1, (1, 1, 45)),  # 15 elements per channel are too few
        ((8, 64), 1, (1, 1, 512)),
        ((), 1, (1, 1, 1)),
        ((1, 0, 4, 4), 1, (1, 1, 0)),
    ],
)
def test_channels_are_those_of_feature_maps(
    shape: tuple[int, ...], channels: int, grouped: tuple[int, int, int]
) -> None:
    spec = TensorSpec(np.dtype(np.float32), shape)
    assert (spec.channels, spec.grouped_shape) == (channels, grouped)


def test_the_limit_holds_for_the_size_and_for_each_dimension() -> None:
    assert TensorSpec.read("uint8", (100,), limit_bytes=100).size_bytes == 100
    for dtype, shape in (("uint16", (100,)), ("uint8", (101,)), ("uint8", (0, 101))):
        with pytest.raises(CodecError, match="at most 100"):
            TensorSpec.read(dtype, shape, limit_bytes=100)


@pytest.mark.parametrize("shape", [(-1,), (True,), (1.0,), (1,) * (MAX_RANK + 1)])
def test_shapes_that_are_malformed(shape: tuple[int, ...]) -> None:
    with pytest.raises(CodecError, match="is no shape"):
        TensorSpec.read("float32", shape)


def test_a_tensor_above_the_limit_may_still_be_described_where_it_was_made() -> None:
    tensor = np.broadcast_to(np.uint8(1), (600 * 1024 * 1024,))
    assert TensorSpec.of(tensor).elements == tensor.size


def test_bytes_are_little_endian_whatever_the_order_of_the_array() -> None:
    array = np.array([[1, 2], [3, 4]], ">u2")
    assert bytes(as_bytes(array.T)) == b"\x01\x00\x03\x00\x02\x00\x04\x00"
    assert gather([b"a", memoryview(b"bc")]) == b"abc"


def test_contiguous_little_endian_arrays_are_not_copied() -> None:
    array = np.arange(4, dtype="<i4")
    assert np.shares_memory(array, np.frombuffer(as_bytes(array), np.uint8))
