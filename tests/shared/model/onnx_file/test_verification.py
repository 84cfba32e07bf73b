import sys

import numpy as np
import pytest

from shared.model.architectures import build
from shared.model.onnx_file import extract_segment, load_model, to_bytes, verify_chain
from shared.model.onnx_file.verification import compare, random_inputs
from shared.model.tensor import DType, Tensor
from shared.model.weights import Array

TINY = to_bytes(build("tiny"))


def arrays(*values: float) -> dict[str, Array]:
    return {"y": np.array(values, np.float32)}


def test_equal_outputs_are_exact() -> None:
    difference = compare(arrays(1, np.nan, np.inf), arrays(1, np.nan, np.inf))
    assert difference.bit_exact
    assert difference.max_abs_error == difference.max_rel_error == 0


def test_errors_are_relative_to_the_largest_output() -> None:
    difference = compare(arrays(1, -4), arrays(1.5, -4))
    assert not difference.bit_exact
    assert difference.max_abs_error == 0.5
    assert difference.max_rel_error == 0.125


@pytest.mark.parametrize("other", [arrays(1, np.nan), arrays(1, np.inf), arrays(1), {"y": np.zeros(2)}])
def test_incomparable_outputs_have_the_largest_error(other: dict[str, Array]) -> None:
    difference = compare(arrays(1, 2), other)
    assert not difference.bit_exact
    assert difference.max_abs_error == sys.float_info.max


def test_the_sign_of_zero_counts_only_for_exactness() -> None:
    difference = compare(arrays(0.0), arrays(-0.0))
    assert (difference.max_abs_error, difference.bit_exact) == (0, False)


def test_inputs_are_seeded_and_typed() -> None:
    inputs = [Tensor("a", DType.FLOAT16, (3,)), Tensor("b", DType.UINT8, (50,)), Tensor("c", DType.BOOL, ())]
    one, again, other = (random_inputs(inputs, seed) for seed in (1, 1, 2))
    assert [str(values.dtype) for values in one.values()] == ["float16", "uint8", "bool"]
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not np.array_equal(one["b"], other["b"])


def test_a_chain_that_is_wrong_is_found_out() -> None:
    model, wrong = load_model(TINY), load_model(to_bytes(build("tiny", 1)))
    segments = [extract_segment(model, 0, 3), extract_segment(wrong, 3, 7)]
    report = verify_chain(TINY, segments, model.analysis.input)
    assert report.max_rel_error > 1e-3
    assert not report.bit_exact
    assert not report.bit_exact_extended
