"""Operators that work by rows, and the reasons of those that need every row."""

import re

import numpy as np
import pytest
from numpy.typing import ArrayLike

from shared.model.liveness import activate
from shared.model.onnx_file import load_model
from shared.model.tiles.node_view import NodeView, RowRead
from shared.model.tiles.row_rules import row_read
from tests.support.onnx_texts import onnx_bytes

CONSTANTS: dict[str, ArrayLike] = {
    "kernel": np.zeros((4, 4, 3, 3), np.float32),
    "scalar": np.float32(1),
    "vector": np.ones(4, np.float32),
    "rows": np.ones((8, 1), np.float32),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    "scales": np.array([1, 1, 2, 2], np.float32),
    "odd": np.array([1, 1, 1.5, 2], np.float32),
    "rounded": np.array([1, 1, 2.1, 1], np.float32),
    "axis": np.int64(2),
    "split": np.array([4, 4]),
    "flat": np.array([1, 4, 64, 1]),
}


def read(body: str, *, opset: int = 17) -> RowRead | str:
    used = {name: values for name, values in CONSTANTS.items() if re.search(rf"\b{name}\b[,)]", body)}
    data = onnx_bytes(f"g (float[1,4,8,8] x) => (float[1,c,h,w] y) {{{body}}}", used, opset=opset)
    graph = activate(load_model(data).graph)
    return row_read(NodeView(graph, graph.nodes[-1], 2))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = GlobalAveragePool(x)", "averages over all rows"),
        ("y = InstanceNormalization(x, vector, vector)", "computes statistics over all rows"),
        ("y = LayerNormalization <axis = 1> (x, rows)", "computes statistics over all rows"),
        ("y = Reshape(x, flat)", "joins the rows with other axes"),
        ("y = Concat <axis = -2> (x, x)", "works along the axis of the rows"),
        ("y, b = Split <axis = 2> (x, split)", "works along the axis of the rows"),
        ("y = Softmax <axis = 2> (x)", "divides by a sum over all rows"),
        ("y, indices = MaxPool <kernel_shape = [2,2]> (x)", "has a second output"),
        ('y = Pad <mode = "wrap"> (x, pads)', "pads with rows from the far side of the image"),
        ("y = Resize(x, , odd)", "makes 12 rows of 8: the factor is not a whole number"),
        ('y = Resize <mode = "cubic"> (x, , scales)', "interpolates with more than two rows"),
        (
            'y = Resize <mode = "linear", coordinate_transformation_mode = "align_corners"> (x, , scales)',
            "computes coordinates (align_corners) from the number of rows",
        ),
        ("y = ReduceMean <axes = [2]> (x)", "joins all rows"),
        ("y = CumSum(x, axis)", "is not known to work by rows"),
        (
            "y = MaxPool <kernel_shape = [1,1], strides = [3,1], ceil_mode = 1> (x)",
            "rounds its size up to rows or columns that the runtime does not make",
        ),
    ],
)
def test_reasons(body: str, reason: str) -> None:
    assert read(body, opset=19 if "wrap" in body else 17) == reason


def test_softmax_of_old_operator_sets_flattens_the_rows() -> None:
    assert read("y = Softmax <axis = 1> (x)", opset=11) == "divides by a sum over all rows"
    assert isinstance(read("y = Softmax <axis = 3> (x)", opset=11), RowRead)


def test_scales_that_were_rounded_to_a_size_are_no_factor() -> None:
    assert isinstance(read("y = Resize(x, , scales)"), RowRead)
    assert read("y = Resize(x, , rounded)") == "makes 16 rows of 8: the factor is not a whole number"


def test_broadcast_operands_have_no_rows() -> None:
    found = read("m = ReduceMean <axes = [2], keepdims = 1> (x) y = Mul(x, m)")
    assert isinstance(found, RowRead)
    assert dict(found.axes) == {0: 2}


def test_rows_follow_a_transposition() -> None:
    found = read("t = Transpose <perm = [0,2,3,1]> (x) y = Transpose <perm = [0,3,1,2]> (t)")
    assert isinstance(found, RowRead)
    assert dict(found.axes) == {0: 1}
