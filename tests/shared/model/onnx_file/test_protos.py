import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from shared.model.graph import Opaque
from shared.model.onnx_file.protos import (
    read_node,
    read_tensor,
    read_weight,
    write_node,
    write_tensor,
    write_weight,
)
from shared.model.tensor import DType, Tensor
from shared.model.weights import Array, Weight


@pytest.mark.parametrize("dtype", DType)
def test_element_types_go_both_ways(dtype: DType) -> None:
    tensor = Tensor("t", dtype, (1, 2))
    assert read_tensor(write_tensor(tensor)) == tensor
    number = write_tensor(tensor).type.tensor_type.elem_type
    assert helper.tensor_dtype_to_np_dtype(number).name == dtype.value


@pytest.mark.parametrize("shape", [None, ("N", 3), (None, 3)])
def test_a_tensor_that_is_not_static_is_not_described(shape: tuple[int | str | None, ...] | None) -> None:
    assert read_tensor(helper.make_tensor_value_info("t", TensorProto.FLOAT, shape)) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("int", 3),
        ("float", 0.1),
        ("text", "SAME_UPPER"),
        ("ints", [1, 2, 3]),
        ("floats", [0.5, 1.5]),
        ("texts", ["a", "b"]),
        ("bytes", b"\xff\xfe"),
        ("array", numpy_helper.from_array(np.arange(6, dtype=np.int64).reshape(2, 3))),
        ("named", numpy_helper.from_array(np.array(2, np.float32), "with a name")),
        ("type", helper.make_tensor_type_proto(TensorProto.FLOAT, [1])),
    ],
)
def test_nodes_go_both_ways(name: str, value: object) -> None:
    proto = helper.make_node("Op", ["a", ""], ["y"], name="n", domain="com.example")
    proto.attribute.append(helper.make_attribute(name, value))
    assert write_node(read_node(proto)) == proto


def test_an_empty_list_keeps_its_type() -> None:
    proto = helper.make_node("Op", ["a"], ["y"])
    proto.attribute.append(onnx.AttributeProto(name="axes", type=onnx.AttributeProto.INTS))
    assert write_node(read_node(proto)) == proto


def test_subgraphs_are_carried_along_and_show_what_they_capture() -> None:
    inner = helper.make_graph(
        [helper.make_node("Add", ["outer", "own"], ["t"]), helper.make_node("Mul", ["t", "weight"], ["r"])],
        "branch",
        [],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, [1]), helper.make_tensor_value_info("direct", 1, [1])],
        [numpy_helper.from_array(np.array(1, np.float32), "own")],
    )
    middle = helper.make_graph(
        [helper.make_node("If", ["c2"], ["r2"], then_branch=inner, else_branch=inner)], "middle", [], []
    )
    proto = helper.make_node("If", ["c"], ["y"], then_branch=middle, else_branch=middle)
    node = read_node(proto)
    assert node.captures == ("c2", "outer", "weight", "direct")
    assert isinstance(node.attributes["then_branch"], Opaque)
    assert write_node(node) == proto


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.float16(2.5),
        np.array([True, False]),
        np.arange(6, dtype=">i4"),
        np.zeros((0, 3), np.int64),
        np.arange(12, dtype=np.float64).reshape(3, 4).T,
    ],
)
def test_weights_go_both_ways(values: Array) -> None:
    values = np.asarray(values)
    weight = read_weight(numpy_helper.from_array(values.astype(values.dtype.name, order="C"), "w"))
    proto = TensorProto()
    write_weight(Weight(weight.tensor, values), proto)
    assert np.array_equal(read_weight(proto).values(), values)


@pytest.mark.parametrize("kind", [TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN, TensorProto.INT4])
def test_weights_of_types_that_numpy_lacks(kind: int) -> None:
    original = numpy_helper.from_array(np.arange(5).astype(helper.tensor_dtype_to_np_dtype(kind)), "w")
    proto = TensorProto()
    write_weight(read_weight(original), proto)
    assert proto == original
