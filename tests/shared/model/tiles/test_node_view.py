"""Constants of a node that decide about its rows."""

import numpy as np

from shared.model.liveness import activate
from shared.model.onnx_file import load_model
from shared.model.tiles.node_view import NodeView
from tests.support.onnx_texts import onnx_bytes


def view(body: str) -> NodeView:
    text = f"g (float[1,1,8,8] x) => (float[1,1,16,8] y) {{{body}}}"
    graph = activate(load_model(onnx_bytes(text, w=np.array([1, 1, 2, 1], np.float32))).graph)
    return NodeView(graph, graph.nodes[-1], 2)


def test_values_of_weights_and_of_constant_nodes() -> None:
    of_weight = view("y = Resize(x, , w)")
    assert of_weight.numbers(2) == (1, 1, 2, 1)
    assert of_weight.has(2)
    assert not of_weight.has(1)
    of_node = view("c = Constant <value_floats = [1.0, 1.0, 2.0, 1.0]> () y = Resize(x, , c)")
    assert of_node.numbers(2) == (1, 1, 2, 1)


def test_computed_values_are_unknown() -> None:
    assert view("c = Abs(w) y = Resize(x, , c)").values(2) is None
