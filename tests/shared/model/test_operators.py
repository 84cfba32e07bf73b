import numpy as np
import pytest
from numpy.typing import ArrayLike

from shared.model.liveness import activate
from shared.model.onnx_file import load_model
from shared.model.operators import works_by_rows
from tests.support.onnx_texts import onnx_bytes

IMAGE = "g (float[1,4,8,8] x) => (float[1,c,h,w] y)"
KERNEL = np.zeros((4, 4, 3, 3), np.float32)


def by_rows(body: str, **initializers: ArrayLike) -> list[bool]:
    graph = activate(load_model(onnx_bytes(f"{IMAGE} {{{body}}}", initializers)).graph)
    return [works_by_rows(graph, node) for node in graph.nodes]


@pytest.mark.parametrize(
    "body",
    [
        "y = Conv <pads = [1,1,1,1]> (x, kernel)",
        'y = Conv <auto_pad = "SAME_UPPER"> (x, kernel)',
        "y = MaxPool <kernel_shape = [3,3], ceil_mode = 1, strides = [2,2]> (x)",
        "y = AveragePool <kernel_shape = [3,3], count_include_pad = 1, pads = [1,1,1,1]> (x)",
        "y = Relu(x)",
        "y = Clip(x, scalar)",
        "y = PRelu(x, channel)",
        "y = Mul(x, channel)",
        "y = Add(x, x)",
        "y = BatchNormalization(x, vector, vector, vector, vector)",
        "y = LRN <size = 3> (x)",
        "y = Concat <axis = 1> (x, x)",
        "y = Concat <axis = -1> (x, x)",
        "y = Softmax <axis = 1> (x)",
        "y = Pad(x, pads)",
        "y = QuantizeLinear(x, scalar)",
    ],
)
def test_operators_that_work_by_rows(body: str) -> None:
    constants: dict[str, ArrayLike] = {
        "kernel": KERNEL,
        "scalar": np.float32(1),
        "vector": np.ones(4, np.float32),
        "channel": np.ones((4, 1, 1), np.float32),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    }
    used = {name: values for name, values in constants.items() if name in body}
    assert by_rows(body.replace("float[1,c", "uint8[1,c"), **used) == [True]


@pytest.mark.parametrize(
    "body",
    [
        "y = GlobalAveragePool(x)",
        "y = Flatten(x)",
        "y = Transpose <perm = [0,2,1,3]> (x)",
        "y = Concat <axis = 2> (x, x)",
        "y = Concat <axis = -2> (x, x)",
        "y = Softmax <axis = 2> (x)",
        "y = AveragePool <kernel_shape = [3,3], count_include_pad = 1, ceil_mode = 1, pads = [1,1,1,1]> (x)",
        "y, indices = MaxPool <kernel_shape = [2,2]> (x)",
        "y = InstanceNormalization(x, vector, vector)",
        "y = Mul(x, rows)",
        'y = Pad <mode = "reflect"> (x, pads)',
        "y = Resize(x, , scales)",
    ],
)
def test_operators_that_need_more_than_their_rows(body: str) -> None:
    constants = {
        "vector": np.ones(4, np.float32),
        "rows": np.ones((8, 1), np.float32),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "scales": np.array([1, 1, 2, 2], np.float32),
    }
    assert by_rows(body, **{name: values for name, values in constants.items() if name in body}) == [False]


def test_a_kernel_that_is_computed_from_the_image_forbids_tiles() -> None:
    assert by_rows("k = Relu(x) y = Conv(x, k)")[-1] is False


def test_broadcasting_one_row_over_many_forbids_tiles() -> None:
    assert by_rows("m = ReduceMean <axes = [2], keepdims = 1> (x) y = Mul(x, m)") == [False, False]


def test_softmax_of_old_operator_sets_flattens_the_rows() -> None:
    data = onnx_bytes("g (float[1,4,8,8] x) => (float[1,4,8,8] y) {y = Softmax <axis = 1> (x)}", opset=11)
    graph = activate(load_model(data).graph)
    assert not works_by_rows(graph, graph.nodes[0])
