import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from shared.model.errors import UnsupportedModelError
from shared.model.onnx_file import extract_segment, load_model, verify_chain
from shared.model.partitioned_model import PartitionedModel
from tests.support.onnx_texts import onnx_bytes

MATRIX = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)
# Two layers that can be cut, a choice of rows that only a run knows, and one more layer.
DETECTOR = """g (float[3,4] x) => (float[n,4] y) {
    a = MatMul(x, w) b = Softmax(a) c = MatMul(b, w)
    m = Greater(c, zero) s = ReduceMax <axes = [1], keepdims = 0> (c) k = Greater(s, zero)
    r = Compress <axis = 0> (c, k) y = MatMul(r, w)
    }"""


def chain_agrees(data: bytes, model: PartitionedModel) -> bool:
    """Return whether single blocks compute the same numbers as the whole, with and without dynamic outputs."""
    segments = [extract_segment(model, index, index + 1) for index in range(model.partition.block_count)]
    return verify_chain(data, segments, model.analysis.input).bit_exact


def test_a_dynamic_tail_is_the_last_block() -> None:
    data = onnx_bytes(DETECTOR, w=MATRIX, zero=np.float32(0))
    model = load_model(data, max_cut_tensors=3)
    crossing = [tensor.name for cut in model.analysis.cuts for tensor in cut.tensors]
    assert crossing[:3] == ["a", "b", "c"]
    assert not {"r", "y"} & set(crossing)
    assert model.analysis.blocks[-1].operators[-2:] == ("Compress", "MatMul")
    assert model.analysis.dynamic_outputs == ("y",)
    assert model.analysis.outputs[0].shape == (0, 4)
    assert model.analysis.blocks[-1].output_bytes == 0
    assert chain_agrees(data, model)


def test_a_declared_output_of_a_dynamic_tail_has_its_size() -> None:
    text = """g (float[3,4] x) => (float[2,4] y) {
        a = MatMul(x, w) b = Softmax(a) s = ReduceMax <axes = [1], keepdims = 0> (b) k = Greater(s, zero)
        r = Compress <axis = 0> (b, k) y = Slice(r, first, second, first)
        }"""
    data = onnx_bytes(text, w=MATRIX, zero=np.float32(0), first=np.array([0]), second=np.array([2]))
    model = load_model(data)
    assert model.analysis.outputs[0].shape == (2, 4)
    assert model.analysis.blocks[-1].output_bytes == 32
    assert chain_agrees(data, model)


def test_dynamic_nodes_that_come_early_do_not_take_cuts_from_the_rest() -> None:
    text = """g (float[3,4] x) => (int64[2,n] z, float[3,4] y) {
        z = NonZero(x) a = MatMul(x, w) b = Softmax(a) y = MatMul(b, w)
        }"""
    data = onnx_bytes(text, w=MATRIX)
    model = load_model(data, max_cut_tensors=2)
    assert [tuple(tensor.name for tensor in cut.tensors) for cut in model.analysis.cuts] == [
        ("x", "a"),
        ("x", "b"),
        ("x", "y"),
    ]
    assert chain_agrees(data, model)


def test_a_model_that_is_dynamic_throughout_is_one_block() -> None:
    data = onnx_bytes("g (float[1,4] x) => (int64[2,n] y) {a = NonZero(x) y = Identity(a)}")
    model = load_model(data)
    assert model.partition.block_count == 1
    assert model.analysis.outputs[0].shape == (2, 0)
    assert chain_agrees(data, model)


SEQUENCES = """g (float[1,4] x) => (float[1,2] y) {
    t = Softmax(x) q = SplitToSequence <axis = 1> (t, two) a = SequenceAt(q, zero) b = SequenceAt(q, one)
    s = Add(a, b) y = MatMul(s, w)
    }"""


def test_sequences_are_not_cut() -> None:
    constants = {"two": np.int64(2), "zero": np.int64(0), "one": np.int64(1)}
    data = onnx_bytes(SEQUENCES, constants, w=np.ones((2, 2), np.float32))
    model = load_model(data)
    assert [tensor.name for cut in model.analysis.cuts for tensor in cut.tensors] == ["t", "s"]
    assert chain_agrees(data, model)


def test_outputs_that_no_result_can_carry_are_named() -> None:
    text = "g (float[1,4] x) => (seq(float[1,2]) y) {t = Softmax(x) y = SplitToSequence <axis = 1> (t, two)}"
    with pytest.raises(UnsupportedModelError, match=r"SplitToSequence.*output 'y' is seq\(tensor\(float\)\)"):
        load_model(onnx_bytes(text, two=np.int64(2)))


def test_a_loop_with_a_state_is_a_block() -> None:
    body = parser.parse_graph(
        "body (int64 i, bool c, float[d] h) => (bool go, float[d2] k) {go = Identity(c) k = Concat <axis = 0> (h, h)}"
    )
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,4] x) => (float[n] y) {
        t = Softmax(x) a = MatMul(t, w) f = Reshape(a, flat) m = ReduceSum <keepdims = 0> (t) times = Cast <to = 7> (m)
        y = Identity(f)
        }"""
    model = parser.parse_model(text)
    del model.graph.node[-1]
    model.graph.node.append(onnx.helper.make_node("Loop", ["times", "", "f"], ["y"], body=body))
    model.graph.initializer.extend(
        [numpy_helper.from_array(MATRIX, "w"), numpy_helper.from_array(np.array([-1]), "flat")]
    )
    data = model.SerializeToString()
    loaded = load_model(data)
    assert loaded.analysis.cuts[0].tensors[0].name == "t"
    assert loaded.analysis.blocks[-1].operators[-1] == "Loop"
    assert loaded.analysis.outputs[0].shape == (0,)
    assert chain_agrees(data, loaded)
