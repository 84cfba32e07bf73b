"""ONNX models that compute for long, or for days."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_STEPS = 10**12


def endless_loop(*, constant: bool = False) -> bytes:
    """Return a model of two MatMul whose last block is a Loop of 10^12 steps.

    Args:
        constant: whether the loop reads constants only, and its result is a shape, so that analysis computes it.
    """
    node = helper.make_node
    start = node("Constant", [], ["v0"], value_float=0.0) if constant else node("ReduceMax", ["h"], ["v0"], keepdims=0)
    last = (
        [node("Cast", ["v"], ["n"], to=TensorProto.INT64), node("Expand", ["h", "n"], ["y"])]
        if constant
        else [node("Add", ["h", "v"], ["y"])]
    )
    nodes = [
        node("MatMul", ["x", "w"], ["a"]),
        node("MatMul", ["a", "w"], ["h"]),
        start,
        node("Loop", ["steps", "go", "v0"], ["v"], name="forever", body=_body()),
        *last,
    ]
    weights = {"w": np.eye(4, dtype=np.float32), "steps": np.int64(_STEPS), "go": np.bool_(True)}
    graph = helper.make_graph(
        nodes,
        "g",
        [_value("x", TensorProto.FLOAT, [1, 4])],
        [_value("y", TensorProto.FLOAT, None if constant else [1, 4])],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in weights.items()],
    )
    return _bytes(graph)


def long_folding() -> bytes:
    """Return a model whose session takes a second to create: the runtime multiplies constants meanwhile."""
    node, count = helper.make_node, 200
    nodes = [
        node("ConstantOfShape", ["s"], ["c0"]),
        *(node("MatMul", [f"c{index}", f"c{index}"], [f"c{index + 1}"]) for index in range(count)),
        node("ReduceMax", [f"c{count}"], ["r"], keepdims=0),
        node("Add", ["x", "r"], ["y"]),
    ]
    shape = numpy_helper.from_array(np.array([600, 600], np.int64), "s")
    values = [_value(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    return _bytes(helper.make_graph(nodes, "g", values[:1], values[1:], [shape]))


def _body() -> onnx.GraphProto:
    node = helper.make_node
    return helper.make_graph(
        [node("Identity", ["go_in"], ["go_out"]), node("Add", ["v_in", "one"], ["v_out"])],
        "body",
        [
            _value("i", TensorProto.INT64, []),
            _value("go_in", TensorProto.BOOL, []),
            _value("v_in", TensorProto.FLOAT, []),
        ],
        [_value("go_out", TensorProto.BOOL, []), _value("v_out", TensorProto.FLOAT, [])],
        [numpy_helper.from_array(np.asarray(np.float32(1)), "one")],
    )


def _value(name: str, kind: int, shape: list[int] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _bytes(graph: onnx.GraphProto) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data
