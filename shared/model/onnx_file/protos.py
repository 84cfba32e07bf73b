"""Converts between ONNX's protocol buffers and `Graph`."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import onnx
from onnx import external_data_helper, helper, numpy_helper

from shared.model.errors import ModelFileError, UnsupportedModelError
from shared.model.graph import Attribute, Graph, Node, Opaque
from shared.model.tensor import DType, Tensor
from shared.model.weights import Array, StoredValues, Weight

_DTYPES: Mapping[int, DType] = {
    onnx.TensorProto.DataType.Value({"FLOAT64": "DOUBLE", "FLOAT32": "FLOAT"}.get(dtype.name, dtype.name)): dtype
    for dtype in DType
}
# A protocol buffer holds 2 GiB. One MiB remains for everything but the weights.
MAX_BYTES: Final = 2**31 - 2**20

_ELEMENT_TYPES: Mapping[DType, int] = {dtype: number for number, dtype in _DTYPES.items()}
_KINDS = onnx.AttributeProto


def read_tensor(info: onnx.ValueInfoProto) -> Tensor | None:
    """Return the description of a value; none unless it is a dense tensor of static shape."""
    kind = info.type.tensor_type
    dims = kind.shape.dim
    known = info.type.HasField("tensor_type") and kind.HasField("shape") and kind.elem_type in _DTYPES
    if not known or not all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims):
        return None
    return Tensor(info.name, _DTYPES[kind.elem_type], tuple(dim.dim_value for dim in dims))


def element_name(info: onnx.ValueInfoProto) -> str | None:
    """Return ONNX's name of the element type of a dense tensor if Segue has no such type; none if it has."""
    number = info.type.tensor_type.elem_type
    return None if number in _DTYPES else _type_name(number)


def _type_name(number: int) -> str:
    try:
        return str(onnx.TensorProto.DataType.Name(number))
    except ValueError:
        return str(number)


def write_tensor(tensor: Tensor) -> onnx.ValueInfoProto:
    """Return a tensor's description as a protocol buffer."""
    return helper.make_tensor_value_info(tensor.name, _ELEMENT_TYPES[tensor.dtype], tensor.shape)


def _write_output(graph: Graph, name: str) -> onnx.ValueInfoProto:
    tensor = graph.tensor(name)
    shape = [None if name in graph.dynamic and size == 0 else size for size in tensor.shape]
    # A dynamic tensor of unknown rank has no shape at all.
    unknown = name in graph.dynamic and tensor.shape == (0,)
    return helper.make_tensor_value_info(name, _ELEMENT_TYPES[tensor.dtype], None if unknown else shape)


def is_readable(proto: onnx.TensorProto) -> bool:
    """Return whether an initializer has elements that a weight can have; strings are none."""
    return proto.data_type in _DTYPES


def element_type(proto: onnx.TensorProto) -> DType:
    """Return the type of an initializer's elements.

    Raises:
        UnsupportedModelError: Segue does not support it.
    """
    if proto.data_type not in _DTYPES:
        kind = _type_name(proto.data_type)
        raise UnsupportedModelError(
            f"initializer {proto.name!r} has elements of type {kind}, which Segue does not know"
        )
    return _DTYPES[proto.data_type]


def read_weight(proto: onnx.TensorProto) -> Weight:
    """Read an initializer.

    Raises:
        UnsupportedModelError: Segue does not support the type of its elements.
        ModelFileError: It has not the values that its shape needs.
    """
    tensor = Tensor(proto.name, element_type(proto), tuple(proto.dims))
    try:
        return Weight(tensor, numpy_helper.to_array(proto))
    except ValueError as exc:
        raise ModelFileError(f"the values of initializer {proto.name!r} do not have its shape: {exc}") from exc


