import numpy as np
import pytest

from shared.model.tensor import DType, Tensor


@pytest.mark.parametrize(
    "dtype", [d for d in DType if "FLOAT8" not in d.name and d.bits >= 8 and d is not DType.BFLOAT16]
)
def test_bits_are_those_of_numpy(dtype: DType) -> None:
    assert dtype.bits == np.dtype(dtype.value).itemsize * 8


@pytest.mark.parametrize(
    ("dtype", "bits"), [(DType.BFLOAT16, 16), (DType.FLOAT8E4M3FN, 8), (DType.FLOAT8E5M2, 8), (DType.INT4, 4)]
)
def test_bits_of_types_that_numpy_lacks(dtype: DType, bits: int) -> None:
    assert dtype.bits == bits


@pytest.mark.parametrize(
    ("dtype", "shape", "size_bytes"),
    [
        (DType.FLOAT32, (1, 3, 224, 224), 602112),
        (DType.FLOAT32, (), 4),
        (DType.UINT8, (3, 0), 0),
        (DType.INT4, (3,), 2),
        (DType.BOOL, (5,), 5),
    ],
)
def test_size_in_bytes(dtype: DType, shape: tuple[int, ...], size_bytes: int) -> None:
    assert Tensor("t", dtype, shape).size_bytes == size_bytes


def test_float_types() -> None:
    floats = {DType.FLOAT64, DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16, DType.FLOAT8E4M3FN, DType.FLOAT8E5M2}
    assert {dtype for dtype in DType if dtype.is_float} == floats
