"""Packings of a represented tensor into bytes: dense, two values to a byte, or without zeros.

All numbers are little-endian, and elements are in row-major order. The size of a body is within bounds before it is
unpacked. Unpacking refuses scales that make values infinite, and zero points beyond the largest integer. It also
refuses padding bits that are set, and bitmaps that do not fit the number of values.
"""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np

from shared.codecs.errors import CodecError
from shared.codecs.representation import check_halves, check_scales
from shared.codecs.spec import Array, Buffer, TensorSpec, as_bytes

# A scale travels as bfloat16: the upper half of a float32, with 8 bits of exponent and 7 of mantissa.
_SCALE_BYTES: Final = 2
_ZERO_BYTES: Final = 1


class Packing(Protocol):
    """A reversible mapping from the parts of a representation to bytes."""

    def pack(self, parts: Sequence[Array], spec: TensorSpec) -> list[Buffer]:
        """Return the pieces of the body."""

    def size_bounds(self, spec: TensorSpec) -> tuple[int, int]:
        """Return the least and the largest size of a body, in bytes."""

    def unpack(self, body: memoryview, spec: TensorSpec) -> tuple[Array, ...]:
        """Return the parts of a body whose size is within `size_bounds`.

        Raises:
            CodecError: `pack` cannot have made this body.
        """


class Dense:
    """One part, its elements in sequence, of the type `dtype` or of the tensor's own.

    Halves that represent another type are finite, because the representation refuses other values. A tensor of type
    float16 may hold infinities and NaN.
    """

    def __init__(self, dtype: np.dtype[Any] | None = None) -> None:
        """Pack elements of `dtype`; none for the tensor's own type."""
        self._dtype = dtype

    def pack(self, parts: Sequence[Array], spec: TensorSpec) -> list[Buffer]:
        """Return the elements, without copying them."""
        return [as_bytes(parts[0])]

    def size_bounds(self, spec: TensorSpec) -> tuple[int, int]:
        """Return the size of the elements, twice."""
        size_bytes = spec.elements * (self._dtype or spec.dtype).itemsize
        return size_bytes, size_bytes

    def unpack(self, body: memoryview, spec: TensorSpec) -> tuple[Array, ...]:
        """Return a view of the elements.

        Raises:
            CodecError: a boolean is neither 0 nor 1, or a half that represents another type is not finite.
        """
        dtype = self._dtype or spec.dtype
        values = np.frombuffer(body, dtype=np.uint8 if dtype == np.bool_ else dtype.newbyteorder("<"))
        if dtype == np.bool_:
            if values.size and values.max() > 1:
                raise CodecError("a truth value is neither 0 nor 1")
            values = values.view(np.bool_)
        if self._dtype == np.float16:
            check_halves(values)
        return (values.reshape(spec.shape),)


class Bytewise:
    """Scales [channels] (bfloat16), zero points [channels] (uint8), integers [elements] (uint8)."""

    largest = 255

    def pack(self, parts: Sequence[Array], spec: TensorSpec) -> list[Buffer]:
        """Return the parts in sequence."""
        scales, zeros, integers = parts
        return [pack_scales(scales), as_bytes(zeros), as_bytes(integers)]

    def size_bounds(self, spec: TensorSpec) -> tuple[int, int]:
        """Return three bytes per channel and one per element, twice."""
        size_bytes = scale_block_bytes(spec) + spec.elements
        return size_bytes, size_bytes

    def unpack(self, body: memoryview, spec: TensorSpec) -> tuple[Array, ...]:
        """Return scales, zero points, and a view of the integers."""
        scales, zeros, rest = unpack_scales(body, spec, self.largest)
        return scales, zeros, np.frombuffer(rest, np.uint8).reshape(spec.shape)


