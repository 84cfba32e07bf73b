"""Tensors that ONNX's shape inference does not describe: their types from the runtime, and their place in the graph."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import onnx
from onnx import helper

from shared.model.errors import UnsupportedModelError
from shared.model.graph import Graph, Node
from shared.model.liveness import ActiveGraph, activate, constant_nodes
from shared.model.onnx_file.protos import MAX_BYTES, read_tensor, write_node, write_tensor, write_weight
from shared.model.onnx_file.runtime import ModelSession, Optimisation, OutputType
from shared.model.tensor import DType, Tensor
from shared.model.weights import is_stored

# The runtime's names of element types that are not those of numpy.
_RUNTIME_NAMES: Final = {
    "float": DType.FLOAT32,
    "double": DType.FLOAT64,
    "float8e4m3fn": DType.FLOAT8E4M3FN,
    "float8e5m2": DType.FLOAT8E5M2,
}
_BY_NAME: Final = {dtype.value: dtype for dtype in DType} | _RUNTIME_NAMES
# Kernels of the runtime need constants at hand, such as the scales of quantised operators. A copy of all weights is
# made up to this size, of small ones beyond.
_ALL_WEIGHTS_BYTES: Final = MAX_BYTES // 2
_SMALL: Final = 1024


def infer_types(active: ActiveGraph, proto: onnx.ModelProto, names: tuple[str, ...]) -> dict[str, OutputType]:
    """Return the types of some tensors as the runtime infers them, by name.

    Args:
        active: The graph.
        proto: The model that it was read from, with static inputs and without initializers.
        names: Tensors that nodes of the graph write.

    Raises:
        RuntimeFailureError: ONNX Runtime refuses the model.
    """
    graph = active.graph
    model = onnx.ModelProto(ir_version=max(4, proto.ir_version))
    model.opset_import.extend(proto.opset_import)
    model.graph.name = graph.name or "graph"
    nodes = (*constant_nodes(active, (*names, *(name for node in active.nodes for name in node.reads))), *active.nodes)
    model.graph.node.extend(map(write_node, nodes))
    model.graph.input.extend(proto.graph.input)
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    used = {name for node in nodes for name in node.reads}
    weights = [weight for name, weight in graph.weights.items() if name in used]
    whole = sum(weight.tensor.size_bytes for weight in weights if not is_stored(weight)) <= _ALL_WEIGHTS_BYTES
    for weight in weights:
        if not is_stored(weight) and (whole or weight.tensor.elements <= _SMALL):
            write_weight(weight, model.graph.initializer.add())
        else:
            model.graph.input.append(write_tensor(weight.tensor))
    return ModelSession(model.SerializeToString(), Optimisation.NONE).output_types


def dense_type(kind: OutputType) -> DType | None:
    """Return the element type of a dense tensor of numbers; none for other types."""
    inside = kind.name.removeprefix("tensor(").removesuffix(")")
    return _BY_NAME.get(inside) if kind.name == f"tensor({inside})" else None


def with_dynamic(graph: Graph, proto: onnx.ModelProto, types: Mapping[str, OutputType]) -> Graph:
    """Mark the tensors that the graph does not describe as dynamic, and move the nodes that depend on them to the end.

    So the rest of the graph keeps its cuts.

    Args:
        graph: The graph.
        proto: The model that it was read from.
        types: Types of the dynamic tensors.

    Raises:
        UnsupportedModelError: An output of the graph is not a dense tensor of numbers.
    """
    dynamic = frozenset(types) - graph.tensors.keys()
    declared = {value.name: read_tensor(value) for value in proto.graph.output}
    outputs = {
        name: declared.get(name) or _describe(graph, name, types[name]) for name in graph.outputs if name in dynamic
    }
    varying = {id(node) for node in activate(graph).nodes}
    behind = set(dynamic)
    first: list[Node] = []
    last: list[Node] = []
    for node in graph.nodes:
        # A constant subgraph is repeated where it is read, so its place does not matter.
        if id(node) in varying and not behind.isdisjoint((*node.reads, *node.written)):
            behind.update(node.written)
            last.append(node)
        else:
            first.append(node)
    return replace(graph, nodes=(*first, *last), tensors={**graph.tensors, **outputs}, dynamic=dynamic)


def _describe(graph: Graph, name: str, kind: OutputType) -> Tensor:
    dtype = dense_type(kind)
    if dtype is None:
        writer = next((node.label for node in graph.nodes if name in node.written), "")
        raise UnsupportedModelError(
            f"node {writer!r}: output {name!r} is {kind.name}, but results travel as dense tensors of numbers: "
            "export the model without this output"
        )
    return Tensor(name, dtype, tuple(size or 0 for size in kind.shape) or (0,))
