"""Weights that ONNX files store in other files: read into the model, mapped into memory, or packed into one file."""

import hashlib
import stat
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


def embed(proto: onnx.ModelProto, model: Path | None, *, weights: bool = True) -> bool:
    """Read tensors that are stored in other files into the model, in place.

    Initializers, tensors among the attributes of nodes, and those of subgraphs and functions are read. If all together
    exceed the size of one file, initializers of the main graph stay outside (see `map_weight`).

    Args:
        proto: The model.
        model: The model's file; none if only its bytes are known.
        weights: Whether the initializers of the main graph are read, too.

    Returns:
        Whether any tensor was stored outside.

    Raises:
        ExternalDataError: A file is missing, too short or not below the folder of the model; the message names tensor
            and file.
    """
    outside = list(_outside(proto))
    if model is None and outside:
        raise ExternalDataError(
            f"tensor {outside[0].name!r} is stored in file {_location(outside[0])!r} beside the model: give the "
            "model's path, or save it in one file"
        )
    whole = proto.ByteSize() + sum(_place(tensor, model)[2] for tensor in outside if model is not None)
    kept = {id(tensor) for tensor in proto.graph.initializer} if whole > MAX_BYTES or not weights else set()
    for tensor in outside:
        if model is not None and id(tensor) not in kept:
            read_values(tensor, model)
    return bool(outside)


def read_values(tensor: onnx.TensorProto, model: Path) -> None:
    """Read a tensor that is stored in another file into the model, in place.

    Raises:
        ExternalDataError: The file is missing or too short.
    """
    path, offset, length = _place(tensor, model)
    with path.open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(length)
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def is_outside(tensor: onnx.TensorProto) -> bool:
    """Return whether the values of a tensor are in another file."""
    return bool(external_data_helper.uses_external_data(tensor))


def map_weight(tensor: onnx.TensorProto, model: Path) -> Weight:
    """Return an initializer whose values stay in their file and are read when they are used.

    Raises:
        ExternalDataError: The file is missing or too short.
        UnsupportedModelError: Segue does not support the type of its elements.
    """
    described = Tensor(tensor.name, element_type(tensor), tuple(tensor.dims))
    path, offset, length = _place(tensor, model)
    if described.dtype.bits < 8 or described.size_bytes != length:
        raise ExternalDataError(f"tensor {tensor.name!r} needs {described.size_bytes} bytes, and {path} has {length}")
    dtype = np.dtype(described.dtype.value).newbyteorder("<")
    return Weight(described, np.memmap(path, dtype, "r", offset, described.shape))


def digest(data: bytes, proto: onnx.ModelProto, model: Path) -> str:
    """Return the SHA-256 of a model's file followed by the values that stay outside, in hexadecimal."""
    whole = hashlib.sha256(data)
    for tensor in filter(is_outside, proto.graph.initializer):
        path, offset, length = _place(tensor, model)
        with path.open("rb") as file:
            file.seek(offset)
            while length > 0 and (part := file.read(min(length, 2**20))):
                whole.update(part)
                length -= len(part)
    return whole.hexdigest()


def copy_values(tensor: onnx.TensorProto, model: Path, target: BinaryIO) -> None:
    """Append the values of a tensor that is stored in another file to `target`.

    Raises:
        ExternalDataError: The file is missing or too short.
    """
    path, offset, left = _place(tensor, model)
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
    if not path.is_file():  # Missing, or endless. The reader of the file reports it.
        return path, {}
    try:
        proto = onnx.load_model(path, load_external_data=False)
    except Exception:  # Not a model. The reader of the file reports it.
        return path, {}
    chosen = adaptation or Adaptation()
    if not embed(proto, path) and not chosen.changes_graph:
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
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _place(tensor: onnx.TensorProto, model: Path) -> tuple[Path, int, int]:
    """Return file, offset and length of a tensor's values."""
    location = _location(tensor)
    path = model.parent / location
    stored = f"tensor {tensor.name!r} is stored in {path}, which"
    try:
        is_below = _is_below(location, path, model)
        status = path.stat() if is_below else None
    except (OSError, ValueError, RuntimeError) as exc:
        raise ExternalDataError(f"{stored} cannot be read: put it back, or save the model in one file") from exc
    if status is None:
        raise ExternalDataError(f"{stored} is not below the folder of the model")
    if not stat.S_ISREG(status.st_mode):
        raise ExternalDataError(f"{stored} is not a file")
    size, given = status.st_size, {entry.key: entry.value for entry in tensor.external_data}
    try:
        offset = int(given.get("offset") or 0)
        length = int(given.get("length") or size - offset)
    except ValueError as exc:
        raise ExternalDataError(f"{stored} has no such offset or length: {exc}") from exc
    if offset < 0 or length < 0 or offset + length > size:
        raise ExternalDataError(f"{stored} has {size} bytes, not {length} from byte {offset}: is it of another model?")
    return path, offset, length


def _is_below(location: str, path: Path, model: Path) -> bool:
    """Return whether a file is below the folder of the model, after its links, too.

    A model must not read files elsewhere on the disk into what it sends to the fleet. Where the model's file is a link
    itself, as in caches of downloads, its weights may be where it points to.
    """
    if not location or PurePosixPath(location).is_absolute() or ".." in Path(location).parts:
        return False
    real = path.resolve()
    return any(real.is_relative_to(folder) for folder in (model.parent.resolve(), model.resolve().parent))
