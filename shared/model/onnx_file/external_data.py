"""Weights that ONNX files store in other files: read into the model, mapped into memory, or packed into one file."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

import numpy as np
import onnx
from onnx import external_data_helper

from shared.model.adaptation import Adaptation
from shared.model.errors import ExternalDataError, UnsupportedModelError
from shared.model.onnx_file.adapting import adapt
from shared.model.onnx_file.protos import MAX_BYTES, element_type
from shared.model.tensor import Tensor
from shared.model.weights import Array, Weight

_KINDS: Final = onnx.AttributeProto


def embed(proto: onnx.ModelProto, folder: Path | None, *, weights: bool = True) -> bool:
    """Read tensors that are stored in other files into the model, in place.

    Initializers, tensors among the attributes of nodes, and those of subgraphs and functions are read. If all together
    exceed the size of one file, initializers of the main graph stay outside (see `map_weight`).

    Args:
        proto: The model.
        folder: Folder of the model's file; none if only its bytes are known.
        weights: Whether the initializers of the main graph are read, too.

    Returns:
        Whether any tensor was stored outside.

    Raises:
        ExternalDataError: A file is missing, too short or not below `folder`; the message names tensor and file.
    """
    outside = list(_outside(proto))
    if folder is None and outside:
        raise ExternalDataError(
            f"tensor {outside[0].name!r} is stored in file {_location(outside[0])!r} beside the model: give the "
            "model's path, or save it in one file"
        )
    whole = proto.ByteSize() + sum(_length(tensor, folder) for tensor in outside if folder is not None)
    kept = {id(tensor) for tensor in proto.graph.initializer} if whole > MAX_BYTES or not weights else set()
    for tensor in outside:
        if folder is not None and id(tensor) not in kept:
            path, offset, length = _place(tensor, folder)
            with path.open("rb") as file:
                file.seek(offset)
                tensor.raw_data = file.read(length)
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
    return bool(outside)


def is_outside(tensor: onnx.TensorProto) -> bool:
    """Return whether the values of a tensor are in another file."""
    return bool(external_data_helper.uses_external_data(tensor))


def map_weight(tensor: onnx.TensorProto, folder: Path) -> Weight:
    """Return an initializer whose values stay in their file and are read when they are used.

    Raises:
        ExternalDataError: The file is missing or too short.
        UnsupportedModelError: Segue does not support the type of its elements.
    """
    described = Tensor(tensor.name, element_type(tensor), tuple(tensor.dims))
    path, offset, length = _place(tensor, folder)
    if described.dtype.bits < 8 or described.size_bytes != length:
        raise ExternalDataError(f"tensor {tensor.name!r} needs {described.size_bytes} bytes, and {path} has {length}")
    dtype = np.dtype(described.dtype.value).newbyteorder("<")
    return Weight(described, np.memmap(path, dtype, "r", offset, described.shape))


def digest(data: bytes, proto: onnx.ModelProto, folder: Path) -> str:
    """Return the SHA-256 of a model's file followed by the values that stay outside, in hexadecimal."""
    whole = hashlib.sha256(data)
    for tensor in filter(is_outside, proto.graph.initializer):
        path, offset, length = _place(tensor, folder)
        with path.open("rb") as file:
            file.seek(offset)
            while length > 0 and (part := file.read(min(length, 2**20))):
                whole.update(part)
                length -= len(part)
    return whole.hexdigest()


def copy_values(tensor: onnx.TensorProto, folder: Path, target: BinaryIO) -> None:
    """Append the values of a tensor that is stored in another file to `target`.

    Raises:
        ExternalDataError: The file is missing or too short.
    """
    path, offset, left = _place(tensor, folder)
    with path.open("rb") as file:
        file.seek(offset)
        while left > 0 and (part := file.read(min(left, 2**20))):
            target.write(part)
            left -= len(part)


def pack(path: Path, folder: Path, adaptation: Adaptation | None = None) -> tuple[Path, Mapping[str, Array]]:
    """Write a model's file that is complete, if `path` is not.

    Returns:
        `path`, or a new file of the same name in `folder`, and the values of inputs that became constants. The new file
        holds the weights that are stored in other files. If inputs or outputs change, it is the adapted model. Weights
        that exceed one file stay where they are.

    Raises:
        ExternalDataError: A file with weights is missing or too short.
        UnsupportedModelError: The model cannot be adapted, or it would have to be and one ONNX file cannot hold it.
        OSError: A file cannot be read or written.
    """
    try:
        proto = onnx.load_model(path, load_external_data=False)
    except Exception:  # Not a model. The reader of the file reports it.
        return path, {}
    chosen = adaptation or Adaptation()
    if not embed(proto, path.parent) and not chosen.changes_graph:
        return path, {}
    if any(map(is_outside, proto.graph.initializer)):
        if not chosen.changes_graph:
            return path, {}
        raise UnsupportedModelError(
            f"the weights of {path} exceed the 2 GiB that one ONNX file holds, so its inputs and outputs cannot change"
        )
    fixed = adapt(proto, chosen) if chosen.changes_graph else {}
    packed = folder / path.name
    packed.write_bytes(proto.SerializeToString())
    return packed, fixed


def _outside(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from filter(is_outside, _graph_tensors(proto.graph))
    for function in proto.functions:
        yield from filter(is_outside, _node_tensors(function.node))


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == _KINDS.TENSOR:
                yield attribute.t
            yield from attribute.tensors
            for graph in (attribute.g, *attribute.graphs) if attribute.type in (_KINDS.GRAPH, _KINDS.GRAPHS) else ():
                yield from _graph_tensors(graph)


def _location(tensor: onnx.TensorProto) -> str:
    return str(external_data_helper.ExternalDataInfo(tensor).location)


def _length(tensor: onnx.TensorProto, folder: Path) -> int:
    return _place(tensor, folder)[2]


def _place(tensor: onnx.TensorProto, folder: Path) -> tuple[Path, int, int]:
    """Return file, offset and length of a tensor's values."""
    location = _location(tensor)
    path = folder / location
    stored = f"tensor {tensor.name!r} is stored in {path}, which"
    # A model must not read files elsewhere on the disk into what it sends to the fleet.
    if not location or PurePosixPath(location).is_absolute() or ".." in Path(location).parts:
        raise ExternalDataError(f"{stored} is not below the folder of the model")
    try:
        info = external_data_helper.ExternalDataInfo(tensor)
        offset, size = int(info.offset or 0), path.stat().st_size
        length = int(info.length) if info.length else size - offset
    except (OSError, ValueError) as exc:
        raise ExternalDataError(f"{stored} cannot be read: put it back, or save the model in one file") from exc
    if offset < 0 or length < 0 or offset + length > size:
        raise ExternalDataError(f"{stored} has {size} bytes, not {offset + length}: is it of another model?")
    return path, offset, length
