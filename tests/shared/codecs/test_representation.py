"""Numbers of representations, computed by hand."""

import numpy as np
import pytest

from shared.codecs import CodecError, TensorSpec
from shared.codecs.representation import (
    HEADROOM,
    TINY_SCALE,
    HalfPrecision,
    Quantised,
    check_halves,
    check_scales,
    to_bfloat16,
)


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (1.0, 1.0),
        (1 + 2.0**-8, 1.0),  # a tie goes to the even neighbour below
        (1 + 3 * 2.0**-8, 1 + 2.0**-6),  # a tie goes to the even neighbour above
        (1 + 2.0**-8 + 2.0**-20, 1 + 2.0**-7),
        (-3.0, -3.0),
        (np.inf, np.inf),
    ],
)
def test_bfloat16_rounds_to_nearest_even(value: float, rounded: float) -> None:
    assert to_bfloat16(np.array([value], np.float32)).tolist() == [rounded]


def test_a_scale_with_headroom_is_never_rounded_below_its_range() -> None:
    exact = np.geomspace(1e-20, 1e20, 10_001).astype(np.float32)
    scales = to_bfloat16(exact * HEADROOM)
    assert (scales >= exact).all()
    assert (scales <= exact * np.float32(1 + 1 / 128)).all()


def test_quantised_values_with_their_scale_and_zero_point() -> None:
    tensor = np.array([[-1.0, 0.0, 3.0]], np.float32)
    scales, zeros, integers = Quantised(4).represent(tensor)
    # The range 4 over 15 steps, with headroom, as bfloat16.
    assert scales.tolist() == [0.267578125]
    assert zeros.tolist() == [4]
    assert integers.tolist() == [[0, 4, 15]]
    restored = Quantised(4).restore((scales, zeros, integers), TensorSpec.of(tensor))
    assert restored.tolist() == [[-4 * 0.267578125, 0.0, 11 * 0.267578125]]


def test_a_channel_of_tiny_values_becomes_zero() -> None:
    tensor = np.full((1, 3), TINY_SCALE, np.float32)
    scales, zeros, integers = Quantised(8).represent(tensor)
    assert scales.tolist() == [1.0]
    assert zeros.tolist() == [0]
    assert not integers.any()


def test_the_largest_half_is_represented_and_the_next_value_is_refused() -> None:
    (halves,) = HalfPrecision().represent(np.array([65504.0, -65504.0], np.float32))
    assert halves.tolist() == [65504.0, -65504.0]
    with pytest.raises(CodecError, match="not finite in float16"):
        HalfPrecision().represent(np.array([65520.0], np.float32))


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_halves_are_finite(bad: float) -> None:
    check_halves(np.array([], np.float16))
    with pytest.raises(CodecError):
        check_halves(np.array([1.0, bad], np.float16))


@pytest.mark.parametrize("bad", [np.inf, np.nan, -1.0, 3e38])
def test_scales_keep_values_finite(bad: float) -> None:
    check_scales(np.array([0.0, 1.0], np.float32), 255)
    with pytest.raises(CodecError, match="scale"):
        check_scales(np.array([1.0, bad], np.float32), 255)
