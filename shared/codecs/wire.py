"""Encoded tensors on the wire: a preamble that names the codec, and the body; raw tensors have no preamble.

    payload  = body                                            (codec "raw")
             | preamble body                                   (any other)
    preamble = "SGC" version:uint8 length:uint8 name zero*     (`length` ASCII letters, padded to whole 16 bytes)

The element type and shape are in the header before the payload (`TensorHeader`). docs/codecs.md describes the body of
each built-in codec.

A receiver bounds everything before it allocates. The header's shape has a limit. The length of the body has to be
within the codec's bounds for that shape, and so has the declared content of a zstd frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.codecs.codec import Codec
from shared.codecs.errors import CodecError
from shared.codecs.known_codecs import RAW, CodecRegistry
from shared.codecs.spec import MAX_TENSOR_BYTES, Array, Buffer, TensorSpec, gather

VERSION: Final = 1
_MAGIC: Final = b"SGC"
# Whole multiples of 16 bytes keep the elements of the body aligned, so that numpy can view them without a copy.
_ALIGNMENT_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class EncodedTensor:
    """An encoded tensor, ready to send.

    Attributes:
        codec: name of the codec.
        spec: type and shape of the tensor.
        pieces: payload, in buffers of single bytes.
    """

    codec: str
    spec: TensorSpec
    pieces: tuple[Buffer, ...]

    @property
    def size_bytes(self) -> int:
        """Size of the payload in bytes."""
        return sum(len(piece) for piece in self.pieces)

    def payload(self) -> Buffer:
        """Return the payload in one buffer; a single piece is not copied."""
        return self.pieces[0] if len(self.pieces) == 1 else gather(self.pieces)


@dataclass(frozen=True, slots=True)
class ReceivedTensor:
    """A payload whose preamble and size fit its header; no memory has been allocated for the tensor."""

    codec: Codec
    spec: TensorSpec
    body: memoryview

    def decode(self) -> Array:
        """Return the tensor; a raw one shares the payload's memory.

        Raises:
            CodecError: the codec cannot have made this body.
        """
        return self.codec.decode(self.body, self.spec)


def seal(codec: Codec, spec: TensorSpec, body: Sequence[Buffer]) -> EncodedTensor:
    """Return the encoded tensor with a given body, preceded by the preamble."""
    lead: tuple[Buffer, ...] = () if codec.name == RAW else (_preamble(codec.name),)
    return EncodedTensor(codec.name, spec, (*lead, *body))


def encode_tensor(tensor: Array, codec: Codec) -> EncodedTensor:
    """Encode a tensor.

    Raises:
        CodecError: the codec supports no such tensors, or cannot represent a value of this one.
    """
    spec = TensorSpec.of(tensor)
    if not codec.supports(spec):
        raise CodecError(f"{codec.name} does not carry {spec.dtype.name} tensors")
    return seal(codec, spec, codec.encode(tensor))


def open_tensor(
    codec: str,
    dtype: str,
    shape: Sequence[int],
    payload: Buffer,
    registry: CodecRegistry,
    *,
    limit_bytes: int = MAX_TENSOR_BYTES,
) -> ReceivedTensor:
    """Check a payload against its header, before memory is allocated for the tensor.

    Args:
        codec: name of the codec, from the header.
        dtype: element type, from the header.
        shape: shape, from the header.
        payload: preamble and body; a buffer of single bytes.
        registry: known codecs.
        limit_bytes: largest accepted raw size.

    Raises:
        CodecError: the codec is unknown, the description is invalid, or the payload does not fit it.
    """
    spec = TensorSpec.read(dtype, shape, limit_bytes=limit_bytes)
    found = registry.find(codec)
    if not found.supports(spec):
        raise CodecError(f"{found.name} does not carry {spec.dtype.name} tensors")
    # Read-only, because a raw tensor shares the payload's memory.
    view = memoryview(payload).toreadonly()
    body = view if found.name == RAW else view[_preamble_length(view, found.name) :]
    least, largest = found.size_bounds(spec)
    if not least <= len(body) <= largest:
        expected = str(least) if least == largest else f"{least} to {largest}"
        raise CodecError(f"{found.name}: {len(body)} bytes for a tensor that takes {expected}")
    return ReceivedTensor(found, spec, body)


def decode_tensor(
    codec: str,
    dtype: str,
    shape: Sequence[int],
    payload: Buffer,
    registry: CodecRegistry,
    *,
    limit_bytes: int = MAX_TENSOR_BYTES,
) -> Array:
    """Check a payload as `open_tensor` does, and decode it.

    Raises:
        CodecError: the payload does not fit its header, or does not decode.
    """
    return open_tensor(codec, dtype, shape, payload, registry, limit_bytes=limit_bytes).decode()


def _preamble(name: str) -> bytes:
    plain = _MAGIC + bytes([VERSION, len(name)]) + name.encode("ascii")
    return plain + bytes(-len(plain) % _ALIGNMENT_BYTES)


def _preamble_length(view: memoryview, name: str) -> int:
    # The preamble repeats the codec's name: a payload that was mixed up with another header does not decode silently.
    expected = _preamble(name)
    found = bytes(view[: len(expected)])
    if found == expected:
        return len(expected)
    if not found.startswith(_MAGIC):
        raise CodecError("the payload does not begin with a codec's preamble")
    if found[len(_MAGIC) : len(_MAGIC) + 1] != bytes([VERSION]):
        raise CodecError(f"the payload is not of version {VERSION}")
    raise CodecError(f"the payload was not encoded by {name}, which its header names")
