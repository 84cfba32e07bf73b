"""Rows that resized rows are made of."""

import numpy as np
import pytest

from shared.model.liveness import activate
from shared.model.onnx_file import load_model
from shared.model.tiles.node_view import NodeView, RowRead
from shared.model.tiles.resizing import resize_read
from shared.row_ranges import RowRange
from tests.support.onnx_texts import onnx_bytes


def needed(attributes: str, rows: RowRange, *, factor: int = 2) -> RowRange:
    text = f"g (float[1,1,8,8] x) => (float[1,1,h,w] y) {{y = Resize <{attributes}> (x, , s)}}"
    graph = activate(load_model(onnx_bytes(text, s=np.array([1, 1, factor, 1], np.float32))).graph)
    found = resize_read(NodeView(graph, graph.nodes[0], 2))
    assert isinstance(found, RowRead)
    return found.relation.needed(rows, 8)


@pytest.mark.parametrize(
    ("attributes", "rows", "expected"),
    [
        ('mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"', (4, 8), (2, 4)),
        ('mode = "nearest"', (4, 8), (2, 4)),
        ('mode = "linear", coordinate_transformation_mode = "asymmetric"', (4, 8), (2, 5)),
        ('mode = "linear"', (4, 8), (1, 5)),
        ('mode = "linear"', (0, 2), (0, 2)),
        ('mode = "linear"', (14, 16), (6, 8)),
    ],
)
def test_rows_of_the_input(attributes: str, rows: RowRange, expected: RowRange) -> None:
    assert needed(attributes, rows) == expected


def test_a_factor_of_one_needs_the_same_rows_whatever_the_coordinates() -> None:
    assert needed('mode = "linear", coordinate_transformation_mode = "align_corners"', (3, 5), factor=1) == (3, 5)
