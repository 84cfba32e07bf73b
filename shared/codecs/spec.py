"""A tensor's description as a header gives it, checked before any memory is allocated for it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.codecs.errors import CodecError

Array = NDArray[Any]
Buffer = bytes | bytearray | memoryview

MAX_TENSOR_BYTES: Final = 512 * 1024 * 1024
"""No tensor may be larger, unless the caller says so."""
MAX_RANK: Final = 16
CHANNEL_AXIS: Final = 1
MIN_CHANNEL_ELEMENTS: Final = 16
"""With fewer elements per channel, a scale for each channel would cost more than it gives."""

_DTYPES: Final = (
    *("float64", "float32", "float16"),
    *("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"),
    *("complex64", "complex128", "bool"),
)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Element type and shape of a dense tensor; elements travel little-endian, in row-major order."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @classmethod
    def read(cls, dtype: str, shape: Sequence[int], *, limit_bytes: int = MAX_TENSOR_BYTES) -> "TensorSpec":
        """Check what a header says of a tensor.

        Args:
            dtype: numpy's name of the element type.
            shape: dimensions, none negative.
            limit_bytes: largest raw size that is accepted.

        Raises:
            CodecError: the element type is unknown, or the shape is malformed or too large.
        """
        if dtype not in _DTYPES:
            raise CodecError(f"no codec carries elements of type {dtype[:40]!r}")
        if len(shape) > MAX_RANK or any(type(size) is not int or size < 0 for size in shape):
            raise CodecError(f"{str(list(shape[:MAX_RANK]))[:200]} is no shape")
        spec = cls(np.dtype(dtype), tuple(shape))
        if spec.size_bytes > limit_bytes or any(size > limit_bytes for size in shape):
            raise CodecError(f"a tensor of {spec.size_bytes} bytes is declared; at most {limit_bytes} are accepted")
        return spec

    @classmethod
    def of(cls, tensor: Array) -> "TensorSpec":
        """Describe `tensor`.

        Raises:
            CodecError: no codec carries its element type.
        """
        return cls.read(tensor.dtype.name, tensor.shape, limit_bytes=max(tensor.nbytes, MAX_TENSOR_BYTES))

    @property
    def elements(self) -> int:
        """Number of elements; 1 for a tensor of no dimensions."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Size of the raw tensor."""
        return self.elements * self.dtype.itemsize

    @property
    def is_float(self) -> bool:
        """Whether the elements are real floating-point numbers."""
        return self.dtype.kind == "f"

    @property
    def channels(self) -> int:
        """How many scales the tensor has: one per index of axis 1 of a feature map, otherwise one in all.

        A feature map has at least three dimensions, and at least `MIN_CHANNEL_ELEMENTS` elements per channel.
        """
        if len(self.shape) < 3:
            return 1
        channels = self.shape[CHANNEL_AXIS]
        return channels if channels and self.elements >= MIN_CHANNEL_ELEMENTS * channels else 1

    @property
    def grouped_shape(self) -> tuple[int, int, int]:
        """The shape with everything before and after the channels flattened: (outer, channels, inner)."""
        channels = self.channels
        outer = self.shape[0] if channels > 1 else 1
        return outer, channels, self.elements // (outer * channels) if outer else 0


def as_bytes(array: Array) -> memoryview:
    """View the elements of a contiguous array as bytes, little-endian; only other byte orders are copied."""
    ordered = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return ordered.reshape(-1).view(np.uint8).data


def gather(pieces: Sequence[Buffer]) -> bytes:
    """Join buffers of single bytes into one."""
    return b"".join(pieces)
