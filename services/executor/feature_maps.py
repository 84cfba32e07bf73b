"""Feature maps in memory, and their encoding to and from frames on the wire."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from services.executor.segments.coding import Coder
from shared.bus.frame import Buffer, decode_frame, encode_frame
from shared.codecs import MAX_TENSOR_BYTES, RAW, CodecError, CodecRegistry, EncodedTensor, open_tensor
from shared.codecs.spec import TensorSpec, dtype_name
from shared.lane.input_assembly import EncodedRows, InputTensor
from shared.messages.base import MessageError, describe_faults
from shared.messages.requests import FeatureMapHeader, TensorHeader
from shared.model.tiles.row_exchange import RowReader, TensorRows, is_nothing, passed_rows
from shared.row_ranges import NOTHING


@dataclass(frozen=True, slots=True)
class EncodedPayload:
    """A received tensor: checked against its header, not decoded.

    Attributes:
        header: name, type, shape and codec.
        payload: the encoded bytes.
        raw_bytes: size when decoded.
    """

    header: TensorHeader
    payload: memoryview
    raw_bytes: int


@dataclass(frozen=True, slots=True)
class AssembledTensor:
    """A tensor whose rows came in parts.

    Attributes:
        array: the tensor, with the rows that came raw.
        encoded: the other rows.
    """

    array: np.ndarray
    encoded: Sequence[EncodedRows]

    def decoded(self, coder: Coder) -> np.ndarray:
        """Return the whole tensor.

        Raises:
            CodecError: a codec cannot have made its payload.
        """
        tensor = InputTensor.of("", TensorSpec.of(self.array))
        for rows in self.encoded:
            part = _decoded(rows.payload, coder, self.array.nbytes)
            tensor.place(self.array, rows.top, rows.bottom)[...] = part
        return self.array


@dataclass(frozen=True, slots=True)
class RowPlace:
    """The place of rows in a tensor of their receiver.

    Attributes:
        top: first of them.
        of_rows: rows of the receiver's tensor; 0 for a tensor that is sent as a whole.
    """

    top: int = 0
    of_rows: int = 0


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """A header and its tensors, some of them still encoded.

    Attributes:
        header: the request, its route, and the stage that comes next.
        tensors: the tensors by name; arrays if they were made on this device.
        wait_ms: time between the first and the last rows of an input that came in parts.
    """

    header: FeatureMapHeader
    tensors: Mapping[str, np.ndarray | EncodedPayload | AssembledTensor]
    wait_ms: float = 0.0

    @property
    def size_bytes(self) -> int:
        """Total size of the decoded tensors."""
        return sum(map(_size_bytes, self.tensors.values()))

    @property
    def is_encoded(self) -> bool:
        """True if a tensor has an encoding other than raw."""
        return any(
            isinstance(tensor, AssembledTensor) or (isinstance(tensor, EncodedPayload) and tensor.header.codec != RAW)
            for tensor in self.tensors.values()
        )

    def arrays(self, coder: Coder, *, limit_bytes: int = MAX_TENSOR_BYTES) -> dict[str, np.ndarray]:
        """Return the tensors, decoded. Runs on the compute thread if any is encoded.

        Args:
            coder: decodes.
            limit_bytes: largest decoded tensor; for a larger one no memory is allocated.

        Raises:
            CodecError: a tensor is larger than the limit, or its codec cannot have made its payload.
        """
        return {name: _array(tensor, coder, limit_bytes) for name, tensor in self.tensors.items()}


@dataclass(frozen=True, slots=True)
class RowsOfOutput:
    """Rows of a segment's output for one reader, by tensor; empty if it needs none.

    Attributes:
        arrays: the rows, contiguous.
        places: where they belong in the reader's input.
    """

    arrays: Mapping[str, np.ndarray]
    places: Mapping[str, RowPlace]


def rows_for(outputs: Mapping[str, np.ndarray], made: TensorRows | None, reader: RowReader) -> RowsOfOutput:
    """Return the rows of an output that a reader needs; those of every tensor of its input if it needs any.

    Args:
        outputs: of a segment or of a tile.
        made: the rows in `outputs`, of a tile; None for a whole output.
        reader: what is needed.
    """
    passed = passed_rows(made, reader)
    if is_nothing(passed):
        return RowsOfOutput({}, {})
    arrays: dict[str, np.ndarray] = {}
    places: dict[str, RowPlace] = {}
    for name, rows in passed.items():
        needed = reader.needed[name]
        if rows is None or needed is None:
            arrays[name], places[name] = outputs[name], RowPlace()
            continue
        own = None if made is None else made[name]
        first = 0 if own is None else own[0]
        top, bottom = rows if rows != NOTHING else (first, first)
        arrays[name] = np.ascontiguousarray(outputs[name][:, :, top - first : bottom - first])
        places[name] = RowPlace(top - needed[0] if rows != NOTHING else 0, needed[1] - needed[0])
    return RowsOfOutput(arrays, places)


def encode_tensors(tensors: Mapping[str, np.ndarray], codec: str, coder: Coder) -> dict[str, EncodedTensor]:
    """Encode the tensors that cross a cut; a tensor that the codec cannot represent stays raw."""
    return {name: coder.encode_or_raw(np.ascontiguousarray(array), codec) for name, array in tensors.items()}


def encode_feature_map(
    header: FeatureMapHeader, tensors: Mapping[str, EncodedTensor], places: Mapping[str, RowPlace] | None = None
) -> list[Buffer]:
    """Return the pieces of a frame.

    Args:
        header: `tensors` is filled in.
        tensors: the tensors, or rows of them; their bytes are not copied.
        places: the places of rows.
    """
    places = places or {}
    headers = tuple(
        TensorHeader(
            name=name,
            dtype=dtype_name(tensor.spec.dtype),
            shape=tensor.spec.shape,
            codec=tensor.codec,
            size_bytes=tensor.size_bytes,
            top=places[name].top if name in places else 0,
            of_rows=places[name].of_rows if name in places else 0,
        )
        for name, tensor in tensors.items()
    )
    document = header.model_copy(update={"tensors": headers}).model_dump(mode="python")
    return encode_frame(document, [tensor.payload() for tensor in tensors.values()])


def decode_feature_map(buffer: Buffer, registry: CodecRegistry) -> FeatureMap:
    """Decode a frame. Its tensors are checked against the header, neither copied nor decoded.

    Raises:
        MessageError: the frame contains no feature map, or its tensors do not fit their headers.
        DecodeError: the bytes are no frame.
    """
    document, views = decode_frame(buffer)
    try:
        header = FeatureMapHeader.model_validate(document)
    except ValidationError as error:
        raise MessageError(describe_faults(error)) from error
    # Beyond the schema: the header comes from another device and indexes into itself.
    if header.stage >= len(header.stages):
        raise MessageError(f"stage {header.stage} of a route of {len(header.stages)}")
    if header.tile >= len(header.stages[header.stage].devices):
        raise MessageError(f"tile {header.tile} of a stage on {len(header.stages[header.stage].devices)} devices")
    if len(views) != len(header.tensors):
        raise MessageError(f"{len(views)} tensors arrived and {len(header.tensors)} are described")
    try:
        tensors = {spec.name: _checked(spec, view, registry) for spec, view in zip(header.tensors, views, strict=True)}
    except CodecError as error:
        raise MessageError(str(error)) from error
    return FeatureMap(header, tensors)


def _checked(spec: TensorHeader, view: memoryview, registry: CodecRegistry) -> EncodedPayload:
    received = open_tensor(spec.codec, spec.dtype, spec.shape, view, registry)
    return EncodedPayload(spec, view, received.spec.size_bytes)


def _decoded(tensor: EncodedPayload, coder: Coder, limit_bytes: int) -> np.ndarray:
    header = tensor.header
    return coder.decode(header.codec, header.dtype, header.shape, tensor.payload, limit_bytes=limit_bytes)


def _array(tensor: np.ndarray | EncodedPayload | AssembledTensor, coder: Coder, limit_bytes: int) -> np.ndarray:
    match tensor:
        case EncodedPayload():
            return _decoded(tensor, coder, limit_bytes)
        case AssembledTensor():
            return tensor.decoded(coder)
    return tensor


def _size_bytes(tensor: np.ndarray | EncodedPayload | AssembledTensor) -> int:
    match tensor:
        case EncodedPayload(raw_bytes=size_bytes):
            return size_bytes
        case AssembledTensor(array=array):
            return array.nbytes
    return tensor.nbytes
