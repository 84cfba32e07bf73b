"""What an encoding does to the answer, in numbers."""

import numpy as np
import pytest

from shared.codecs import Array
from shared.codecs.encoding_effect import EncodingEffect, effect_on, is_classification, overall_effect


def scores(*values: float) -> dict[str, Array]:
    return {"prob": np.array([values], np.float32)}


def test_equal_outputs_have_no_error_and_agree() -> None:
    outputs = scores(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    assert effect_on(outputs, outputs) == EncodingEffect(0.0, 0.0, 1.0, 1.0)


def test_errors_are_the_largest_and_relative_to_the_largest_value() -> None:
    effect = effect_on(scores(0, 1, 2, 3, 4, -8), scores(0, 1, 2, 3, 5, -8))
    assert effect.max_abs_error == 1.0
    assert effect.max_relative_error == 1 / 8
    assert effect.top1_agreement == 1.0
    assert effect.top5_agreement == 1.0


def test_classes_that_change_places_disagree() -> None:
    effect = effect_on(scores(1, 2, 3, 4, 5, 6), scores(6, 2, 3, 4, 5, 1))
    assert effect.top1_agreement == 0.0
    assert effect.top5_agreement == 0.8


def test_equal_scores_keep_the_order_of_their_classes() -> None:
    assert effect_on(scores(1, 1, 1, 1, 1, 1), scores(1, 1, 1, 1, 1, 1)).top1_agreement == 1.0


def test_outputs_that_are_not_finite_are_the_largest_error() -> None:
    effect = effect_on(scores(1, 2, 3, 4, 5, 6), scores(1, 2, 3, 4, 5, np.nan))
    assert effect.max_abs_error == np.finfo(np.float64).max
    assert effect.top1_agreement == 0.0
    same = scores(1, 2, 3, 4, 5, np.inf)
    assert effect_on(same, same).max_abs_error == 0.0


def test_a_feature_map_is_no_classification() -> None:
    outputs = {"mask": np.zeros((1, 1, 8, 8), np.float32)}
    assert not is_classification(outputs)
    assert effect_on(outputs, outputs) == EncodingEffect()
    assert not is_classification(scores(1, 2))
    assert not is_classification({**outputs, **scores(1, 2, 3, 4, 5, 6)})


def test_errors_against_an_output_of_zeros_are_whole() -> None:
    zeros, ones = {"y": np.zeros((2, 2))}, {"y": np.full((2, 2), 0.5)}
    assert effect_on(zeros, ones) == EncodingEffect(0.5, 1.0)
    assert effect_on({"y": np.zeros((0, 2))}, {"y": np.zeros((0, 2))}) == EncodingEffect()


def test_over_several_samples_errors_are_the_worst_and_agreement_the_mean() -> None:
    samples = [EncodingEffect(0.1, 0.2, 1.0, 0.8), EncodingEffect(0.3, 0.1, 0.0, 1.0)]
    assert overall_effect(samples) == EncodingEffect(0.3, 0.2, 0.5, 0.9)
    assert overall_effect([EncodingEffect(0.1, 0.2)]) == EncodingEffect(0.1, 0.2)
    with pytest.raises(ValueError, match="no samples"):
        overall_effect([])


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_another_number_of_rows_is_an_error(rows: int) -> None:
    expected = {"boxes": np.full((2, 4), 3.0, np.float32)}
    effect = effect_on(expected, {"boxes": np.full((rows, 4), 3.0, np.float32)})
    assert effect.max_abs_error == 3
    assert effect.max_relative_error == 1
    assert effect.top1_agreement is None


def test_no_row_where_there_was_none_is_no_error() -> None:
    empty = {"boxes": np.zeros((0, 4), np.float32)}
    assert effect_on(empty, empty).max_relative_error == 0
    assert effect_on(empty, {"boxes": np.ones((1, 4), np.float32)}).max_relative_error == 1


def test_scores_of_another_length_keep_no_class() -> None:
    effect = effect_on({"scores": np.arange(8, dtype=np.float32)}, {"scores": np.zeros(0, np.float32)})
    assert (effect.top1_agreement, effect.top5_agreement) == (0, 0)


def test_a_scalar_output() -> None:
    effect = effect_on({"sum": np.array(2.0, np.float32)}, {"sum": np.array(1.5, np.float32)})
    assert (effect.max_abs_error, effect.max_relative_error) == (0.5, 0.25)
