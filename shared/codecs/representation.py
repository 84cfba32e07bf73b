"""Representations of a tensor's values as parts that a packing turns into bytes.

This is the reference in numpy. `shared.model.onnx_file.codec_graph` does the same in ONNX operators, bit for bit.
"""

from typing import Final, Protocol

import numpy as np

from shared.codecs.errors import CodecError
from shared.codecs.spec import Array, TensorSpec

# A channel whose range is less than 255 (15) times this is encoded as zeros.
TINY_SCALE: Final = np.float32(2.0**-100)
# bfloat16 has 8 significant bits, so rounding lowers a scale by a factor of 1 + 2^-8 at most. Scales grow by this
# factor first, so that no rounded scale is too small for the range of its channel.
HEADROOM: Final = np.float32(1 + 2.0**-8)
_BFLOAT16_BITS: Final = np.uint32(0xFFFF0000)


class Representation(Protocol):
    """A representation of a tensor's values. It alone decides a codec's effect on a model's outputs."""

    @property
    def name(self) -> str:
        """Name, the first part of a codec's name."""

    @property
    def lossless(self) -> bool:
        """True if `restore` returns exactly the same tensor."""

    def supports(self, spec: TensorSpec) -> bool:
        """Return whether tensors of this type can be represented."""

    def represent(self, tensor: Array) -> tuple[Array, ...]:
        """Return the parts of a tensor.

        Raises:
            CodecError: the tensor has values that cannot be represented.
        """

    def accept(self, computed: tuple[Array, ...]) -> tuple[Array, ...]:
        """Check the outputs of a graph that replaces `represent`, and return the parts.

        Raises:
            CodecError: the tensor has values that cannot be represented.
        """

    def restore(self, parts: tuple[Array, ...], spec: TensorSpec) -> Array:
        """Return the tensor that the parts represent."""


class Identity:
    """The tensor itself."""

    name = "raw"
    lossless = True

    def supports(self, spec: TensorSpec) -> bool:
        """Return true for every tensor."""
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
    """IEEE 754 binary16 (11 significant bits), rounded to nearest even.

    The relative error is 2^-11 at most. Below 2^-14, where numbers are subnormal multiples of 2^-24, the absolute error
    is 2^-25 at most.
    """

    name = "float16"
    lossless = False

    def supports(self, spec: TensorSpec) -> bool:
        """Return true for floating-point tensors."""
        return spec.is_float

    def represent(self, tensor: Array) -> tuple[Array, ...]:
        """Return the values as binary16, in the shape of the tensor.

        Raises:
            CodecError: a value is not finite, or its magnitude exceeds 65504.
        """
        with np.errstate(over="ignore"):
            halves = tensor.astype(np.float16)
        return self.accept((halves,))

    def accept(self, computed: tuple[Array, ...]) -> tuple[Array, ...]:
        """Check and return the halves.

        Raises:
            CodecError: a value is not finite, or its magnitude exceeds 65504.
        """
        check_halves(computed[0])
        return computed

    def restore(self, parts: tuple[Array, ...], spec: TensorSpec) -> Array:
        """Return the values in the type of `spec`."""
        return parts[0].astype(spec.dtype, copy=False)


class Quantised:
    """Unsigned integers with a scale and a zero point per channel: value = scale x (integer - zero point).

    The range of a channel always includes zero, which is represented exactly. A scale is the range / 255 (15), at most
    1/128 larger, and a bfloat16 number. The error of a value is one step (the scale) at most. The formulas are those of
    the ONNX operators QuantizeLinear and DequantizeLinear, so that a graph computes the same bytes. The scheme is the
    affine quantisation of Jacob et al., "Quantization and training of neural networks for efficient
    integer-arithmetic-only inference", CVPR 2018, equation 1.
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
        """Return true for floating-point tensors."""
        return spec.is_float

    def represent(self, tensor: Array) -> tuple[Array, ...]:
        """Return scales float32 [channels], zero points uint8 [channels] and integers uint8 [shape].

        Raises:
            CodecError: a value is not finite, or the range of a channel exceeds float32.
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
        # A step of 1 turns all values of such a channel to zero.
        scales[scales < TINY_SCALE] = 1
        zeros = np.clip(np.rint(-low / scales), 0, self.largest).astype(np.uint8)
        # In place, since feature maps are large: round(value / scale) + zero point, clipped, as QuantizeLinear does.
        levels = values / scales[:, None]
        np.rint(levels, out=levels)
        levels += zeros[:, None]
        np.clip(levels, 0, self.largest, out=levels)
        return scales, zeros, levels.astype(np.uint8).reshape(spec.shape)

    def accept(self, computed: tuple[Array, ...]) -> tuple[Array, ...]:
        """Check scales, zero points, integers and the sum of each channel; return all but the sums.

        A sum is not finite if one of its values is not, which the integers alone would hide.

        Raises:
            CodecError: a value is not finite, or the range of a channel exceeds float32.
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
        # A step may exceed the largest half, and must not make it infinite.
        if spec.dtype == np.float16:
            bound = np.finfo(np.float16).max
            np.clip(values, -bound, bound, out=values)
        return values.reshape(spec.shape).astype(spec.dtype, copy=False)


def to_bfloat16(values: Array) -> Array:
    """Round float32 values, NaN excepted, to bfloat16 (nearest, ties to even); the result is float32.

    A bfloat16 number is the upper half of a float32. Adding 0x7FFF, and one more if the lowest kept bit is 1, carries
    into the upper half exactly where rounding is upwards. Then the lower half is cut off.
    """
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded & _BFLOAT16_BITS).view(np.float32)


def check_finite(values: Array) -> None:
    """Check that all values are finite.

    Raises:
        CodecError: a value is infinite or NaN.
    """
    if not np.isfinite(values).all():
        raise CodecError("the tensor has values that are not finite")


def check_halves(halves: Array) -> None:
    """Check that all binary16 values are finite.

    Raises:
        CodecError: a value is infinite or NaN.
    """
    # Infinities and NaN have all bits of the exponent (10 to 14) set. Comparing integers is faster than isfinite.
    if halves.size and (halves.view(np.uint16) & np.uint16(0x7FFF)).max() >= 0x7C00:
        raise CodecError("the tensor has values that are not finite in float16")


def check_scales(scales: Array, largest: int) -> None:
    """Check that every scale times `largest` is finite and not negative.

    Raises:
        CodecError: a scale is not finite, is negative, or is too large.
    """
    bound = np.finfo(np.float32).max / np.float32(largest)
    if not ((scales >= 0) & (scales <= bound)).all():
        raise CodecError("a channel's scale is not finite, negative or too large")
