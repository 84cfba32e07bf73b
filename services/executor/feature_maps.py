"""Feature maps in memory, and their encoding to and from frames on the wire."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from services.executor.segments.coding import Coder
from shared.bus.frame import Buffer, decode_frame, encode_frame
from shared.codecs import MAX_TENSOR_BYTES, RAW, CodecError, CodecRegistry, EncodedTensor, open_tensor
from shared.codecs.spec import dtype_name
from shared.messages.base import MessageError, describe_faults
from shared.messages.requests import FeatureMapHeader, TensorHeader


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
class FeatureMap:
    """A header and its tensors, some of them still encoded.

    Attributes:
        header: the request, its route, and the stage that comes next.
        tensors: the tensors by name; arrays if they were made on this device.
    """

    header: FeatureMapHeader
    tensors: Mapping[str, np.ndarray | EncodedPayload]

    @property
    def size_bytes(self) -> int:
        """Total size of the decoded tensors."""
        return sum(
            tensor.nbytes if isinstance(tensor, np.ndarray) else tensor.raw_bytes for tensor in self.tensors.values()
        )

    @property
    def is_encoded(self) -> bool:
        """True if a tensor has an encoding other than raw."""
        return any(
            isinstance(tensor, EncodedPayload) and tensor.header.codec != RAW for tensor in self.tensors.values()
        )

    def arrays(self, coder: Coder, *, limit_bytes: int = MAX_TENSOR_BYTES) -> dict[str, np.ndarray]:
        """Return the tensors, decoded. Runs on the compute thread if any is encoded.

        Args:
            coder: decodes.
            limit_bytes: largest decoded tensor; for a larger one no memory is allocated.

        Raises:
            CodecError: a tensor is larger than the limit, or its codec cannot have made its payload.
        """
        return {
            name: tensor if isinstance(tensor, np.ndarray) else _decoded(tensor, coder, limit_bytes)
            for name, tensor in self.tensors.items()
        }


def encode_tensors(tensors: Mapping[str, np.ndarray], codec: str, coder: Coder) -> dict[str, EncodedTensor]:
    """Encode the tensors that cross a cut; a tensor that the codec cannot represent stays raw."""
    return {name: coder.encode_or_raw(np.ascontiguousarray(array), codec) for name, array in tensors.items()}


def encode_feature_map(header: FeatureMapHeader, tensors: Mapping[str, EncodedTensor]) -> list[Buffer]:
    """Return the pieces of a frame; `header.tensors` is filled from `tensors`, whose bytes are not copied."""
    headers = tuple(
        TensorHeader(
            name=name,
            dtype=dtype_name(tensor.spec.dtype),
            shape=tensor.spec.shape,
            codec=tensor.codec,
            size_bytes=tensor.size_bytes,
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
