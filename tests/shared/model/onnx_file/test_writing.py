from itertools import combinations
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.model.architectures import build
from shared.model.errors import CutError, UnsupportedModelError
from shared.model.graph import Graph
from shared.model.onnx_file import extract_segment, load_model, to_bytes, verify_chain, write_onnx
from shared.model.onnx_file.runtime import ModelSession
from shared.model.onnx_file.verification import random_inputs
from shared.model.tensor import DType, Tensor
from shared.model.weights import Normal, Recipe, Weight
from tests.support.graphs import random_graph
from tests.support.onnx_texts import onnx_bytes, read_back

SQUARE = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)


def check_blocks(data: bytes, max_cut_tensors: int = 1) -> list[list[str]]:
    """Verify the chain of single blocks, and that every block is a valid, standalone model; return its cuts."""
    model = load_model(data, max_cut_tensors=max_cut_tensors)
    segments = [extract_segment(model, index, index + 1) for index in range(model.partition.block_count)]
    for segment in segments:
        read_back(segment)
    assert verify_chain(data, segments, model.analysis.input).bit_exact_extended
    return [[tensor.name for tensor in cut.tensors] for cut in model.analysis.cuts]


@pytest.mark.parametrize("ends", list(combinations(range(8), 2)))
def test_every_range_of_blocks_gives_what_the_whole_has_there(ends: tuple[int, int]) -> None:
    model = load_model(to_bytes(build("tiny")))
    start, stop = ends
    values = random_inputs(model.analysis.input, 0)
    for index in range(start):
        values = ModelSession(extract_segment(model, index, index + 1)).run(values)
    result = ModelSession(extract_segment(model, start, stop)).run(values)
    for index in range(start, stop):
        values = ModelSession(extract_segment(model, index, index + 1)).run(values)
    for name, expected in values.items():
        np.testing.assert_allclose(result[name], expected, rtol=1e-5, atol=1e-6)


def test_a_segment_states_its_shapes_and_its_weights_are_no_inputs() -> None:
    model = load_model(to_bytes(build("tiny")))
    proto = read_back(extract_segment(model, 2, 4))
    assert proto.ir_version >= 4
    assert [value.name for value in proto.graph.input] == ["pool1"]
    assert [d.dim_value for d in proto.graph.output[0].type.tensor_type.shape.dim] == [1, 16, 16, 16]
    described = {value.name for value in proto.graph.value_info} | {proto.graph.output[0].name}
    assert described == {name for node in proto.graph.node for name in node.output}


def test_a_segment_of_a_segment() -> None:
    model = load_model(to_bytes(build("tiny")))
    inner = load_model(extract_segment(model, 2, 6), max_cut_tensors=1)
    assert [block.name for block in inner.analysis.blocks] == [block.name for block in model.analysis.blocks[2:6]]
    one, other = read_back(extract_segment(inner, 1, 3)).graph, read_back(extract_segment(model, 3, 5)).graph
    assert list(one.node) == list(other.node)
    assert list(one.input) == list(other.input)


def test_several_tensors_cross_in_the_order_in_which_they_are_made() -> None:
    data = onnx_bytes(
        "g (float[1,4] x) => (float[1,4] y) {a = MatMul(x, w) s = Softmax(a) t = MatMul(s, w) y = Add(t, x)}", w=SQUARE
    )
    assert check_blocks(data, 2) == [["x", "a"], ["x", "s"]]
    middle = read_back(extract_segment(load_model(data, max_cut_tensors=2), 1, 2))
    assert [value.name for value in middle.graph.input] == ["x", "a"]
    assert [value.name for value in middle.graph.output] == ["x", "s"]


@pytest.mark.parametrize(
    ("text", "cuts"),
    [
        ("g (float[1,4] x) => (float[1,4] y, float[1,4] e) {e = MatMul(x, w) s = Softmax(e) y = MatMul(s, w)}",
         [["e"], ["e", "s"]]),
        ("g (float[1,4] x, float[1,4] l) => (float[1,4] y) {a = MatMul(x, w) s = Softmax(a) y = Gemm(s, w, l)}",
         [["l", "a"], ["l", "s"]]),
        ("g (float[1,4] x) => (float[1,4] y, float[1,4] x) {a = MatMul(x, w) s = Softmax(a) y = MatMul(s, w)}",
         [["x", "a"], ["x", "s"]]),
        ("g (float[1,4] x) => (float[1,4] y, float[4,4] w) {a = MatMul(x, w) s = Softmax(a) y = MatMul(s, w)}",
         [["a"], ["s"]]),
    ],
    ids=["early output", "late input", "input as output", "weight as output"],
)  # fmt: skip
def test_unusual_ends(text: str, cuts: list[list[str]]) -> None:
    assert check_blocks(onnx_bytes(text, w=SQUARE), 2) == cuts


def test_subgraphs_get_what_they_capture() -> None:
    data = onnx_bytes(
        """g (float[1,4] x) => (float[1,4] y) {
            a = MatMul(x, w) r = ReduceMax <keepdims = 0> (a) c = Greater(r, zero)
            y = If (c) <then_branch = t () => (float[1,4] p) {p = Add(a, x)},
                        else_branch = e () => (float[1,4] q) {q = MatMul(a, v)}>
            }""",
        w=SQUARE,
        v=SQUARE[::-1],
        zero=np.float32(0),
    )
    assert check_blocks(data, 3)[-1] == ["x", "a", "c"]


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_chains_of_random_graphs_are_exact(seed: int, k: int) -> None:
    data = to_bytes(random_graph(seed))
    model = load_model(data, max_cut_tensors=k)
    segments = [extract_segment(model, index, index + 1) for index in range(model.partition.block_count)]
    report = verify_chain(data, segments, model.analysis.input)
    assert report.max_rel_error < 1e-5
    assert report.bit_exact_extended


def test_writing_to_a_file(tmp_path: Path) -> None:
    write_onnx(build("tiny"), tmp_path / "tiny.onnx")
    assert load_model(tmp_path / "tiny.onnx").analysis.sha256 == load_model(to_bytes(build("tiny"))).sha256


def test_a_range_that_is_not_there() -> None:
    with pytest.raises(CutError):
        extract_segment(load_model(to_bytes(build("tiny"))), 3, 99)


def test_a_graph_beyond_two_gibibytes_is_refused_before_it_is_made() -> None:
    huge = Weight(Tensor("w", DType.FLOAT32, (2**15, 2**15)), Recipe(0, Normal(1.0)))
    graph = Graph("huge", (), (), (), {}, {"w": huge}, {"": 13})
    with pytest.raises(UnsupportedModelError, match="2 GiB"):
        to_bytes(graph)


def test_the_operator_sets_are_kept() -> None:
    data = onnx_bytes("g (float[1,4] x) => (float[1,4] y) {y = Softmax(x)}", opset=9)
    proto = onnx.load_model_from_string(extract_segment(load_model(data), 0, 1))
    assert {o.domain: o.version for o in proto.opset_import}[""] == 9
