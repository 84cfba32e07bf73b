"""What lossy codecs do to numbers: a tensor becomes parts, in numpy here or in an ONNX graph of the same meaning."""

from typing import Protocol

import numpy as np

from shared.codecs.errors import CodecError
from shared.codecs.spec import Array, TensorSpec

TINY_SCALE = np.float32(2.0**-100)
"""A channel whose values span less than this many steps of 255 (15) is encoded as zeros."""
HEADROOM = np.float32(1 + 2.0**-8)
"""Scales grow by this before they are rounded, so that rounding makes none too small for its channel."""
_BFLOAT16_BITS = np.uint32(0xFFFF0000)


class Representation(Protocol):
    """How the numbers of a tensor are represented. What a codec does to the answer depends on this alone."""

    @property
    def name(self) -> str:
        """The name, as in a codec's name."""

    @property
    def lossless(self) -> bool:
        """Whether `restore` gives back the very same tensor."""

    def supports(self, spec: TensorSpec) -> bool:
        """Whether tensors like this can be represented."""

    def represent(self, tensor: Array) -> tuple[Array, ...]:
        """Turn a tensor into parts.

        Raises:
            CodecError: it has values that cannot be represented.
        """

    def accept(self, computed: tuple[Array, ...]) -> tuple[Array, ...]:
        """Check what a graph computed in place of `represent`, and return the parts.

        Raises:
            CodecError: the tensor has values that cannot be represented.
        """

    def restore(self, parts: tuple[Array, ...], spec: TensorSpec) -> Array:
        """Turn parts into a tensor."""


class Identity:
    """The tensor itself."""

    name = "raw"
    lossless = True

    def supports(self, spec: TensorSpec) -> bool:
        """Every tensor."""
        return True

    def represent(self, tensor: Array) -> tuple[Array, ...]:
        """Return the tensor as its only part."""
        return (tensor,)

    def accept(self, computed: tuple[Array, ...]) -> tuple[Array, ...]:
        """Return the parts."""
        return computed

    def restore(self, parts: tuple[Array, ...], spec: TensorSpec) -> Array:
        """Return the only part."""
        return parts[0]


class HalfPrecision:
    """IEEE 754 binary16, rounded to nearest even. Relative error up to 2^-11, absolute up to 2^-25 near zero."""

    name = "float16"
    lossless = False

    def supports(self, spec: TensorSpec) -> bool:
        """Floating-point tensors."""
        return spec.is_float

    def represent(self, tensor: Array) -> tuple[Array, ...]:
        """Return the values as binary16.

        Raises:
            CodecError: a value is not finite, or beyond 65504.
        """
        with np.errstate(over="ignore"):
            halves = tensor.astype(np.float16)
        return self.accept((halves,))

    def accept(self, computed: tuple[Array, ...]) -> tuple[Array, ...]:
        """Check and return the halves.

        Raises:
            CodecError: a value is not finite, or beyond 65504.
        """
        check_halves(computed[0])
        return computed

    def restore(self, parts: tuple[Array, ...], spec: TensorSpec) -> Array:
        """Return the values in the type of `spec`."""
        return parts[0].astype(spec.dtype, copy=False)


class Quantised:
    """Unsigned integers with a scale and a zero point per channel: value = scale x (integer - zero point).

    The range of a channel always includes zero, which is represented exactly. A scale is the range / 255 (15), up to
    1/128 larger: a bfloat16 number, which costs two bytes. An error is at most one step, that is the scale. These
    are the operators QuantizeLinear and DequantizeLinear of ONNX, so that a graph computes the same bytes.
    """

    lossless = False

    def __init__(self, bits: int) -> None:
        """Quantise to integers of `bits` bits, 1 to 8."""
        self.bits = bits
        self.name = f"uint{bits}"

    @property
    def largest(self) -> int:
        """The largest integer."""
        return (1 << self.bits) - 1

    def supports(self, spec: TensorSpec) -> bool:
        """Floating-point tensors."""
        return spec.is_float

    def represent(self, tensor: Array) -> tuple[Array, ...]:
        """Return scales float32 [channels], zero points uint8 [channels] and integers uint8 [shape].

        Raises:
            CodecError: a value is not finite, or the range is too wide for float32.
        """
        spec = TensorSpec.of(tensor)
        with np.errstate(over="ignore"):
            values = tensor.astype(np.float32, copy=False).reshape(spec.grouped_shape)
        check_finite(values)
        zero = np.float32(0)
        high = values.max(axis=(0, 2), initial=zero)
        low = values.min(axis=(0, 2), initial=zero)
        with np.errstate(over="ignore"):
            scales = to_bfloat16((high - low) / np.float32(self.largest) * HEADROOM)
        check_scales(scales, self.largest)
        scales[scales < TINY_SCALE] = 1
        zeros = np.clip(np.rint(-low / scales), 0, self.largest).astype(np.uint8)
        levels = values / scales[:, None]
        np.rint(levels, out=levels)
        levels += zeros[:, None]
        np.clip(levels, 0, self.largest, out=levels)
        return scales, zeros, levels.astype(np.uint8).reshape(spec.shape)

    def accept(self, computed: tuple[Array, ...]) -> tuple[Array, ...]:
        """Check scales, zero points, integers and the sum of each channel, and return all but the sums.

        The sums tell whether every value was finite.

        Raises:
            CodecError: a value is not finite, or the range is too wide for float32.
        """
        scales, zeros, integers, sums = computed
        check_finite(sums)
        check_scales(scales, self.largest)
        return scales, zeros, integers

    def restore(self, parts: tuple[Array, ...], spec: TensorSpec) -> Array:
        """Return scale x (integer - zero point), computed in float32, in the type of `spec`."""
        scales, zeros, integers = parts
        values = integers.reshape(spec.grouped_shape).astype(np.float32)
        values -= zeros[:, None]
        values *= scales[:, None]
        if spec.dtype == np.float16:
            bound = np.finfo(np.float16).max
            np.clip(values, -bound, bound, out=values)
        return values.reshape(spec.shape).astype(spec.dtype, copy=False)


def to_bfloat16(values: Array) -> Array:
    """Round finite or infinite float32 values to the nearest even bfloat16 value, still as float32."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded & _BFLOAT16_BITS).view(np.float32)


def check_finite(values: Array) -> None:
    """Refuse what no integer and no half can represent.

    Raises:
        CodecError: a value is infinite or not a number.
    """
    if not np.isfinite(values).all():
        raise CodecError("the tensor has values that are not finite")


def check_halves(halves: Array) -> None:
    """Refuse binary16 values that are not finite.

    Raises:
        CodecError: there is one.
    """
    if halves.size and (halves.view(np.uint16) & np.uint16(0x7FFF)).max() >= 0x7C00:
        raise CodecError("the tensor has values that are not finite in float16")


def check_scales(scales: Array, largest: int) -> None:
    """Refuse scales with which an integer could become infinite.

    Raises:
        CodecError: a scale is not finite, is negative, or is too large.
    """
    bound = np.finfo(np.float32).max / np.float32(largest)
    if not ((scales >= 0) & (scales <= bound)).all():
        raise CodecError("a channel's scale is not finite, negative or too large")
