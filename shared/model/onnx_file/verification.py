"""Compares the outputs of a chain of segments with those of the whole model."""

import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, overload

import numpy as np

from shared.model.onnx_file.runtime import ModelSession, Optimisation
from shared.model.onnx_file.writing import extract_segment
from shared.model.partitioned_model import PartitionedModel
from shared.model.tensor import DType, Tensor
from shared.model.tolerance import relative_tolerance, unoptimised_tolerance
from shared.model.weights import Array
from shared.time_limits import BASE_LIMIT_S

# Exclusive upper bounds of random integers: bytes are pixels, other integers are indices that must stay small.
_ENDS: Final = {DType.UINT8: 256}


@dataclass(frozen=True)
class ChainReport:
    """Difference between a chain of segments and the whole model, over all outputs.

    Attributes:
        max_abs_error: largest absolute difference of a value.
        max_rel_error: largest difference divided by the largest absolute value of the same output.
        bit_exact: whether all outputs are equal bit for bit at the runtime's default optimisation (ALL). It may choose
            other kernels for a segment than for the whole.
        bit_exact_extended: the same one level lower, where kernels do not depend on the neighbours of a node.
        unoptimised_rel_error: as `max_rel_error`, without optimisations. The runtime then runs node by node. If the
            chain is the same graph as the whole, only narrow floating-point types have an error above 0.
    """

    max_abs_error: float
    max_rel_error: float
    bit_exact: bool
    bit_exact_extended: bool
    unoptimised_rel_error: float

    def is_same_graph(self, computed: Iterable[DType]) -> bool:
        """Return whether the chain computes what the whole computes, for a model that computes tensors of these types.

        Where a cut keeps the runtime from fusing quantised operators, the numbers of the same graph may still differ
        by more than the tolerance (see `agrees`).
        """
        return self.unoptimised_rel_error <= unoptimised_tolerance(computed)

    def agrees(self, computed: Iterable[DType]) -> bool:
        """Return whether the outputs agree within the tolerance of a model that computes tensors of these types."""
        types = frozenset(computed)
        return self.is_same_graph(types) and self.max_rel_error <= relative_tolerance(types)


@dataclass(frozen=True)
class OutputDifference:
    """Difference of two sets of outputs, with the fields of `ChainReport`."""

    max_abs_error: float
    max_rel_error: float
    bit_exact: bool


def verify_chain(
    whole: bytes | Path,
    segments: Sequence[bytes],
    inputs: Sequence[Tensor],
    *,
    seed: int = 0,
    fixed_inputs: Mapping[str, Array] | None = None,
) -> ChainReport:
    """Run a chain of segments and the whole model on the same seeded random inputs, and compare their outputs.

    Args:
        whole: Bytes or path of the whole model.
        segments: The segments in order, as `extract_segment` writes them.
        inputs: The model's inputs (`ModelAnalysis.input`).
        seed: Seed of the random inputs.
        fixed_inputs: Values of inputs of the whole model that the segments do not have.

    Raises:
        RuntimeFailureError: ONNX Runtime refuses one of the models.
    """
    return Verifier(whole, inputs, seed=seed, fixed_inputs=fixed_inputs).verify(segments)


