"""The tolerance within which two computations of the same graph agree, by element type."""

from collections.abc import Iterable, Mapping
from typing import Final

from shared.model.tensor import DType

# Largest difference, relative to the largest value of an output, that other kernels of the runtime explain. Kernels
# round intermediate results to the element type in another order. The unit roundoff of float32 is 6e-8, and errors of
# 1e-6 occur. Those of narrow types are a few units of the type: 2**-10 for float16, 2**-7 for bfloat16. In a quantised
# tensor, a difference that is small before rounding can become a whole step, 2**-8 of the range for 8 bits.
_BY_TYPE: Final[Mapping[DType, float]] = {
    DType.FLOAT64: 1e-12,
    DType.FLOAT32: 1e-5,
    DType.COMPLEX128: 1e-12,
    DType.COMPLEX64: 1e-5,
    DType.FLOAT16: 8 * 2**-10,
    DType.BFLOAT16: 8 * 2**-7,
    DType.FLOAT8E4M3FN: 2 * 2**-3,
    DType.FLOAT8E5M2: 2 * 2**-2,
    DType.INT16: 4 * 2**-16,
    DType.UINT16: 4 * 2**-16,
    DType.INT8: 4 * 2**-8,
    DType.UINT8: 4 * 2**-8,
    DType.INT4: 4 * 2**-4,
    DType.UINT4: 4 * 2**-4,
}

_WIDE_FLOATS: Final = frozenset({DType.FLOAT64, DType.FLOAT32, DType.COMPLEX64, DType.COMPLEX128})
_NARROW_FLOATS: Final = frozenset(dtype for dtype in DType if dtype.is_float) - _WIDE_FLOATS


def relative_tolerance(computed: Iterable[DType]) -> float:
    """Return the largest admissible difference of an output, relative to the largest value of that output.

    The coarsest type decides, because its rounding reaches the outputs. Indices and conditions have no tolerance of
    their own.

    Args:
        computed: element types of the tensors that the model computes.
    """
    return max((_BY_TYPE.get(dtype, 0.0) for dtype in computed), default=0.0)


def unoptimised_tolerance(computed: Iterable[DType]) -> float:
    """Return the same tolerance for runs without optimisation, where every node runs as the file states it.

    Then no operator of a quantised model is fused on one side only. Narrow floating-point types keep their tolerance:
    the runtime computes them in float32 and rounds where a cut is.

    Args:
        computed: element types of the tensors that the model computes.
    """
    types = frozenset(computed)
    return relative_tolerance(types if types & _NARROW_FLOATS else types & _WIDE_FLOATS)
