import numpy as np
import onnx
import pytest
from onnx import helper

from shared.model.errors import ModelFileError
from shared.model.onnx_file import extract_segment, load_model, verify_chain
from shared.model.onnx_file.normalising import normalise
from tests.support.onnx_texts import onnx_bytes

SQUARE = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)
CHAIN = "g (float[1,4] x) => (float[1,4] y) {a = MatMul(x, w) s = Softmax(a) y = MatMul(s, w)}"


def blocks_agree(data: bytes) -> bool:
    """Return whether the chain of single blocks computes the same numbers as the whole."""
    model = load_model(data)
    segments = [extract_segment(model, index, index + 1) for index in range(model.partition.block_count)]
    return verify_chain(data, segments, model.analysis.input).bit_exact


def shuffled() -> onnx.ModelProto:
    model = onnx.load_model_from_string(onnx_bytes(CHAIN, w=SQUARE))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    return model


def test_a_sound_model_is_left_as_it_is() -> None:
    model = onnx.load_model_from_string(onnx_bytes(CHAIN, w=SQUARE))
    before = model.SerializeToString()
    assert not normalise(model)
    assert model.SerializeToString() == before


def test_nodes_out_of_order_are_sorted() -> None:
    data = shuffled().SerializeToString()
    model = load_model(data)
    assert [node.op_type for node in model.graph.nodes] == ["MatMul", "Softmax", "MatMul"]
    assert blocks_agree(data)


def test_nodes_out_of_order_in_a_branch_are_sorted() -> None:
    inner = shuffled().graph
    del inner.input[:], inner.initializer[:]
    outer = onnx.load_model_from_string(onnx_bytes("g (float[1,4] x) => (float[1,4] z) {z = Relu(x)}", w=SQUARE))
    outer.graph.node[0].CopyFrom(helper.make_node("If", ["c"], ["z"], then_branch=inner, else_branch=inner))
    cast = [helper.make_node("ReduceSum", ["x"], ["t"], keepdims=0), helper.make_node("Cast", ["t"], ["c"], to=9)]
    outer.graph.node.extend(cast)
    model = load_model(outer.SerializeToString())
    assert [node.op_type for node in model.graph.nodes] == ["ReduceSum", "Cast", "If"]
    assert model.graph.nodes[-1].captures == ("x", "w")


def test_a_cycle_is_named() -> None:
    text = "g (float[1,4] x) => (float[1,4] y) {a = Add(x, b) b = Relu(a) y = Relu(b)}"
    with pytest.raises(ModelFileError, match=r"not a valid ONNX model: .*sorted"):
        load_model(onnx_bytes(text))


def test_old_files_need_not_list_weights_among_the_inputs() -> None:
    data = onnx_bytes(CHAIN, ir_version=3, opset=9, w=SQUARE)
    assert [tensor.name for tensor in load_model(data).analysis.input] == ["x"]


@pytest.mark.parametrize(("domain", "node"), [("com.microsoft", "Gelu"), ("ai.onnx.ml", "Normalizer")])
def test_domains_of_the_runtime_need_no_import(domain: str, node: str) -> None:
    model = onnx.load_model_from_string(onnx_bytes(CHAIN, w=SQUARE))
    model.graph.node[1].CopyFrom(helper.make_node(node, ["a"], ["s"], domain=domain))
    data = model.SerializeToString()
    assert load_model(data).graph.opsets[domain] == 1
    assert blocks_agree(data)
