"""`If` nodes with a known condition."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from shared.model.adaptation import Adaptation
from shared.model.onnx_file import extract_segment, load_model, verify_chain
from shared.model.partitioned_model import PartitionedModel

V, N = helper.make_tensor_value_info, helper.make_node
FLOAT = TensorProto.FLOAT


def branch(name: str, factor: float, nodes: list[onnx.NodeProto] | None = None, output: str = "o") -> onnx.GraphProto:
    """Return a branch with a weight, whose names are those of the other branch, too."""
    weight = numpy_helper.from_array(np.full((4, 4), factor, np.float32), "w")
    own = nodes or [N("MatMul", ["a", "w"], ["m"]), N("Tanh", ["m"], ["t"]), N("MatMul", ["t", "w"], ["o"])]
    return helper.make_graph(own, name, [], [V(output, FLOAT, [2, 4])], [weight])


def model(then: onnx.GraphProto, other: onnx.GraphProto, condition: list[onnx.NodeProto]) -> bytes:
    nodes = [
        N("Tanh", ["x"], ["a"]),
        *condition,
        N("If", ["c"], ["b"], then_branch=then, else_branch=other),
        N("If", ["c"], ["d"], then_branch=other, else_branch=then),
        N("Sub", ["b", "d"], ["y"]),
    ]
    inputs = [V("x", FLOAT, [2, 4]), V("rate", TensorProto.INT64, [])]
    initializers = [numpy_helper.from_array(np.array(8000), "low")]
    graph = helper.make_graph(nodes, "g", inputs, [V("y", FLOAT, [2, 4])], initializers)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    data: bytes = proto.SerializeToString()
    return data


ON_RATE = [N("Equal", ["rate", "low"], ["c"])]
ON_SHAPE = [N("Shape", ["x"], ["s"]), N("Size", ["s"], ["n"]), N("Equal", ["n", "low"], ["c"])]


def operators(read: PartitionedModel) -> list[str]:
    return [node.op_type for node in read.partition.active.nodes]


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_fixed_input_takes_a_branch(rate: int) -> None:
    data = model(branch("low", 0.5), branch("high", 0.25), ON_RATE)
    read = load_model(data, adaptation=Adaptation(input_values={"rate": rate}))
    assert operators(read) == ["Tanh", "MatMul", "Tanh", "MatMul", "MatMul", "Tanh", "MatMul", "Sub"]
    assert len(read.analysis.blocks) > 1
    segments = [extract_segment(read, index, index + 1) for index in range(read.partition.block_count)]
    chained = verify_chain(data, segments, read.analysis.input, fixed_inputs=read.fixed_inputs)
    assert chained.unoptimised_rel_error == 0


def test_a_condition_on_a_shape_takes_a_branch() -> None:
    data = model(branch("low", 0.5), branch("high", 0.25), ON_SHAPE)
    read = load_model(data)
    assert "If" not in operators(read)
    segments = [extract_segment(read, index, index + 1) for index in range(read.partition.block_count)]
    assert verify_chain(data, segments, read.analysis.input).unoptimised_rel_error == 0


def test_an_unknown_condition_keeps_both_branches() -> None:
    read = load_model(model(branch("low", 0.5), branch("high", 0.25), ON_RATE))
    assert operators(read).count("If") == 2


def test_branches_that_return_what_is_outside_or_constant_or_branch_again() -> None:
    passing = helper.make_graph([N("Identity", ["a"], ["u"])], "passing", [], [V("u", FLOAT, [2, 4])])
    inner = N("If", ["c"], ["o"], then_branch=branch("low", 0.5), else_branch=branch("high", 2.0))
    constant = numpy_helper.from_array(np.ones((2, 4), np.float32), "k")
    returning = helper.make_graph([], "constant", [], [V("k", FLOAT, [2, 4])], [constant])
    for then in (passing, returning, branch("again", 1.0, [inner])):
        data = model(then, branch("high", 0.25), ON_SHAPE)
        other = model(branch("high", 0.25), then, ON_SHAPE)
        for each in (data, other):
            read = load_model(each)
            assert "If" not in operators(read)
            segments = [extract_segment(read, index, index + 1) for index in range(read.partition.block_count)]
            assert verify_chain(each, segments, read.analysis.input).unoptimised_rel_error == 0


def test_a_subgraph_of_a_branch_reads_the_branch() -> None:
    step = helper.make_graph(
        [N("MatMul", ["before", "w"], ["p"]), N("Identity", ["on"], ["go"]), N("Add", ["p", "m"], ["after"])],
        "step",
        [V("i", TensorProto.INT64, []), V("on", TensorProto.BOOL, []), V("before", FLOAT, [2, 4])],
        [V("go", TensorProto.BOOL, []), V("after", FLOAT, [2, 4])],
    )
    nodes = [
        N("MatMul", ["a", "w"], ["m"]),
        N("Constant", [], ["times"], value=numpy_helper.from_array(np.array(3))),
        N("Loop", ["times", "", "m"], ["o"], body=step),
    ]
    data = model(branch("looping", 0.25, nodes), branch("high", 0.5), ON_SHAPE)
    read = load_model(data)
    assert operators(read).count("Loop") == 1
    segments = [extract_segment(read, index, index + 1) for index in range(read.partition.block_count)]
    assert verify_chain(data, segments, read.analysis.input).unoptimised_rel_error == 0
