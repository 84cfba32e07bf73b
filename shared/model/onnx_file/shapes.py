"""Makes every shape of a model static: fixes its inputs, then infers shapes and folds constants in turns."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, shape_inference

from shared.model.errors import RuntimeFailureError, ShapeError, UnsupportedModelError
from shared.model.graph import Graph, Node
from shared.model.liveness import ActiveGraph, activate
from shared.model.onnx_file.branches import known_conditions, take_branches
from shared.model.onnx_file.dynamic_tensors import dense_type, infer_types, with_dynamic
from shared.model.onnx_file.folding import evaluate_constants
from shared.model.onnx_file.protos import element_name, read_tensor, write_node, write_tensor, write_weight
from shared.model.onnx_file.runtime import OutputType
from shared.model.tensor import DType, Tensor
from shared.model.weights import Array, Weight, is_stored

# Largest number of elements of a constant that shape inference may need. Larger weights are left out of its copy.
_SMALL: Final = 1024
# Operators whose results have the shapes of elements of a sequence, which inference does not keep.
_FROM_SEQUENCES: Final = frozenset({"SequenceAt", "ConcatFromSequence", "OptionalGetElement"})
_SHAPE_OPERATORS: Final = frozenset({"Shape", "Size"})
# Types of shapes, axes, indices and conditions. Only constants of these types replace their nodes in the result.
# Others may be weights, whose operators the runtime matches. It runs DequantizeLinear(weights) and Conv as one integer
# kernel, but would quantise folded weights a second time, per tensor.
_EXACT: Final = frozenset({DType.INT64, DType.INT32, DType.BOOL})


def fix_inputs(proto: onnx.GraphProto, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Set the shapes of a graph's inputs, in place; a dynamic batch dimension that is the only one becomes 1.

    Args:
        proto: the graph.
        shapes: requested shapes by the name of the input.

    Returns:
        Whether dimensions other than the batch were dynamic, so that the shapes may not suit the model.

    Raises:
        ShapeError: A shape does not fit its input, no input has such a name, or a dimension stays dynamic.
        UnsupportedModelError: An input is not a dense tensor.
    """
    names = [value.name for value in proto.input]
    for name in shapes:
        if name not in names:
            raise ShapeError(f"the model has no input {name!r}: its inputs are {', '.join(map(repr, names))}")
    chosen = False
    for value in proto.input:
        if not value.type.HasField("tensor_type"):
            raise UnsupportedModelError(f"input {value.name!r} is not a dense tensor")
        if (kind := element_name(value)) is not None:
            raise UnsupportedModelError(f"input {value.name!r} has elements of type {kind}, which no request can carry")
        chosen |= _fix_input(value, shapes.get(value.name))
    return chosen


def _fix_input(value: onnx.ValueInfoProto, shape: tuple[int, ...] | None) -> bool:
    if not value.type.tensor_type.HasField("shape"):
        if shape is None:
            raise ShapeError(f"input {value.name!r} has no shape: give one, --input-shape {value.name}=...")
        value.type.tensor_type.shape.dim.extend(onnx.TensorShapeProto.Dimension() for _ in shape)
    dims = value.type.tensor_type.shape.dim
    declared = [dim.dim_value if dim.dim_value > 0 else None for dim in dims]
    written = ",".join("?" if size is None else str(size) for size in declared)
    if shape is None:
        dynamic = [axis for axis, size in enumerate(declared) if size is None]
        if dynamic not in ([], [0]):
            names = ", ".join(dims[axis].dim_param or f"axis {axis}" for axis in dynamic)
            named = all(dims[axis].dim_param for axis in dynamic)
            sizes = " ".join(f"--dim {name}=?" for name in dict.fromkeys(dims[axis].dim_param for axis in dynamic))
            raise ShapeError(
                f"input {value.name!r} has dynamic dimensions ({names}): "
                f"give their sizes, {f'{sizes}, or ' if named else ''}--input-shape {value.name}={written}"
            )
        shape = tuple(1 if size is None else size for size in declared)
    fits = len(shape) == len(declared) and all(d in (None, s) for d, s in zip(declared, shape, strict=True))
    if not fits or any(size < 1 for size in shape):
        raise ShapeError(f"shape {','.join(map(str, shape))} does not fit input {value.name!r}, which is {written}")
    for dim, size in zip(dims, shape, strict=True):
        dim.dim_value = size
    return None in declared[1:]


