"""Hold a chain of segments against the whole model."""

import math
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.model.onnx_file.runtime import ModelSession, Optimisation
from shared.model.tensor import DType, Tensor
from shared.model.weights import Array

_ENDS = {DType.UINT8: 256}


@dataclass(frozen=True)
class ChainReport:
    """How far a chain of segments is from the whole model, over all outputs.

    `max_rel_error` is the largest error divided by the largest absolute value of the same output. The runtime's
    default optimisation (ALL) may choose other kernels for a segment than for the whole; `bit_exact_extended` tells
    whether the numbers agree bit for bit one level lower, where it does not.
    """

    max_abs_error: float
    max_rel_error: float
    bit_exact: bool
    bit_exact_extended: bool


@dataclass(frozen=True)
class Difference:
    """How far two sets of outputs are apart."""

    max_abs_error: float
    max_rel_error: float
    bit_exact: bool


def verify_chain(
    whole: bytes | Path, segments: Sequence[bytes], inputs: Sequence[Tensor], *, seed: int = 0
) -> ChainReport:
    """Run a chain of segments and the whole model on the same seeded random inputs, and compare their outputs.

    Args:
        whole: The whole model, its bytes or its path.
        segments: The segments in order, as `extract_segment` writes them.
        inputs: The model's inputs (`ModelAnalysis.input`).
        seed: Seed of the random inputs.

    Raises:
        RuntimeFailureError: The runtime refuses one of the models.
    """
    return Verifier(whole, inputs, seed=seed).verify(segments)


class Verifier:
    """The whole model's outputs for seeded random inputs, to hold any number of chains against."""

    def __init__(self, whole: bytes | Path, inputs: Sequence[Tensor], *, seed: int = 0) -> None:
        """Run the whole model; arguments and errors are those of `verify_chain`."""
        self._values = random_inputs(inputs, seed)
        model = whole if isinstance(whole, bytes) else str(whole)
        self._expected = {level: ModelSession(model, level).run(self._values) for level in Optimisation}

    def verify(self, segments: Sequence[bytes]) -> ChainReport:
        """Run a chain of segments and compare.

        Raises:
            RuntimeFailureError: The runtime refuses a segment.
        """
        default = self._compare_at(Optimisation.ALL, segments)
        extended = self._compare_at(Optimisation.EXTENDED, segments)
        return ChainReport(
            default.max_abs_error, default.max_rel_error, default.bit_exact, bit_exact_extended=extended.bit_exact
        )

    def _compare_at(self, level: Optimisation, segments: Sequence[bytes]) -> Difference:
        crossing: Mapping[str, Array] = self._values
        for segment in segments:
            crossing = ModelSession(segment, level).run(crossing)
        return compare(self._expected[level], crossing)


def random_inputs(inputs: Sequence[Tensor], seed: int) -> dict[str, Array]:
    """Make one random array per input: standard normal floats, bytes as of an image, other integers 0 or 1."""
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


def compare(expected: Mapping[str, Array], actual: Mapping[str, Array]) -> Difference:
    """Compare outputs by name; NaN agrees with NaN, and with nothing else."""
    absolute = [0.0]
    relative = [0.0]
    for name, whole in expected.items():
        error = _largest_error(whole, actual[name])
        absolute.append(error)
        relative.append(error / (_largest(np.abs(whole.astype(np.float64))) or 1.0))
    exact = all(values.tobytes() == actual[name].tobytes() for name, values in expected.items())
    return Difference(max(absolute), max(relative), exact)


def _largest_error(whole: Array, part: Array) -> float:
    if whole.shape != part.shape or whole.dtype != part.dtype:
        return sys.float_info.max
    same = (whole == part) | ((whole != whole) & (part != part))
    with np.errstate(invalid="ignore"):
        error = np.abs(whole.astype(np.float64) - part.astype(np.float64))
    error[same] = 0.0
    error[~same & ~np.isfinite(error)] = sys.float_info.max
    return float(error.max(initial=0.0))


def _largest(values: Array) -> float:
    largest = float(np.nanmax(values, initial=0.0))
    return largest if math.isfinite(largest) else 0.0
