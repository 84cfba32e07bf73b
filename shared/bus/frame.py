"""Wire format of feature maps: a msgpack header and raw tensors, decoded without copying them.

A frame is a sequence of msgpack objects, one map and then one bin per tensor. Any msgpack reader can read it:

    frame  = header tensor*
    header = map {str: any}; the key "_pad" holds filler, so that the first tensor's bytes begin at a multiple of 16
    tensor = 0xc6, length as uint32 big-endian, the bytes        (bin 32; bin 8 and bin 16 are read as well)
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgpack

from shared.bus.errors import DecodeError

Buffer = bytes | bytearray | memoryview

MAX_HEADER_BYTES = 1024 * 1024
MAX_TENSORS = 1024
# Received tensors are used where they lie in the buffer: aligned for vector instructions of 16 bytes.
ALIGNMENT_BYTES = 16
_PAD_KEY = "_pad"
# Headers are small: most are decoded from the first piece, and a tensor is never fed to the unpacker.
_FIRST_READ_BYTES = 4096
# Bound on the elements of an array or a map in a header: five bytes may declare 2**32 of them.
_MAX_ELEMENTS = 8192
# First byte and length of a msgpack bin 32; below, the length fields of bin 8, bin 16 and bin 32.
_BIN32 = struct.Struct(">BI")
_BIN_LENGTHS: Mapping[int, struct.Struct] = {
    0xC4: struct.Struct(">B"),
    0xC5: struct.Struct(">H"),
    0xC6: struct.Struct(">I"),
}


def encode_frame(header: Mapping[str, Any], tensors: Sequence[Buffer]) -> list[Buffer]:
    """Encode a frame as pieces. The tensors are referenced, not copied.

    Args:
        header: anything that msgpack encodes, with text keys. The key "_pad" is reserved.
        tensors: contiguous buffers. The header describes their contents.

    Returns:
        Buffers that form the frame when they are written one after the other.

    Raises:
        ValueError: the header is larger than `MAX_HEADER_BYTES`, or a tensor is 4 GiB or more.
        TypeError: msgpack cannot encode the header.
    """
    if _PAD_KEY in header:
        raise ValueError(f"the header key {_PAD_KEY!r} is reserved for alignment")
    if len(tensors) > MAX_TENSORS:
        raise ValueError(f"{len(tensors)} tensors in one frame; at most {MAX_TENSORS}")
    plain: bytes = msgpack.packb({**header, _PAD_KEY: b""})
    lead = len(plain) + _BIN32.size
    # Filler shorter than 16 bytes does not change the width of its own length field, so one correction is enough.
    filler = bytes(-lead % ALIGNMENT_BYTES)
    packed = plain if not filler else msgpack.packb({**header, _PAD_KEY: filler})
    if len(packed) > MAX_HEADER_BYTES:
        raise ValueError(f"the frame's header has {len(packed)} bytes; at most {MAX_HEADER_BYTES}")
    pieces: list[Buffer] = []
    pending = packed
    for tensor in tensors:
        view = memoryview(tensor).cast("B")
        if view.nbytes > 0xFFFFFFFF:
            raise ValueError(f"a tensor of {view.nbytes} bytes does not fit a frame: 4 GiB and more must be split")
        pieces.append(pending + _BIN32.pack(0xC6, view.nbytes))
        pieces.append(view)
        pending = b""
    return pieces or [packed]


def decode_frame(buffer: Buffer) -> tuple[dict[str, Any], list[memoryview]]:
    """Decode a frame without copying its tensors.

    Args:
        buffer: the whole frame.

    Returns:
        The header, and one read-only view into `buffer` per tensor.

    Raises:
        DecodeError: the buffer is not a frame, or exceeds a bound.
    """
    view = memoryview(buffer).cast("B").toreadonly()
    header, position = _decode_header(view)
    tensors: list[memoryview] = []
    while position < len(view):
        if len(tensors) == MAX_TENSORS:
            raise DecodeError(f"more than {MAX_TENSORS} tensors in one frame")
        start, stop = _tensor_bounds(view, position)
        tensors.append(view[start:stop])
        position = stop
    return header, tensors


def frame_size_bytes(pieces: Sequence[Buffer]) -> int:
    """Return the number of bytes of a frame on the wire."""
    return sum(memoryview(piece).nbytes for piece in pieces)


def _decode_header(view: memoryview) -> tuple[dict[str, Any], int]:
    unpacker = msgpack.Unpacker(
        raw=False,
        strict_map_key=True,
        max_buffer_size=MAX_HEADER_BYTES,
        max_array_len=_MAX_ELEMENTS,
        max_map_len=_MAX_ELEMENTS,
    )
    fed, size = 0, _FIRST_READ_BYTES
    while True:
        piece = view[fed : min(size, MAX_HEADER_BYTES)]
        if not piece:
            fault = "cut short" if fed == len(view) else f"longer than {MAX_HEADER_BYTES} bytes"
            raise DecodeError(f"the frame's header is {fault}")
        unpacker.feed(piece)
        fed += len(piece)
        try:
            header = unpacker.unpack()
            break
        except msgpack.OutOfData:
            size *= 4
        except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as exc:
            raise DecodeError(f"the frame's header is not msgpack: {exc or type(exc).__name__}") from None
    if not isinstance(header, dict) or not all(isinstance(key, str) for key in header):
        raise DecodeError("the frame does not begin with a map with text keys")
    header.pop(_PAD_KEY, None)
    return header, unpacker.tell()


def _tensor_bounds(view: memoryview, position: int) -> tuple[int, int]:
    length_format = _BIN_LENGTHS.get(view[position])
    if length_format is None:
        raise DecodeError(f"byte 0x{view[position]:02x} where a tensor should begin")
    start = position + 1 + length_format.size
    if start > len(view):
        raise DecodeError("a tensor's length is cut short")
    (length,) = length_format.unpack_from(view, position + 1)
    if length > len(view) - start:
        raise DecodeError(f"a tensor of {length} bytes is declared, {len(view) - start} are there")
    return start, start + length