def resolve(graph: Graph, proto: onnx.ModelProto, *, strict: bool) -> Graph:
    """Infer the shape of every tensor that a node needs, and fold shape computations into constants.

    Constants of other types than `_EXACT` are folded for inference only. Their nodes stay in the result. Shapes that
    ONNX's inference does not find are asked from the runtime. Tensors whose size only a run tells become dynamic, and
    the nodes that depend on them come last.

    Args:
        graph: The graph as read, without descriptions of its tensors.
        proto: The model that it was read from, with static inputs and without initializers.
        strict: Whether every complaint of shape inference is an error, because the caller chose the input's shape.

    Raises:
        ShapeError: A shape cannot be inferred or conflicts with an operator; the message names the node.
        UnsupportedModelError: An output is not a dense tensor of numbers.
    """
    original = graph
    asked: dict[str, Tensor] = {}
    # Every round folds one more constant, takes a branch, asks for more shapes, or ends: so the loop terminates.
    while True:
        inferred = _infer(graph, proto, asked, strict)
        tensors = {**inferred.tensors, **{name: weight.tensor for name, weight in graph.weights.items()}}
        graph = replace(graph, tensors=tensors)
        folded = _fold_constants(_fold_shapes(graph))
        if conditions := known_conditions(folded):
            graph, original = take_branches(folded, conditions), take_branches(original, conditions)
            continue
        active = activate(folded)
        missing = next(_missing(active), None)
        if missing is None:
            _check_channels(active)
            return _with_exact_constants(original, folded)
        if len(folded.weights) != len(graph.weights):
            graph = folded
            continue
        try:
            types = infer_types(active, proto, tuple(dict.fromkeys(name for _, name in _missing(active))))
        except RuntimeFailureError as exc:
            raise ShapeError(_explain(missing, inferred.complaint or str(exc))) from exc
        found = {tensor.name: tensor for tensor in _static_tensors(types)}
        if found.keys() <= asked.keys():
            _check_channels(active)
            return with_dynamic(_with_exact_constants(original, folded), proto, types)
        asked.update(found)


def _static_tensors(types: Mapping[str, OutputType]) -> Iterator[Tensor]:
    for name, kind in types.items():
        dtype = dense_type(kind)
        # An empty shape is that of a scalar, or of a tensor of unknown rank.
        if dtype is not None and kind.shape and None not in kind.shape:
            yield Tensor(name, dtype, tuple(size for size in kind.shape if size is not None))


@dataclass(frozen=True)
class _Inferred:
    tensors: dict[str, Tensor]
    complaint: str


def _infer(graph: Graph, proto: onnx.ModelProto, asked: Mapping[str, Tensor], strict: bool) -> _Inferred:
    """Run ONNX's shape inference on a copy without large weights, whose values shapes do not depend on."""
    light = onnx.ModelProto(ir_version=max(4, proto.ir_version))
    light.opset_import.extend(proto.opset_import)
    light.graph.name = graph.name or "graph"
    light.graph.node.extend(map(write_node, graph.nodes))
    _state_defaults(light.graph)
    light.graph.input.extend(proto.graph.input)
    known = _declared(graph, proto) | {name: write_tensor(tensor) for name, tensor in asked.items()}
    light.graph.output.extend(known.get(name, helper.make_empty_tensor_value_info(name)) for name in graph.outputs)
    light.graph.value_info.extend(value for name, value in known.items() if name not in graph.outputs)
    for weight in graph.weights.values():
        if weight.tensor.elements <= _SMALL and not is_stored(weight):
            write_weight(weight, light.graph.initializer.add())
        else:
            light.graph.input.append(write_tensor(weight.tensor))
    complaint = ""
    try:
        result = _strictly_inferred(light)
    except shape_inference.InferenceError as exc:
        complaint = str(exc)
        if strict:
            raise ShapeError(f"the input's shape does not suit the model: {_first_fault(complaint)}") from exc
        # A complaint about an unused branch does not matter. A shape that stays unknown is reported with the complaint.
        result = shape_inference.infer_shapes(light, data_prop=True)
    values = (*result.graph.input, *result.graph.value_info, *result.graph.output)
    tensors = {tensor.name: tensor for tensor in map(read_tensor, values) if tensor is not None}
    return _Inferred(tensors, complaint)


def _strictly_inferred(light: onnx.ModelProto) -> onnx.ModelProto:
    """Infer shapes, with the values of constants; without them where they contradict an operator.

    Inference computes small integers itself, some of them wrongly. Constants that shapes depend on are folded anyway.
    """
    try:
        result: onnx.ModelProto = shape_inference.infer_shapes(light, strict_mode=True, data_prop=True)
    except shape_inference.InferenceError:
        result = shape_inference.infer_shapes(light, strict_mode=True)
    return result


