"""Adapts ONNX models: symbolic dimensions get sizes, inputs become constants, and some outputs are kept."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import numpy_helper

from shared.model.adaptation import Adaptation
from shared.model.casting import UnsafeCastError, cast_safely
from shared.model.errors import ShapeError, UnsupportedModelError
from shared.model.onnx_file.protos import captures
from shared.model.onnx_file.shapes import fix_inputs
from shared.model.weights import Array

# Before this version of the format, initializers had to be listed among the inputs.
_FREE_INITIALIZERS: Final = 4


def adapt(proto: onnx.ModelProto, adaptation: Adaptation) -> Mapping[str, Array]:
    """Adapt a model in place.

    A model whose inputs or outputs change also gets static input shapes, so that it is complete without `adaptation`.
    Otherwise the shapes in `adaptation.input_shapes` are left to `fix_inputs`.

    Returns:
        Values for the inputs that the model no longer has, by name: those that became constants, and zeros for those
        that only outputs read which are left out.

    Raises:
        ShapeError: A dimension or an input does not exist, or a shape or value does not fit it.
        UnsupportedModelError: An output does not exist.
    """
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    _size_dimensions(proto.graph, inputs, adaptation.dimensions)
    if not adaptation.changes_graph:
        return {}
    fixed = {name: _value(_named(name, inputs, "input"), given) for name, given in adaptation.input_values.items()}
    outputs = [_named(name, proto.graph.output, "output") for name in dict.fromkeys(adaptation.outputs)]
    _replace(proto.graph.input, [value for value in inputs if value.name not in fixed])
    proto.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in fixed.items())
    proto.ir_version = max(proto.ir_version, _FREE_INITIALIZERS)
    if outputs:
        _replace(proto.graph.output, outputs)
        _prune(proto.graph)
    names = {value.name for value in proto.graph.input}
    fixed |= {value.name: _value(value, 0) for value in inputs if value.name not in names | fixed.keys()}
    fix_inputs(proto.graph, {name: shape for name, shape in adaptation.input_shapes.items() if name in names})
    return fixed


def _size_dimensions(graph: onnx.GraphProto, inputs: Iterable[onnx.ValueInfoProto], sizes: Mapping[str, int]) -> None:
    known = dict.fromkeys(dim.dim_param for value in inputs for dim in value.type.tensor_type.shape.dim)
    for name, size in sizes.items():
        if name not in known or not name:
            have = ", ".join(map(repr, filter(None, known)))
            raise ShapeError(f"the model has no dimension {name!r}: its inputs have {have or 'none with a name'}")
        if size < 1:
            raise ShapeError(f"dimension {name!r} cannot be {size}")
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]


def _named(name: str, values: Iterable[onnx.ValueInfoProto], kind: str) -> onnx.ValueInfoProto:
    listed = {value.name: value for value in values}
    if name not in listed:
        error = ShapeError if kind == "input" else UnsupportedModelError
        raise error(f"the model has no {kind} {name!r}: its {kind}s are {', '.join(map(repr, listed))}")
    copy: onnx.ValueInfoProto = onnx.ValueInfoProto.FromString(listed[name].SerializeToString())
    return copy


def _value(spec: onnx.ValueInfoProto, given: ArrayLike) -> Array:
    """Return the value of an input in its type and shape; dimensions of unknown size are 1 for a single number."""
    kind = spec.type.tensor_type
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        values = np.asarray(given)
        if dtype.kind in "fb" and values.dtype.kind in "iub" and (dtype.kind == "f" or set(values.flat) <= {0, 1}):
            values = values.astype(dtype)
        values = cast_safely(values, dtype)
    except (KeyError, TypeError, UnsafeCastError) as error:
        raise ShapeError(f"the value of input {spec.name!r} does not fit its type: {error}") from error
    if not kind.HasField("shape"):
        return values
    sizes = [dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim]
    if values.size == 1:
        return np.full([size or 1 for size in sizes], values.reshape(()))
    fits = values.ndim == len(sizes) and all(a in (None, b) for a, b in zip(sizes, values.shape, strict=True))
    written = ",".join("?" if size is None else str(size) for size in sizes)
    if not fits and None not in sizes and values.size == int(np.prod([size or 1 for size in sizes])):
        return values.reshape([size or 1 for size in sizes])
    if not fits:
        raise ShapeError(f"the value of input {spec.name!r} has shape {list(values.shape)}, the input {written}")
    return values


def _replace(field: object, values: Sequence[onnx.ValueInfoProto]) -> None:
    """Replace the elements of a repeated field by copies, which survive the deletion."""
    copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in values]
    del field[:]  # type: ignore[attr-defined]
    field.extend(copies)  # type: ignore[attr-defined]


def _prune(graph: onnx.GraphProto) -> None:
    """Remove nodes, weights and inputs that no output needs, in place. Nodes may be in any order."""
    writers = {name: node for node in graph.node for name in node.output if name}
    needed: set[str] = set()
    waiting = [value.name for value in graph.output]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        if (writer := writers.get(name)) is not None:
            waiting.extend(each for each in (*writer.input, *captures(writer)) if each)
    nodes = [node for node in graph.node if needed.intersection(node.output)]
    if len(nodes) < len(graph.node):
        kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del graph.node[:]
        graph.node.extend(kept)
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    if len(weights) < len(graph.initializer):
        # References keep the removed elements alive until they are copied back.
        del graph.initializer[:]
        graph.initializer.extend(weights)
    _replace(graph.input, [value for value in graph.input if value.name in needed])
