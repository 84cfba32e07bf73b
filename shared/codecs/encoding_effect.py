"""Effect of an encoding on a model's outputs, compared with a run with raw feature maps."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from shared.codecs.spec import Array

# Number of best classes that are compared.
TOP: Final = 5


@dataclass(frozen=True, slots=True)
class EncodingEffect:
    """The effect on the outputs for one input, or the worst errors and mean agreements over several inputs.

    Attributes:
        max_abs_error: largest difference of an output value.
        max_relative_error: largest difference divided by the largest value (absolute) of that output.
        top1_agreement: share of the inputs that keep their best class; none unless the model is a classifier.
        top5_agreement: mean share of the five best classes that stay among the five best; none likewise.
    """

    max_abs_error: float = 0.0
    max_relative_error: float = 0.0
    top1_agreement: float | None = None
    top5_agreement: float | None = None


def is_classification(outputs: Mapping[str, Array]) -> bool:
    """Return whether the outputs are those of a classifier: one tensor with one row of more than `TOP` numbers."""
    if len(outputs) != 1:
        return False
    (scores,) = outputs.values()
    return scores.size > TOP and scores.size == max(scores.shape) and scores.dtype.kind == "f"


def effect_on(reference: Mapping[str, Array], outputs: Mapping[str, Array]) -> EncodingEffect:
    """Compare the outputs for one input with those of the run with raw feature maps.

    A value that is not finite where the reference is finite counts as an error of the largest float. An output of
    another shape, such as another number of boxes, is wrong by its largest value, and keeps no class.

    Args:
        reference: outputs of the raw run, by name.
        outputs: outputs of the encoded run, of the same names.
    """
    absolute = relative = 0.0
    same_shapes = all(outputs[name].shape == expected.shape for name, expected in reference.items())
    for name, expected in reference.items():
        if outputs[name].shape != expected.shape:
            absolute = max(absolute, _largest(expected), _largest(outputs[name]))
            relative = max(relative, 1.0)
            continue
        if expected.size == 0:
            continue
        exact = expected.astype(np.float64)
        with np.errstate(invalid="ignore"):
            # An array also for scalars, which numpy returns as numbers.
            difference = np.asarray(np.abs(outputs[name].astype(np.float64) - exact))
        difference[np.isnan(difference)] = np.finfo(np.float64).max
        # Equal infinities differ by NaN, which the line above has turned into an error.
        difference[outputs[name] == expected] = 0
        error, scale = float(difference.max()), float(np.abs(exact).max())
        absolute = max(absolute, error)
        relative = max(relative, error / scale if scale > 0 else float(error > 0))
    if not is_classification(reference):
        return EncodingEffect(_bounded(absolute), _bounded(relative))
    if not same_shapes:
        return EncodingEffect(_bounded(absolute), _bounded(relative), 0.0, 0.0)
    best, found = (ranking(values) for values in (reference, outputs))
    shared = len(set(best[:TOP].tolist()) & set(found[:TOP].tolist())) / TOP
    return EncodingEffect(_bounded(absolute), _bounded(relative), float(best[0] == found[0]), shared)


def overall_effect(effects: Iterable[EncodingEffect]) -> EncodingEffect:
    """Return the largest errors and the mean agreements over several inputs.

    Raises:
        ValueError: `effects` is empty.
    """
    samples = tuple(effects)
    if not samples:
        raise ValueError("no samples to aggregate")
    return EncodingEffect(
        max(sample.max_abs_error for sample in samples),
        max(sample.max_relative_error for sample in samples),
        _mean(sample.top1_agreement for sample in samples),
        _mean(sample.top5_agreement for sample in samples),
    )


def ranking(outputs: Mapping[str, Array]) -> Array:
    """Return the classes of a classifier, best first: an array of indices [classes].

    Equal scores keep the order of the classes; NaN comes last.
    """
    (scores,) = outputs.values()
    flat = scores.reshape(-1).astype(np.float64)
    order: Array = np.argsort(-np.nan_to_num(flat, nan=-np.inf), kind="stable")
    return order


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _largest(values: Array) -> float:
    """Return the largest finite magnitude."""
    magnitudes = np.abs(values.astype(np.float64))
    return float(np.where(np.isfinite(magnitudes), magnitudes, 0.0).max(initial=0.0))


def _bounded(value: float) -> float:
    """Return a finite number, which JSON and messages can hold."""
    return min(value, float(np.finfo(np.float64).max))