def write_weight(weight: Weight, proto: onnx.TensorProto) -> None:
    """Write an initializer into `proto`, in place because it may be large; a recipe generates its values here.

    Of stored values, the place is written.
    """
    tensor = weight.tensor
    if isinstance(weight.source, StoredValues):
        proto.name = tensor.name
        proto.data_type = _ELEMENT_TYPES[tensor.dtype]
        proto.dims.extend(tensor.shape)
        refer(proto, weight.source.file_name, weight.source.offset, tensor.size_bytes)
        return
    values = weight.values()
    # ONNX packs two 4-bit elements into a byte; numpy does not.
    if tensor.dtype.bits < 8:
        proto.CopyFrom(numpy_helper.from_array(values, tensor.name))
        return
    proto.name = tensor.name
    proto.data_type = _ELEMENT_TYPES[tensor.dtype]
    proto.dims.extend(tensor.shape)
    proto.raw_data = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def refer(proto: onnx.TensorProto, file_name: str, offset: int, length: int) -> None:
    """Replace the values of a tensor by their place in a file, in place."""
    proto.raw_data = b""
    external_data_helper.set_external_data(proto, file_name, offset, length)
    proto.ClearField("raw_data")


def read_node(proto: onnx.NodeProto) -> Node:
    """Read one operator."""
    return Node(
        name=proto.name,
        op_type=proto.op_type,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={attribute.name: _read_attribute(attribute) for attribute in proto.attribute},
        domain="" if proto.domain == "ai.onnx" else proto.domain,
        captures=tuple(dict.fromkeys(captures(proto))),
    )


def write_node(node: Node) -> onnx.NodeProto:
    """Write one operator."""
    proto = onnx.NodeProto(name=node.name or None, op_type=node.op_type, domain=node.domain or None)
    proto.input.extend(node.inputs)
    proto.output.extend(node.outputs)
    proto.attribute.extend(_write_attribute(name, value) for name, value in node.attributes.items())
    return proto


def _read_attribute(proto: onnx.AttributeProto) -> Attribute:
    match proto.type:
        case _KINDS.INT:
            return int(proto.i)
        case _KINDS.FLOAT:
            return float(proto.f)
        # An empty list would lose its element type, so it stays opaque.
        case _KINDS.INTS if proto.ints:
            return tuple(proto.ints)
        case _KINDS.FLOATS if proto.floats:
            return tuple(proto.floats)
        case _KINDS.STRING:
            return _text(proto.s, proto)
        case _KINDS.TENSOR if proto.t.data_type in _DTYPES and not proto.t.name:
            return _array(proto.t)
    return Opaque(proto.SerializeToString())


def _text(data: bytes, proto: onnx.AttributeProto) -> Attribute:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Opaque(proto.SerializeToString())


def _array(proto: onnx.TensorProto) -> Array:
    values: Array = numpy_helper.to_array(proto)
    return values


def _write_attribute(name: str, value: Attribute) -> onnx.AttributeProto:
    if isinstance(value, Opaque):
        proto: onnx.AttributeProto = onnx.AttributeProto.FromString(value.data)
        return proto
    plain: Any = numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
    return helper.make_attribute(name, plain)


def captures(proto: onnx.NodeProto) -> Iterator[str]:
    """Yield the tensors of the surrounding graph that the subgraphs of a node read."""
    for attribute in proto.attribute:
        for graph in (attribute.g, *attribute.graphs) if attribute.type in (_KINDS.GRAPH, _KINDS.GRAPHS) else ():
            # Names of the subgraph hide those of the surrounding graph from their definition on.
            own = {value.name for value in (*graph.input, *graph.initializer)}
            for node in graph.node:
                yield from (name for name in (*node.input, *captures(node)) if name and name not in own)
                own.update(node.output)
            yield from (value.name for value in graph.output if value.name not in own)


def write_graph(graph: Graph, proto: onnx.GraphProto) -> None:
    """Write a graph into `proto`, with the shapes of all its tensors."""
    ends = {*graph.inputs, *graph.outputs, *graph.weights}
    proto.name = graph.name
    proto.input.extend(map(write_tensor, graph.describe(graph.inputs)))
    proto.output.extend(_write_output(graph, name) for name in graph.outputs)
    proto.node.extend(map(write_node, graph.nodes))
    for weight in graph.weights.values():
        write_weight(weight, proto.initializer.add())
    ends |= graph.dynamic
    proto.value_info.extend(write_tensor(tensor) for name, tensor in graph.tensors.items() if name not in ends)