class Nibbles:
    """Scales and zero points as in `Bytewise`, and integers of four bits, two to a byte.

    Byte k holds element k in its lower half and element k + ceil(elements / 2) in its upper half. Each half of the
    tensor is thus one contiguous array operation.
    """

    largest = 15

    def pack(self, parts: Sequence[Array], spec: TensorSpec) -> list[Buffer]:
        """Return the parts in sequence; integers above 15 become 15.

        An ONNX graph quantises to eight bits only, and leaves this limit to the packing.
        """
        scales, zeros, integers = parts
        half = (spec.elements + 1) // 2
        flat = np.minimum(integers.reshape(-1), np.uint8(self.largest))
        packed = flat[:half].copy()
        packed[: spec.elements - half] |= flat[half:] << np.uint8(4)
        return [pack_scales(scales), as_bytes(np.minimum(zeros, np.uint8(self.largest))), as_bytes(packed)]

    def size_bounds(self, spec: TensorSpec) -> tuple[int, int]:
        """Return three bytes per channel and one per two elements, twice."""
        size_bytes = scale_block_bytes(spec) + (spec.elements + 1) // 2
        return size_bytes, size_bytes

    def unpack(self, body: memoryview, spec: TensorSpec) -> tuple[Array, ...]:
        """Return scales, zero points and integers."""
        scales, zeros, rest = unpack_scales(body, spec, self.largest)
        packed = np.frombuffer(rest, np.uint8)
        half = packed.size
        integers = np.empty(spec.elements, np.uint8)
        np.bitwise_and(packed, np.uint8(15), out=integers[:half])
        np.right_shift(packed[: spec.elements - half], np.uint8(4), out=integers[half:])
        if spec.elements % 2 and packed[-1] >> np.uint8(4):
            raise CodecError("bits are set past the last element")
        return scales, zeros, integers.reshape(spec.shape)


class Sparse:
    """Scales and zero points as in `Bytewise`, a bitmap of the elements that are not zero, and their integers.

    A bit is set where the integer differs from the zero point of its channel; the first element is the highest bit.
    """

    largest = 255

    def pack(self, parts: Sequence[Array], spec: TensorSpec) -> list[Buffer]:
        """Return the parts in sequence, without the integers that represent zero."""
        scales, zeros, integers = parts
        grouped = integers.reshape(spec.grouped_shape)
        present = grouped != zeros[:, None]
        return [pack_scales(scales), as_bytes(zeros), as_bytes(np.packbits(present)), as_bytes(grouped[present])]

    def size_bounds(self, spec: TensorSpec) -> tuple[int, int]:
        """Return three bytes per channel and one bit per element, without and with one byte per element."""
        least = scale_block_bytes(spec) + (spec.elements + 7) // 8
        return least, least + spec.elements

    def unpack(self, body: memoryview, spec: TensorSpec) -> tuple[Array, ...]:
        """Return scales, zero points and integers."""
        scales, zeros, rest = unpack_scales(body, spec, self.largest)
        bitmap_bytes = (spec.elements + 7) // 8
        bitmap = np.frombuffer(rest[:bitmap_bytes], np.uint8)
        values = np.frombuffer(rest[bitmap_bytes:], np.uint8)
        if spec.elements % 8 and bitmap[-1] & (0xFF >> spec.elements % 8):
            raise CodecError("bits are set past the last element")
        present = np.unpackbits(bitmap, count=spec.elements).view(np.bool_)
        if np.count_nonzero(present) != values.size:
            raise CodecError(f"{values.size} values do not fit the bits that are set")
        integers = np.empty(spec.grouped_shape, np.uint8)
        integers[...] = zeros[:, None]
        integers.reshape(-1)[present] = values
        return scales, zeros, integers.reshape(spec.shape)


def scale_block_bytes(spec: TensorSpec) -> int:
    """Return the size of the scales and zero points of a tensor, in bytes."""
    return spec.channels * (_SCALE_BYTES + _ZERO_BYTES)


def pack_scales(scales: Array) -> memoryview:
    """Return float32 scales, whose values bfloat16 represents exactly, as the bytes of bfloat16 numbers."""
    return as_bytes((scales.view(np.uint32) >> np.uint32(16)).astype(np.uint16))


def unpack_scales(body: memoryview, spec: TensorSpec, largest: int) -> tuple[Array, Array, memoryview]:
    """Return scales float32 [channels], zero points uint8 [channels], and the rest of the body.

    Raises:
        CodecError: a scale is not finite, not positive or too large, or a zero point exceeds `largest`.
    """
    channels = spec.channels
    split, stop = channels * _SCALE_BYTES, scale_block_bytes(spec)
    halves = np.frombuffer(body[:split], "<u2")
    scales = (halves.astype(np.uint32) << np.uint32(16)).view(np.float32)
    check_scales(scales, largest)
    if not scales.all():
        raise CodecError("a channel's scale is zero")
    zeros = np.frombuffer(body[split:stop], np.uint8)
    if zeros.max() > largest:
        raise CodecError(f"a zero point is larger than {largest}")
    return scales, zeros, body[stop:]
