import numpy as np
import pytest

from shared.model.casting import UnsafeCastError, cast_safely

LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([0.1, np.nan, -np.inf]), "float32"),
        (np.array([0.5], np.float16), "float64"),
        (np.array([1, -2]), "int32"),
        (np.array([0, 255]), "uint8"),
        (np.array([3], ">i8"), "int64"),
        (np.array([], np.int64), "int8"),
        (np.array([True, False]), "bool"),
    ],
)
def test_numbers_of_the_same_kind_keep_their_values(values: np.ndarray, dtype: str) -> None:
    cast = cast_safely(values, np.dtype(dtype))
    assert cast.dtype == dtype
    np.testing.assert_allclose(cast.astype(values.dtype), values, rtol=1e-6)


@pytest.mark.parametrize(
    ("values", "dtype", "reason"),
    [
        (np.array([2 * LARGEST]), "float32", "beyond the largest"),
        (np.array([1e5]), "float16", "beyond the largest"),
        (np.array([2**31]), "int32", "outside -2147483648 to 2147483647"),
        (np.array([-1]), "uint8", "outside 0 to 255"),
        (np.array([1.0]), "int64", "float64, not int64"),
        (np.array([1]), "float32", "int64, not float32"),
        (np.array(["a"]), "float32", "not float32"),
        (np.array([1 + 1j]), "float32", "complex128, not float32"),
        (np.array([1]), "bool", "int64, not bool"),
    ],
)
def test_other_numbers_are_refused(values: np.ndarray, dtype: str, reason: str) -> None:
    with pytest.raises(UnsafeCastError, match=reason):
        cast_safely(values, np.dtype(dtype))
