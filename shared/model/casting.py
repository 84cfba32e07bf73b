"""Conversions of tensors to another element type that keep their numbers."""

import numpy as np

from shared.model.weights import Array

# Kinds of numpy's types (`dtype.kind`) between which numbers keep their meaning.
_INTEGERS = "iu"


class UnsafeCastError(ValueError):
    """The numbers of a tensor do not fit the other type."""


def cast_safely(values: Array, dtype: np.dtype) -> Array:
    """Return a tensor in another element type of the same kind: integers as integers, floats as floats.

    NumPy makes float64 and int64 where nothing else is said, and models mostly take float32 and int32. Floats are
    rounded to the narrower type. Integers keep their values.

    Args:
        values: of any byte order.
        dtype: the type in demand.

    Raises:
        UnsafeCastError: the kinds differ, or a number is outside the range of `dtype`.
    """
    if values.dtype.newbyteorder("=") == dtype:
        return values.astype(dtype, copy=False)
    if dtype.kind in _INTEGERS and values.dtype.kind in _INTEGERS:
        limits = np.iinfo(dtype)
        if values.size and (int(values.min()) < limits.min or int(values.max()) > limits.max):
            raise UnsafeCastError(f"{values.dtype} numbers outside {limits.min} to {limits.max}")
        return values.astype(dtype)
    if dtype.kind == values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            cast = values.astype(dtype)
        if np.isinf(cast).sum() != np.isinf(values).sum():
            raise UnsafeCastError(f"{values.dtype} numbers beyond the largest of {dtype}, {np.finfo(dtype).max:.4g}")
        return cast
    raise UnsafeCastError(f"{values.dtype}, not {dtype}")