def _state_defaults(graph: onnx.GraphProto) -> None:
    """Write attributes whose default value ONNX's inference takes wrongly: an STFT is one-sided unless it says so."""
    for node in graph.node:
        if node.op_type == "STFT" and not any(attribute.name == "onesided" for attribute in node.attribute):
            node.attribute.append(helper.make_attribute("onesided", 1))


def _first_fault(complaint: str) -> str:
    """Return the first fault of a report; those that follow from it say nothing new."""
    head, found, rest = complaint.partition("(op_type:")
    return f"{head}{found}{rest.partition('(op_type:')[0]}".strip()


def _declared(graph: Graph, proto: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Return the shapes that the file declares where inference has no rules: foreign domains, sequences."""
    taken = {name for node in graph.nodes if node.domain or node.op_type in _FROM_SEQUENCES for name in node.written}
    values = (value for value in (*proto.graph.value_info, *proto.graph.output) if value.name in taken)
    return {value.name: value for value in values if read_tensor(value) is not None}


def _with_constants(graph: Graph, values: Mapping[str, Array]) -> Graph:
    """Replace nodes whose outputs are all known by constants."""
    tensors = {name: Tensor(name, DType(array.dtype.name), array.shape) for name, array in values.items()}
    return replace(
        graph,
        nodes=tuple(node for node in graph.nodes if not values.keys() >= set(node.written)),
        tensors={**graph.tensors, **tensors},
        weights={**graph.weights, **{name: Weight(tensors[name], array) for name, array in values.items()}},
    )


def _with_exact_constants(original: Graph, folded: Graph) -> Graph:
    """Return `original` with the tensors of `folded`, and with those of its constants that no kernel depends on."""
    exact: dict[str, Array] = {}
    for node in original.nodes:
        constants = {name: folded.weights[name] for name in node.written if name in folded.weights}
        if len(constants) == len(node.written) and all(w.tensor.dtype in _EXACT for w in constants.values()):
            exact.update((name, weight.values()) for name, weight in constants.items())
    return _with_constants(replace(original, tensors=folded.tensors), exact)


def _fold_shapes(graph: Graph) -> Graph:
    """Replace `Shape` and `Size` of tensors of static shape by constants."""
    values: dict[str, Array] = {}
    for node in graph.nodes:
        if node.op_type in _SHAPE_OPERATORS and not node.domain and node.inputs[0] in graph.tensors:
            shape = graph.tensors[node.inputs[0]].shape
            chosen = shape[node.integer("start", 0) : node.integer("end", len(shape))]
            size: Any = chosen if node.op_type == "Shape" else int(np.prod(shape, dtype=np.int64))
            values[node.outputs[0]] = np.asarray(size, dtype=np.int64)
    return _with_constants(graph, values) if values else graph


def _fold_constants(graph: Graph) -> Graph:
    """Evaluate the small constant subgraphs that shapes may depend on."""
    active = activate(graph)
    folded: dict[str, None] = {}
    for node in active.nodes:
        unknown = any(name not in graph.tensors for name in node.written)
        for name in node.reads:
            tensor = graph.tensors.get(name)
            # Integers are shapes, axes or indices. A float matters only where the node's output is still unknown.
            shaping = tensor is None or (tensor.elements <= _SMALL and (unknown or not tensor.dtype.is_float))
            if name in active.producers and shaping:
                folded.update(dict.fromkeys(active.producers[name].written))
    return _with_constants(graph, evaluate_constants(active, tuple(folded))) if folded else graph


def _missing(active: ActiveGraph) -> Iterator[tuple[Node, str]]:
    """Yield the needed tensors of unknown shape, each with a node that reads or writes it."""
    needed = {name for node in active.nodes for name in node.reads} | set(active.graph.outputs)
    for node in active.nodes:
        for name in (*node.reads, *(name for name in node.written if name in needed)):
            if name not in active.graph.tensors:
                yield node, name


def _explain(missing: tuple[Node, str], reason: str) -> str:
    node, name = missing
    return f"node {node.label!r} ({node.op_type}): the shape of tensor {name!r} cannot be found: {reason}"


def _check_channels(active: ActiveGraph) -> None:
    """Check that inputs and kernels of convolutions agree, which ONNX's inference does not."""
    for node in active.nodes:
        if node.op_type != "Conv" or node.domain:
            continue
        if not all(name in active.graph.tensors for name in node.inputs[:2]):
            continue
        data, weight = active.graph.tensor(node.inputs[0]).shape, active.graph.tensor(node.inputs[1]).shape
        if data[1] != weight[1] * node.integer("group", 1):
            raise ShapeError(
                f"node {node.label!r} (Conv): its input has {data[1]} channels, its weights are for "
                f"{weight[1] * node.integer('group', 1)}: give another input shape"
            )
