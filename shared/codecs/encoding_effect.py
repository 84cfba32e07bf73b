"""What an encoding does to the answer: outputs of a run with encoded feature maps against those of the plain run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from shared.codecs.spec import Array

TOP: Final = 5


@dataclass(frozen=True, slots=True)
class EncodingEffect:
    """The effect on one input's outputs, or the worst and the mean over several.

    Attributes:
        max_abs_error: largest difference of an output value.
        max_relative_error: largest difference divided by the largest value (absolute) of that output.
        top1_agreement: share of the samples that keep their best class; None if the model is no classifier.
        top5_agreement: mean share of the five best classes that stay among the five best.
    """

    max_abs_error: float = 0.0
    max_relative_error: float = 0.0
    top1_agreement: float | None = None
    top5_agreement: float | None = None


def is_classification(outputs: Mapping[str, Array]) -> bool:
    """Whether the outputs look like a classifier's: one tensor, one row of more numbers than `TOP`."""
    if len(outputs) != 1:
        return False
    (scores,) = outputs.values()
    return scores.size > TOP and scores.size == max(scores.shape) and scores.dtype.kind == "f"


def effect_on(reference: Mapping[str, Array], outputs: Mapping[str, Array]) -> EncodingEffect:
    """Compare one input's outputs with those of the plain run.

    A value that is not finite where the reference's is counts as an error of the largest float.
    """
    absolute = relative = 0.0
    for name, expected in reference.items():
        if expected.size == 0:
            continue
        wanted = expected.astype(np.float64)
        with np.errstate(invalid="ignore"):
            difference = np.abs(outputs[name].astype(np.float64) - wanted)
        difference[np.isnan(difference)] = np.finfo(np.float64).max
        difference[outputs[name] == expected] = 0
        error, scale = float(difference.max()), float(np.abs(wanted).max())
        absolute = max(absolute, error)
        relative = max(relative, error / scale if scale > 0 else float(error > 0))
    if not is_classification(reference):
        return EncodingEffect(_bounded(absolute), _bounded(relative))
    best, found = (ranking(values) for values in (reference, outputs))
    shared = len(set(best[:TOP].tolist()) & set(found[:TOP].tolist())) / TOP
    return EncodingEffect(_bounded(absolute), _bounded(relative), float(best[0] == found[0]), shared)


def overall_effect(effects: Iterable[EncodingEffect]) -> EncodingEffect:
    """Return the largest errors and the mean agreements of several samples.

    Raises:
        ValueError: there are no samples.
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
    """Return a classifier's classes, best first; equal scores in the order of the classes, what is no number last."""
    (scores,) = outputs.values()
    flat = scores.reshape(-1).astype(np.float64)
    order: Array = np.argsort(-np.nan_to_num(flat, nan=-np.inf), kind="stable")
    return order


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _bounded(value: float) -> float:
    """Keep a number that JSON and messages can hold."""
    return min(value, float(np.finfo(np.float64).max))
