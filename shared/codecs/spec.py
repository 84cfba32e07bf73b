"""Descriptions of tensors from headers, checked before memory is allocated."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.codecs.errors import CodecError

Array = NDArray[Any]
Buffer = bytes | bytearray | memoryview

# Largest raw size of a tensor, unless a caller sets another limit.
MAX_TENSOR_BYTES: Final = 512 * 1024 * 1024
MAX_RANK: Final = 16
CHANNEL_AXIS: Final = 1
# With fewer elements per channel, separate scales would take more bytes than their precision is worth.
MIN_CHANNEL_ELEMENTS: Final = 16

_DTYPES: Final = (
    *("float64", "float32", "float16"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
    *("complex64", "complex128", "bool"),
)


@functools.cache
def dtype_name(dtype: np.dtype[Any]) -> str:
    """Return numpy's name of an element type. numpy composes it anew at every access, in a few microseconds."""
    return dtype.name


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Element type and shape of a dense tensor; elements travel little-endian, in row-major order."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @classmethod
    def read(cls, dtype: str, shape: Sequence[int], *, limit_bytes: int = MAX_TENSOR_BYTES) -> "TensorSpec":
        """Return the description in a header, after checking it.

        Args:
            dtype: numpy's name of the element type.
            shape: sizes of the dimensions, not negative.
            limit_bytes: largest accepted raw size.

        Raises:
            CodecError: the element type is unknown, or the shape is malformed or too large.
        """
        if dtype not in _DTYPES:
            raise CodecError(f"no codec carries elements of type {dtype[:40]!r}")
        if len(shape) > MAX_RANK or any(type(size) is not int or size < 0 for size in shape):
            raise CodecError(f"{str(list(shape[:MAX_RANK]))[:200]} is no shape")
        spec = cls(np.dtype(dtype), tuple(shape))
        # A dimension of 0 makes the size 0, so the dimensions are bounded separately.
        if spec.size_bytes > limit_bytes or any(size > limit_bytes for size in shape):
            raise CodecError(f"a tensor of {spec.size_bytes} bytes is declared; at most {limit_bytes} are accepted")
        return spec

    @classmethod
    def of(cls, tensor: Array) -> "TensorSpec":
        """Return the description of `tensor`.

        Raises:
            CodecError: no codec carries its element type.
        """
        return cls.read(dtype_name(tensor.dtype), tensor.shape, limit_bytes=max(tensor.nbytes, MAX_TENSOR_BYTES))

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a tensor without dimensions."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Size of the raw tensor in bytes."""
        return self.elements * self.dtype.itemsize

    @property
    def is_float(self) -> bool:
        """True if the elements are real floating-point numbers."""
        return self.dtype.kind == "f"

    @property
    def channels(self) -> int:
        """Number of scales of the tensor: one for each index of axis 1 of a feature map, and one for other tensors.

        A feature map has three dimensions or more, and at least `MIN_CHANNEL_ELEMENTS` elements per channel.
        """
        if len(self.shape) < 3:
            return 1
        channels = self.shape[CHANNEL_AXIS]
        return channels if channels and self.elements >= MIN_CHANNEL_ELEMENTS * channels else 1

    @property
    def grouped_shape(self) -> tuple[int, int, int]:
        """The shape with the axes before and after the channels flattened: (outer, channels, inner)."""
        channels = self.channels
        outer = self.shape[0] if channels > 1 else 1
        return outer, channels, self.elements // (outer * channels) if outer else 0


def as_bytes(array: Array) -> memoryview:
    """Return the elements as little-endian bytes; copies only other byte orders and arrays that are not contiguous."""
    ordered = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return ordered.reshape(-1).view(np.uint8).data


def gather(pieces: Sequence[Buffer]) -> bytes:
    """Concatenate buffers of single bytes."""
    return b"".join(pieces)
