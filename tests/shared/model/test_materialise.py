import numpy as np
import pytest

from shared.model.graph import Graph
from shared.model.materialise import materialise_weights, without_softmax
from shared.model.onnx_file import load_model
from tests.support.onnx_texts import onnx_bytes


def placeholders(body: str, **shapes: tuple[int, ...]) -> Graph:
    constants = " ".join(f"{name} = ConstantOfShape <value = float[1] {{0.02}}> (shape_{name})" for name in shapes)
    sizes = {f"shape_{name}": np.array(shape) for name, shape in shapes.items()}
    return load_model(onnx_bytes(f"g (float[1,8,8,8] x) => (float[1,c,h,w] y) {{{constants} {body}}}", sizes)).graph


def test_convolutions_get_he_initialised_weights() -> None:
    graph = materialise_weights(placeholders("y = Conv(x, k, b)", k=(64, 8, 3, 3), b=(64,)), seed=1)
    assert [node.op_type for node in graph.nodes] == ["Conv"]
    assert graph.weights["k"].values().var() == pytest.approx(2 / 72, rel=0.05)
    assert 0 < graph.weights["b"].values().std() < 0.1


@pytest.mark.parametrize(("attribute", "shape"), [("", (512, 64)), ("<transB = 1>", (64, 512))])
def test_matrix_products_get_he_initialised_weights(attribute: str, shape: tuple[int, ...]) -> None:
    graph = placeholders(f"f = Flatten(x) y = Gemm {attribute} (f, k)", k=shape)
    assert materialise_weights(graph, seed=1).weights["k"].values().var() == pytest.approx(2 / 512, rel=0.05)


def test_batch_normalisations_get_positive_variance_and_scale() -> None:
    graph = placeholders("y = BatchNormalization(x, s, b, m, v)", s=(8,), b=(8,), m=(8,), v=(8,))
    weights = materialise_weights(graph, seed=1).weights
    assert weights["s"].values().min() >= 0.5
    assert weights["v"].values().min() >= 0.5
    assert abs(weights["m"].values()).max() < 0.5


def test_a_scale_is_recognised_behind_a_reshape() -> None:
    graph = placeholders("axes = Constant <value = int64[2] {1, 2}> () u = Unsqueeze(s, axes) y = Mul(x, u)", s=(8,))
    assert materialise_weights(graph, seed=1).weights["s"].values().min() >= 0.5


def test_a_placeholder_that_nothing_reads_is_filled_too() -> None:
    graph = placeholders("y = Relu(x)", k=(4,))
    assert materialise_weights(graph, seed=1).weights["k"].values().std() > 0


def test_seeds_differ_and_repeat() -> None:
    graph = placeholders("y = Conv(x, k)", k=(4, 8, 3, 3))
    one, again, other = (materialise_weights(graph, seed).weights["k"].values() for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_real_weights_stay() -> None:
    data = onnx_bytes("g (float[1,4] x) => (float[1,4] y) {y = Add(x, w)}", w=np.ones(4, np.float32))
    graph = load_model(data).graph
    assert materialise_weights(graph, seed=1).weights["w"] is graph.weights["w"]


def test_the_final_softmax_can_be_left_out() -> None:
    graph = load_model(onnx_bytes("g (float[1,4] x) => (float[1,4] y) {a = Tanh(x) y = Softmax(a)}")).graph
    assert without_softmax(graph).outputs == ("a",)
    assert [node.op_type for node in without_softmax(graph).nodes] == ["Tanh"]
    assert without_softmax(without_softmax(graph)).outputs == ("a",)
