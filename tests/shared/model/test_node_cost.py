import numpy as np
import pytest

from shared.model.architectures import build
from shared.model.node_cost import flops, parameter_count, total_bytes
from shared.model.onnx_file import load_model
from shared.model.tensor import DType, Tensor
from shared.model.weights import Array
from tests.support.onnx_texts import onnx_bytes


def zeros(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("text", "weights", "multiply_accumulates"),
    [
        ("g (float[1,4,8,8] x) => (float[1,6,8,8] y) {y = Conv <group = 2, pads = [1,1,1,1]> (x, w)}",
         {"w": zeros(6, 2, 3, 3)}, 6 * 64 * 2 * 9),
        ("g (float[1,4,8,8] x) => (float[1,6,16,16] y) {y = ConvTranspose <strides = [2,2]> (x, w)}",
         {"w": zeros(4, 6, 2, 2)}, 4 * 64 * 6 * 4),
        ("g (float[2,5] x) => (float[2,7] y) {y = Gemm <transB = 1> (x, w)}", {"w": zeros(7, 5)}, 2 * 5 * 7),
        ("g (float[5,2] x) => (float[2,7] y) {y = Gemm <transA = 1> (x, w)}", {"w": zeros(5, 7)}, 2 * 5 * 7),
        ("g (float[3,2,5] x) => (float[3,2,7] y) {y = MatMul(x, w)}", {"w": zeros(5, 7)}, 3 * 2 * 5 * 7),
        ("g (float[3,2,5] x) => (float[3,2,7] y) {y = Einsum <equation = \"bij,jk->bik\"> (x, w)}",
         {"w": zeros(5, 7)}, 3 * 2 * 5 * 7),
        ("g (float[3,2,5] x) => (float[3,2,7] y) {y = Einsum <equation = \"...ij,jk->...ik\"> (x, w)}",
         {"w": zeros(5, 7)}, 3 * 2 * 5 * 7),
        ("g (float[9,1,5] x) => (float[9,1,1,6] y) {y = LSTM <hidden_size = 6> (x, w, r)}",
         {"w": zeros(1, 24, 5), "r": zeros(1, 24, 6)}, 9 * 24 * (5 + 6)),
        ("g (float[1,4,8,8] x) => (float[1,4,4,4] y) {y = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)}", {}, 0),
    ],
)  # fmt: skip
def test_two_operations_per_multiply_accumulate(
    text: str, weights: dict[str, Array], multiply_accumulates: int
) -> None:
    graph = load_model(onnx_bytes(text, weights)).graph
    assert flops(graph, graph.nodes[0]) == 2 * multiply_accumulates


def test_parameters_are_counted_as_training_frameworks_do() -> None:
    graph = build("tiny")
    everything = sum(weight.tensor.elements for weight in graph.weights.values())
    assert parameter_count(graph) == everything - 2 * (8 + 8 + 8)


def test_sizes_add_up() -> None:
    assert total_bytes([Tensor("a", DType.FLOAT32, (2, 3)), Tensor("b", DType.UINT8, (5,))]) == 29
