"""Descriptions of tensors: name, element type, shape and size."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class DType(Enum):
    """Element types of dense tensors; the value is the name in numpy or ml_dtypes."""

    FLOAT64 = "float64"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT8E4M3FN = "float8_e4m3fn"
    FLOAT8E5M2 = "float8_e5m2"
    INT64 = "int64"
    INT32 = "int32"
    INT16 = "int16"
    INT8 = "int8"
    INT4 = "int4"
    UINT64 = "uint64"
    UINT32 = "uint32"
    UINT16 = "uint16"
    UINT8 = "uint8"
    UINT4 = "uint4"
    COMPLEX64 = "complex64"
    COMPLEX128 = "complex128"
    BOOL = "bool"

    @property
    def bits(self) -> int:
        """Width of one element in bits."""
        if self is DType.BOOL:
            return 8
        # The names of these types end in the widths of exponent and mantissa.
        if self.name.startswith("FLOAT8"):
            return 8
        return int(self.value.lstrip("abcdefghijklmnopqrstuvwxyz"))

    @property
    def has_numpy_type(self) -> bool:
        """True if the runtime takes and returns tensors of this type as numpy arrays, so that they can cross a cut."""
        return self not in _WITHOUT_NUMPY_TYPE

    @property
    def value_range(self) -> tuple[float, float]:
        """Smallest and largest finite value; of a complex type, those of its parts."""
        if self in _LARGEST:
            return -_LARGEST[self], _LARGEST[self]
        if self is DType.BOOL:
            return 0, 1
        if self.name.startswith("UINT"):
            return 0, 2**self.bits - 1
        return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1

    @property
    def is_float(self) -> bool:
        """True if this is a real floating-point type."""
        return "FLOAT" in self.name


_LARGEST: Final[Mapping[DType, float]] = {
    DType.FLOAT64: 1.7976931348623157e308,
    DType.FLOAT32: 3.4028234663852886e38,
    DType.FLOAT16: 65504.0,
    DType.BFLOAT16: 3.3895313892515355e38,
    DType.FLOAT8E4M3FN: 448.0,
    DType.FLOAT8E5M2: 57344.0,
    DType.COMPLEX64: 3.4028234663852886e38,
    DType.COMPLEX128: 1.7976931348623157e308,
}
_WITHOUT_NUMPY_TYPE: Final = frozenset({DType.BFLOAT16, DType.FLOAT8E4M3FN, DType.FLOAT8E5M2, DType.INT4, DType.UINT4})


@dataclass(frozen=True)
class Tensor:
    """A dense tensor without its values; `shape` is static, `()` for a scalar."""

    name: str
    dtype: DType
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Size of the raw tensor in bytes; 4-bit elements are packed two to a byte."""
        return -(-self.elements * self.dtype.bits // 8)