class Verifier:
    """The outputs of the whole model for seeded random inputs, with which any number of chains is compared."""

    def __init__(
        self,
        whole: bytes | Path,
        inputs: Sequence[Tensor],
        *,
        seed: int = 0,
        fixed_inputs: Mapping[str, Array] | None = None,
        outputs: Sequence[str] | None = None,
        limit_s: float = BASE_LIMIT_S,
    ) -> None:
        """Run the whole model.

        Args:
            whole: Bytes or path of the whole model.
            inputs: The inputs of the chains (`ModelAnalysis.input`).
            seed: Seed of their random values.
            fixed_inputs: Values of inputs of the whole model that chains do not have.
            outputs: Names of the outputs that are compared; none for all.
            limit_s: Time limit of every run, and of loading.

        Raises:
            RuntimeFailureError: ONNX Runtime refuses the model.
            TimeLimitError: The whole model does not end within the limit.
        """
        self._values = {**random_inputs(inputs, seed), **(fixed_inputs or {})}
        self._outputs = outputs
        self._limit_s = limit_s
        self._model = whole if isinstance(whole, bytes) else str(whole)
        self._expected = {level: self._run_whole(level) for level in Optimisation}

    @property
    def is_finite(self) -> bool:
        """True if the whole model's outputs hold no NaN and no infinity for the random inputs."""
        outputs = self._expected[Optimisation.ALL].values()
        return all(bool(np.isfinite(output).all()) for output in outputs if output.dtype.kind in "fc")

    def repeats(self) -> bool:
        """Return whether a second run of the whole model gives the same numbers; not if it draws random numbers.

        Raises:
            RuntimeFailureError: ONNX Runtime refuses the model.
        """
        # Random generators are seeded with the session, so only the second run of a session differs.
        session = self.session(self._model, Optimisation.NONE)
        first, second = (session.run(self._values, self._outputs) for _ in range(2))
        return compare(first, second).bit_exact

    def verify(self, segments: Sequence[bytes]) -> ChainReport:
        """Run a chain of segments and compare its outputs.

        Raises:
            RuntimeFailureError: ONNX Runtime refuses a segment.
        """
        return chain_report({level: self._compare_at(level, segments) for level in Optimisation})

    @property
    def inputs(self) -> Mapping[str, Array]:
        """The random inputs of the whole model."""
        return self._values

    def session(self, model: bytes | str, level: Optimisation) -> ModelSession:
        """Load a model, or a part of it, with the time limit of the whole."""
        return ModelSession(model, level, limit_s=self._limit_s)

    def difference(self, level: Optimisation, outputs: Mapping[str, Array]) -> OutputDifference:
        """Return the difference between the whole model's outputs and those of a chain with the same inputs."""
        return compare(self._expected[level], outputs)

    def _run_whole(self, level: Optimisation) -> Mapping[str, Array]:
        return self.session(self._model, level).run(self._values, self._outputs)

    def _compare_at(self, level: Optimisation, segments: Sequence[bytes]) -> OutputDifference:
        crossing: Mapping[str, Array] = self._values
        for segment in segments:
            crossing = self.session(segment, level).run(crossing)
        return self.difference(level, crossing)


def chain_report(by_level: Mapping[Optimisation, OutputDifference]) -> ChainReport:
    """Return the report of the differences at every level of optimisation."""
    default = by_level[Optimisation.ALL]
    return ChainReport(
        default.max_abs_error,
        default.max_rel_error,
        default.bit_exact,
        bit_exact_extended=by_level[Optimisation.EXTENDED].bit_exact,
        unoptimised_rel_error=by_level[Optimisation.NONE].max_rel_error,
    )


class BlockChain(Sequence[bytes]):
    """The blocks of a model as segments of one block each, extracted on demand, because together they are large."""

    def __init__(self, model: PartitionedModel) -> None:
        """Extract from `model`."""
        self._model = model

    def __len__(self) -> int:
        """Return the number of blocks."""
        return self._model.partition.block_count

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        """Return the bytes of a block, or of several."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return extract_segment(self._model, index, index + 1)


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
        relative.append(error / (_largest_finite(whole) or 1.0))
    exact = all(values.tobytes() == actual[name].tobytes() for name, values in expected.items())
    return OutputDifference(max(absolute), max(relative), exact)


def _largest_error(whole: Array, part: Array) -> float:
    if whole.shape != part.shape or whole.dtype != part.dtype:
        return sys.float_info.max
    # The only values unequal to themselves are NaN.
    same = (whole == part) | ((whole != whole) & (part != part))
    with np.errstate(invalid="ignore"):
        # An array also for scalars, which numpy returns as numbers.
        error = np.asarray(np.abs(whole.astype(np.float64) - part.astype(np.float64)))
    error[same] = 0.0
    error[~same & ~np.isfinite(error)] = sys.float_info.max
    return float(error.max(initial=0.0))


def _largest_finite(values: Array) -> float:
    magnitudes = np.abs(values.astype(np.float64))
    return float(magnitudes[np.isfinite(magnitudes)].max(initial=0.0))
