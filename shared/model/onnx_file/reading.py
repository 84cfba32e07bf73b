"""Loads ONNX files as partitioned models."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import inliner

from shared.model.adaptation import Adaptation
from shared.model.errors import ModelError, ModelFileError, UnsupportedModelError
from shared.model.graph import Graph
from shared.model.onnx_file.adapting import adapt
from shared.model.onnx_file.external_data import digest, embed, is_outside, map_weight
from shared.model.onnx_file.function_size import check_expansion
from shared.model.onnx_file.normalising import normalise
from shared.model.onnx_file.protos import read_node, read_weight, write_tensor
from shared.model.onnx_file.shapes import fix_inputs, resolve
from shared.model.onnx_file.text_fields import check_texts
from shared.model.partitioned_model import PartitionedModel, build_model
from shared.model.weights import Weight

Shapes = Mapping[str, tuple[int, ...]]

# A protocol buffer cannot be larger.
_MAX_FILE_BYTES: Final = 2**31


@contextmanager
def _one_line_faults() -> Iterator[None]:
    """Turn whatever ONNX's helpers raise for a graph that its checker has let through into a fault of the file."""
    try:
        yield
    except (ModelError, MemoryError):
        raise
    except Exception as exc:
        raise ModelFileError(f"not a valid ONNX model: {type(exc).__name__}: {exc}") from exc


@_one_line_faults()
def load_model(
    source: Path | str | bytes,
    *,
    input_shapes: Shapes | None = None,
    adaptation: Adaptation | None = None,
    max_cut_tensors: int | None = None,
) -> PartitionedModel:
    """Load an ONNX file and divide it into blocks.

    Args:
        source: The path of the file, or its bytes.
        input_shapes: Shapes of inputs that the file leaves open. A dynamic batch dimension that is the only dynamic
            one of an input becomes 1 without being given.
        adaptation: More choices of this kind. Its `input_shapes` come after those above.
        max_cut_tensors: Largest number of tensors that may cross a cut; none for as many as pay (see `find_partition`).

    Raises:
        ModelFileError: The file is missing or not a valid ONNX model; ExternalDataError if its weights are missing.
        UnsupportedModelError: Segue cannot cut it; ShapeError if a shape stays unknown or an input shape does not fit.
        CutError: `max_cut_tensors` is less than 1.
    """
    data = source if isinstance(source, bytes) else _read(Path(source))
    proto = parse(data)
    path = None if isinstance(source, bytes) else Path(source)
    chosen = adaptation or Adaptation()
    chosen = replace(chosen, input_shapes={**(input_shapes or {}), **chosen.input_shapes})
    embedded = embed(proto, path)
    fixed = adapt(proto, chosen)
    if chosen.changes_graph or (embedded and not any(map(is_outside, proto.graph.initializer))):
        # The identity of a model covers its weights: it is that of the one file which enters a fleet.
        data = proto.SerializeToString()
    mapped = [map_weight(tensor, path) for tensor in proto.graph.initializer if path and is_outside(tensor)]
    sha256 = digest(data, proto, path) if path and mapped else hashlib.sha256(data).hexdigest()
    model = divide(
        proto,
        mapped,
        sha256=sha256,
        input_shapes={} if chosen.changes_graph else chosen.input_shapes,
        max_cut_tensors=max_cut_tensors,
        data=None if chosen.dimensions else data,
    )
    return replace(model, fixed_inputs=fixed)


@_one_line_faults()
def divide(
    proto: onnx.ModelProto,
    apart: Sequence[Weight],
    *,
    sha256: str,
    input_shapes: Shapes | None = None,
    max_cut_tensors: int | None = None,
    data: bytes | None = None,
) -> PartitionedModel:
    """Divide a model into blocks; `proto` is changed.

    Args:
        proto: The model.
        apart: Initializers whose values are not in `proto`.
        sha256: Identity of the model.
        input_shapes: Shapes of inputs that the model leaves open.
        max_cut_tensors: Largest number of tensors that may cross a cut; none for as many as pay.
        data: The bytes of `proto`, if they are at hand.

    Raises:
        ModelError: As `load_model`.
    """
    _leave_out(proto.graph, apart)
    changed = normalise(proto)
    check_expansion(proto)
    _check_with_shapes(proto, None if apart or changed else data)
    graph = _to_graph(proto, apart, input_shapes or {})
    model = build_model(graph, sha256=sha256, max_cut_tensors=max_cut_tensors)
    return replace(model, metadata={entry.key: entry.value for entry in proto.metadata_props})


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise ModelFileError(f"{path} is not a file")
        if (size := path.stat().st_size) > _MAX_FILE_BYTES:
            text = f"{path} has {size / 2**30:.1f} GiB: an ONNX file has at most 2 GiB, with more weights beside it"
            raise ModelFileError(text)
        return path.read_bytes()
    except OSError as exc:
        raise ModelFileError(f"cannot read {path}: {exc.strerror or exc}") from exc


