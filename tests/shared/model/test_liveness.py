import numpy as np
import pytest
from numpy.typing import ArrayLike

from shared.model.architectures import build
from shared.model.liveness import ActiveGraph, activate, constant_nodes, live_sets
from shared.model.onnx_file import load_model
from tests.support.onnx_texts import onnx_bytes

SQUARE = np.eye(4, dtype=np.float32)


def active(text: str, **initializers: ArrayLike) -> ActiveGraph:
    return activate(load_model(onnx_bytes(text, initializers)).graph)


def test_a_chain_has_one_live_tensor_everywhere() -> None:
    sets = live_sets(activate(build("vgg16")))
    assert {len(names) for names in sets} == {1}
    assert sets[0] == ("input",)
    assert sets[-1] == ("fc8",)


def test_the_shortcut_of_a_residual_block_lives_until_it_is_added() -> None:
    graph = activate(build("tiny"))
    sets = live_sets(graph)
    position = next(i for i, node in enumerate(graph.nodes) if node.name == "residual.2.conv")
    assert sets[position] == ("pool1", "residual.1.bn.relu")


def test_an_early_output_lives_to_the_end() -> None:
    graph = active(
        "g (float[1,4] x) => (float[1,4] y, float[1,4] e) {e = MatMul(x, w) s = Softmax(e) y = MatMul(s, w)}", w=SQUARE
    )
    assert live_sets(graph) == [("x",), ("e",), ("e", "s"), ("e", "y")]


def test_a_late_input_lives_from_the_start() -> None:
    graph = active("g (float[1,4] x, float[1,4] late) => (float[1,4] y) {a = MatMul(x, w) y = Add(a, late)}", w=SQUARE)
    assert live_sets(graph) == [("x", "late"), ("late", "a"), ("y",)]


def test_an_input_that_nothing_reads_does_not_live() -> None:
    graph = active("g (float[1,4] x, float[9] idle) => (float[1,4] y) {y = Relu(x)}")
    assert live_sets(graph)[0] == ("x",)


def test_constants_and_dead_ends_are_set_aside() -> None:
    graph = active(
        """g (float[1,4] x) => (float[1,4] y) {
            w = ConstantOfShape <value = float[1] {0.5}> (s)
            v = Neg(w)
            dead = Exp(x)
            m = MatMul(x, v)
            y, mask = Dropout(m)
            }""",
        s=np.array([4, 4]),
    )
    assert [node.op_type for node in graph.nodes] == ["MatMul", "Dropout"]
    assert graph.is_constant("v")
    assert graph.is_constant("s")
    assert not graph.is_constant("x")
    assert [node.op_type for node in constant_nodes(graph, ["v"])] == ["ConstantOfShape", "Neg"]
    assert constant_nodes(graph, ["x"]) == ()


@pytest.mark.parametrize("operator", ["RandomNormal", "RandomUniform"])
def test_random_numbers_are_no_constants(operator: str) -> None:
    graph = active(f"g (float[1,4] x) => (float[1,4] y) {{n = {operator} <shape = [1, 4]> () y = Add(x, n)}}")
    assert [node.op_type for node in graph.nodes] == [operator, "Add"]


def test_what_a_subgraph_captures_is_read() -> None:
    graph = active(
        """g (float[1,4] x, bool c) => (float[1,4] y) {
            a = MatMul(x, w)
            b = Softmax(a)
            y = If (c) <
                then_branch = t () => (float[1,4] p) {p = Add(a, b)},
                else_branch = e () => (float[1,4] q) {q = Neg(b)}>
            }""",
        w=SQUARE,
    )
    assert live_sets(graph)[2] == ("c", "a", "b")
