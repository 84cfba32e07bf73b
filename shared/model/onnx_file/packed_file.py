"""Packed models: one file with the weights first, and behind them a small graph that names their places.

A device reads the graph, and of the weights only those of its blocks. ONNX Runtime maps them from the file.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
import onnx
from onnx import external_data_helper, numpy_helper

from shared.model.errors import AbsentValuesError, ModelFileError, UnsupportedModelError
from shared.model.onnx_file.external_data import copy_values, embed, is_outside, read_values
from shared.model.onnx_file.protos import MAX_BYTES, captures, element_type, is_readable, refer
from shared.model.onnx_file.reading import Shapes, divide, parse
from shared.model.partitioned_model import PartitionedModel
from shared.model.tensor import Tensor
from shared.model.weights import StoredValues, Weight

# Smaller weights stay in the graph. Shape inference and the runtime need the values of scales, axes and the like.
MIN_STORED_BYTES: Final = 16 * 1024
# Values begin at multiples of it, as vector instructions like it.
_ALIGNMENT: Final = 64
# Before this version of the format, initializers had to be listed among the inputs.
_FREE_INITIALIZERS: Final = 4
# The graph does not know the name of its file.
_FILE: Final = "weights"


@dataclass(frozen=True, slots=True)
class PackedModel:
    """A packed file.

    Attributes:
        path: the file.
        graph_start: position of the graph.
        model: the model as a device reads it.
    """

    path: Path
    graph_start: int
    model: PartitionedModel


def pack_model(
    source: Path, target: Path, *, sha256: str, input_shapes: Shapes | None = None, max_cut_tensors: int | None = None
) -> PackedModel:
    """Write a model as a packed file, and read it as a device does.

    Args:
        source: the ONNX file; it may keep weights in other files.
        target: path of the packed file.
        sha256: identity of the model.
        input_shapes: shapes of inputs that the file leaves open.
        max_cut_tensors: largest number of tensors that may cross a cut; None for as many as pay.

    Raises:
        ModelError: Segue cannot read or cut the model, or its graph alone exceeds 2 GiB.
        OSError: a file cannot be read or written.
    """
    kept: set[str] = set()
    while True:
        graph_start = _write(source, target, kept)
        try:
            model = open_packed(
                target, graph_start, sha256=sha256, input_shapes=input_shapes, max_cut_tensors=max_cut_tensors
            )
        except AbsentValuesError as error:
            # Every round keeps one more weight in the graph, so the loop ends.
            kept.add(error.tensor)
        else:
            return PackedModel(target, graph_start, model)


def open_packed(
    path: Path, graph_start: int, *, sha256: str, input_shapes: Shapes | None = None, max_cut_tensors: int | None = None
) -> PartitionedModel:
    """Read the graph of a packed file and divide it into blocks. Weights are not read.

    Args:
        path: the file; it may have holes before the graph.
        graph_start: position of the graph.
        sha256: identity of the model.
        input_shapes: shapes of inputs that the graph leaves open.
        max_cut_tensors: largest number of tensors that may cross a cut; None for as many as pay.

    Raises:
        ModelError: the graph is damaged, or Segue cannot cut it.
    """
    try:
        with path.open("rb") as file:
            file.seek(graph_start)
            data = file.read(MAX_BYTES)
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror or error}") from error
    proto = parse(data)
    apart = [_stored(tensor, path, graph_start) for tensor in proto.graph.initializer if is_outside(tensor)]
    return divide(proto, apart, sha256=sha256, input_shapes=input_shapes, max_cut_tensors=max_cut_tensors)


def stored_ranges(weights: Mapping[str, Weight]) -> tuple[tuple[int, int], ...]:
    """Return the positions [start, stop) of stored weights in their packed file."""
    places = ((weight.source, weight.tensor) for weight in weights.values())
    return tuple(
        (source.offset, source.offset + tensor.size_bytes)
        for source, tensor in places
        if isinstance(source, StoredValues)
    )


def _write(source: Path, target: Path, kept: set[str]) -> int:
    try:
        proto = onnx.load_model(source, load_external_data=False)
    except OSError:
        raise
    except Exception as error:
        raise ModelFileError(f"{source} is not an ONNX file") from error
    embed(proto, source, weights=False)
    _make_initializers(proto)
    with target.open("wb") as file:
        for tensor in _in_order_of_use(proto.graph):
            if tensor.name not in kept and _is_large(tensor):
                _move(tensor, source, file)
            elif is_outside(tensor):
                read_values(tensor, source)
        _align(file)
        graph_start = file.tell()
        if proto.ByteSize() > MAX_BYTES:
            raise UnsupportedModelError(f"the graph of {source} exceeds 2 GiB without its large weights")
        file.write(proto.SerializeToString())
    return graph_start


def _make_initializers(proto: onnx.ModelProto) -> None:
    """Make the large values of `Constant` nodes initializers, in place."""
    if proto.ir_version < _FREE_INITIALIZERS:
        return
    graph = proto.graph
    outputs = {value.name for value in graph.output}
    nodes = []
    for node in graph.node:
        values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
        is_constant = node.op_type == "Constant" and node.domain in ("", "ai.onnx") and len(node.output) == 1
        if is_constant and values and _is_large(values[0]) and node.output[0] not in outputs:
            tensor = graph.initializer.add()
            tensor.CopyFrom(values[0])
            tensor.name = node.output[0]
        else:
            nodes.append(node)
    if len(nodes) < len(graph.node):
        kept = list(nodes)
        del graph.node[:]
        graph.node.extend(kept)


def _in_order_of_use(graph: onnx.GraphProto) -> Iterable[onnx.TensorProto]:
    """Return the initializers in the order of the first nodes that read them: blocks then read few pieces."""
    first: dict[str, int] = {}
    for position, node in enumerate(graph.node):
        for name in (*node.input, *captures(node)):
            first.setdefault(name, position)
    return sorted(graph.initializer, key=lambda tensor: first.get(tensor.name, len(graph.node)))


def _is_large(tensor: onnx.TensorProto) -> bool:
    if not is_readable(tensor):
        return False
    described = Tensor(tensor.name, element_type(tensor), tuple(tensor.dims))
    # Elements of 4 bits are packed differently in other fields than raw data.
    return described.dtype.bits >= 8 and described.size_bytes >= MIN_STORED_BYTES


def _move(tensor: onnx.TensorProto, source: Path, file: BinaryIO) -> None:
    """Append the values of a tensor to the file and replace them by their place, in place."""
    _align(file)
    offset = file.tell()
    if is_outside(tensor):
        copy_values(tensor, source, file)
        del tensor.external_data[:]
    elif tensor.HasField("raw_data"):
        file.write(tensor.raw_data)
    else:
        values = numpy_helper.to_array(tensor)
        file.write(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False)).tobytes())
    expected = Tensor(tensor.name, element_type(tensor), tuple(tensor.dims)).size_bytes
    if file.tell() - offset != expected:
        raise ModelFileError(f"initializer {tensor.name!r} has {file.tell() - offset} bytes, not {expected}")
    for field in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(field)
    refer(tensor, _FILE, offset, expected)


def _align(file: BinaryIO) -> None:
    file.write(bytes(-file.tell() % _ALIGNMENT))


def _stored(tensor: onnx.TensorProto, path: Path, graph_start: int) -> Weight:
    described = Tensor(tensor.name, element_type(tensor), tuple(tensor.dims))
    offset = int(external_data_helper.ExternalDataInfo(tensor).offset or 0)
    if offset < 0 or offset + described.size_bytes > graph_start:
        raise ModelFileError(f"the values of weight {tensor.name!r} are not in front of the graph")
    return Weight(described, StoredValues(path.name, offset))