def parse(data: bytes) -> onnx.ModelProto:
    """Return the model in the bytes of an ONNX file.

    Raises:
        ModelFileError: They are no model.
    """
    try:
        proto: onnx.ModelProto = onnx.ModelProto.FromString(data)
    except DecodeError as exc:
        raise ModelFileError("not an ONNX file: its bytes are no protocol buffer of a model") from exc
    if not proto.ir_version or not proto.graph.node:
        raise ModelFileError("not an ONNX file: it holds no graph of operators")
    check_texts(proto)
    return proto


def _leave_out(graph: onnx.GraphProto, weights: Sequence[Weight]) -> None:
    """Replace initializers by inputs, in place."""
    if weights:
        names = {weight.tensor.name for weight in weights}
        known = {value.name for value in graph.input}
        inside = [tensor for tensor in graph.initializer if tensor.name not in names]
        del graph.initializer[:]
        graph.initializer.extend(inside)
        graph.input.extend(write_tensor(weight.tensor) for weight in weights if weight.tensor.name not in known)


def _check_with_shapes(proto: onnx.ModelProto, data: bytes | None) -> None:
    """Check a model. The checker demands shapes of inputs and outputs, and the runtime does not."""
    shapeless = [
        (value, onnx.ValueInfoProto.FromString(value.SerializeToString()))
        for value in (*proto.graph.input, *proto.graph.output)
        if value.type.WhichOneof("value") in (None, "tensor_type") and not value.type.tensor_type.HasField("shape")
    ]
    for value, _ in shapeless:
        value.type.tensor_type.elem_type = value.type.tensor_type.elem_type or onnx.TensorProto.FLOAT
        value.type.tensor_type.shape.SetInParent()
    _check(proto if data is None or shapeless else data)
    for value, before in shapeless:
        value.CopyFrom(before)


def _check(model: onnx.ModelProto | bytes) -> None:
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as exc:
        reason = str(exc).split("==> Context:")
        raise ModelFileError(f"not a valid ONNX model: {' '.join(part.strip() for part in reversed(reason))}") from exc


def _to_graph(proto: onnx.ModelProto, mapped: Sequence[Weight], input_shapes: Shapes) -> Graph:
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    opsets = {"" if opset.domain == "ai.onnx" else opset.domain: opset.version for opset in proto.opset_import}
    weights = {tensor.name: read_weight(tensor) for tensor in proto.graph.initializer}
    weights.update((weight.tensor.name, weight) for weight in mapped)
    # Before version 4 of the format, initializers had to be listed among the inputs.
    inputs = [value for value in proto.graph.input if value.name not in weights]
    del proto.graph.input[:], proto.graph.initializer[:]
    proto.graph.input.extend(inputs)
    strict = fix_inputs(proto.graph, input_shapes)
    graph = Graph(
        name=proto.graph.name,
        nodes=tuple(read_node(node) for node in proto.graph.node),
        inputs=tuple(value.name for value in inputs),
        outputs=tuple(value.name for value in proto.graph.output),
        tensors={},
        weights=weights,
        opsets=opsets,
    )
    resolved = resolve(graph, proto, strict=strict)
    _check_ends(resolved)
    return resolved


def _check_ends(graph: Graph) -> None:
    """Check that requests can carry the inputs, and results the outputs."""
    for kind, names in (("input", graph.inputs), ("output", graph.outputs)):
        for tensor in graph.describe(names):
            if not tensor.dtype.has_numpy_type:
                raise UnsupportedModelError(
                    f"{kind} {tensor.name!r} is {tensor.dtype.value}, which the runtime does not exchange with "
                    f"programs: export the model with a cast at this {kind}"
                )
