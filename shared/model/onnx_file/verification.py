"""Compares the outputs of a chain of segments with those of the whole model."""

import math
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from shared.model.onnx_file.runtime import ModelSession, Optimisation
from shared.model.tensor import DType, Tensor
from shared.model.weights import Array

# Exclusive upper bounds of random integers: bytes are pixels, other integers are indices that must stay small.
_ENDS: Final = {DType.UINT8: 256}


@dataclass(frozen=True)
class ChainReport:
    """Difference between a chain of segments and the whole model, over all outputs.

    Attributes:
        max_abs_error: largest absolute difference of a value.
        max_rel_error: largest difference divided by the largest absolute value of the same output.
        bit_exact: whether all outputs are equal bit for bit at the runtime's default optimisation (ALL), which may
            choose other kernels for a segment than for the whole.
        bit_exact_extended: the same one level lower, where kernels do not depend on the neighbours of a node.
    """

    max_abs_error: float
    max_rel_error: float
    bit_exact: bool
    bit_exact_extended: bool


@dataclass(frozen=True)
class OutputDifference:
    """Difference of two sets of outputs, with the fields of `ChainReport`."""

    max_abs_error: float
    max_rel_error: float
    bit_exact: bool


def verify_chain(
    whole: bytes | Path, segments: Sequence[bytes], inputs: Sequence[Tensor], *, seed: int = 0
) -> ChainReport:
    """Run a chain of segments and the whole model on the same seeded random inputs, and compare their outputs.

    Args:
        whole: Bytes or path of the whole model.
        segments: The segments in order, as `extract_segment` writes them.
        inputs: The model's inputs (`ModelAnalysis.input`).
        seed: Seed of the random inputs.

    Raises:
        RuntimeFailureError: ONNX Runtime refuses one of the models.
    """
    return Verifier(whole, inputs, seed=seed).verify(segments)


class Verifier:
    """The outputs of the whole model for seeded random inputs, with which any number of chains is compared."""

    def __init__(self, whole: bytes | Path, inputs: Sequence[Tensor], *, seed: int = 0) -> None:
        """Run the whole model; arguments and errors are those of `verify_chain`."""
        self._values = random_inputs(inputs, seed)
        model = whole if isinstance(whole, bytes) else str(whole)
        self._expected = {level: ModelSession(model, level).run(self._values) for level in Optimisation}

    def verify(self, segments: Sequence[bytes]) -> ChainReport:
        """Run a chain of segments and compare its outputs.

        Raises:
            RuntimeFailureError: ONNX Runtime refuses a segment.
        """
        default = self._compare_at(Optimisation.ALL, segments)
        extended = self._compare_at(Optimisation.EXTENDED, segments)
        return ChainReport(
            default.max_abs_error, default.max_rel_error, default.bit_exact, bit_exact_extended=extended.bit_exact
        )

    def _compare_at(self, level: Optimisation, segments: Sequence[bytes]) -> OutputDifference:
        crossing: Mapping[str, Array] = self._values
        for segment in segments:
            crossing = ModelSession(segment, level).run(crossing)
        return compare(self._expected[level], crossing)


def random_inputs(inputs: Sequence[Tensor], seed: int) -> dict[str, Array]:
    """Return one random array for each input: standard normal floats, bytes 0 to 255, other integers 0 or 1."""
    values: dict[str, Array] = {}
    for tensor in inputs:
        rng = np.random.default_rng((seed, zlib.crc32(tensor.name.encode())))
        numbers = (
            rng.standard_normal(tensor.shape)
            if tensor.dtype.is_float
            else rng.integers(0, _ENDS.get(tensor.dtype, 2), tensor.shape)
        )
        values[tensor.name] = np.asarray(numbers).astype(tensor.dtype.value)
    return values


def compare(expected: Mapping[str, Array], actual: Mapping[str, Array]) -> OutputDifference:
    """Compare outputs by name; NaN equals NaN and no other value."""
    absolute = [0.0]
    relative = [0.0]
    for name, whole in expected.items():
        error = _largest_error(whole, actual[name])
        absolute.append(error)
        relative.append(error / (_largest(np.abs(whole.astype(np.float64))) or 1.0))
    exact = all(values.tobytes() == actual[name].tobytes() for name, values in expected.items())
    return OutputDifference(max(absolute), max(relative), exact)


def _largest_error(whole: Array, part: Array) -> float:
    if whole.shape != part.shape or whole.dtype != part.dtype:
        return sys.float_info.max
    # The only values unequal to themselves are NaN.
    same = (whole == part) | ((whole != whole) & (part != part))
    with np.errstate(invalid="ignore"):
        error = np.abs(whole.astype(np.float64) - part.astype(np.float64))
    error[same] = 0.0
    error[~same & ~np.isfinite(error)] = sys.float_info.max
    return float(error.max(initial=0.0))


def _largest(values: Array) -> float:
    largest = float(np.nanmax(values, initial=0.0))
    return largest if math.isfinite(largest) else 0.0
