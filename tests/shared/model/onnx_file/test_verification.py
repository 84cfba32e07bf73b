import sys

import numpy as np
import pytest

from shared.model.architectures import build
from shared.model.onnx_file import extract_segment, load_model, to_bytes, verify_chain
from shared.model.onnx_file.verification import BlockChain, ChainReport, Verifier, compare, random_inputs
from shared.model.tensor import DType, Tensor
from shared.model.weights import Array
from tests.support.onnx_texts import onnx_bytes

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


def test_an_infinite_output_does_not_hide_the_size_of_the_others() -> None:
    assert compare(arrays(np.inf, 4), arrays(np.inf, 5)).max_rel_error == 0.25


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
    assert not report.is_same_graph(model.computed_types)
    assert not report.agrees(model.computed_types)


def test_rounding_at_a_cut_is_no_other_graph() -> None:
    """The runtime computes float16 in float32 and rounds at every cut."""
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal((64, 64)).astype(np.float16) for name in ("a", "b", "c")}
    text = """g (float16[1,64] x) => (float16[1,64] y) {
        p = MatMul(x, a) q = Tanh(p) r = MatMul(q, b) s = Tanh(r) y = MatMul(s, c)
        }"""
    model = load_model(onnx_bytes(text, weights))
    report = verify_chain(onnx_bytes(text, weights), BlockChain(model), model.analysis.input)
    assert report.max_rel_error > 1e-5
    assert report.agrees(model.computed_types)


def test_a_step_of_a_quantised_value_is_no_other_graph_and_other_weights_are() -> None:
    steps = ChainReport(0.01, 0.01, False, bit_exact_extended=False, unoptimised_rel_error=0.0)
    assert steps.agrees({DType.FLOAT32, DType.UINT8})
    assert not steps.agrees({DType.FLOAT32})
    assert steps.is_same_graph({DType.FLOAT32})
    weights = ChainReport(0.01, 0.01, False, bit_exact_extended=False, unoptimised_rel_error=0.005)
    assert not weights.agrees({DType.FLOAT32, DType.UINT8})


def test_a_chain_of_blocks_has_one_segment_per_block() -> None:
    model = load_model(TINY)
    chain = BlockChain(model)
    assert list(chain) == list(chain[:]) == [extract_segment(model, index, index + 1) for index in range(7)]


def test_a_model_that_draws_numbers_does_not_repeat() -> None:
    text = "g (float[1,4] x) => (float[1,4] y) {n = RandomNormal <shape = [1,4]> () y = Add(x, n)}"
    inputs = [Tensor("x", DType.FLOAT32, (1, 4))]
    assert not Verifier(onnx_bytes(text), inputs).repeats()
    assert Verifier(TINY, load_model(TINY).analysis.input).repeats()


def test_outputs_that_are_not_finite_are_seen() -> None:
    text = "g (float[1,4] x) => (float[1,4] y) {z = Sub(x, x) y = Div(z, z)}"
    assert not Verifier(onnx_bytes(text), [Tensor("x", DType.FLOAT32, (1, 4))]).is_finite
    assert Verifier(TINY, load_model(TINY).analysis.input).is_finite
