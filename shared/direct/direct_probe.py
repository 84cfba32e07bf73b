"""Frames that measure a direct link: an id and padding, which the receiver acknowledges and drops."""

import os
import secrets
from typing import Final

from shared.bus.frame import Buffer

# A feature map begins with a msgpack map, whose first byte is above 0x7f.
_MAGIC: Final = b"SGDPROBE"
_ID_BYTES: Final = 16
_HEADER_BYTES: Final = len(_MAGIC) + _ID_BYTES
_BLOCK_BYTES: Final = 64 * 1024


class ProbeFrames:
    """Makes the frames of probes."""

    def __init__(self) -> None:
        """Make the padding."""
        # Random, because a carrier may compress it. Repeated in a frame, since compressors look back no further.
        self._block = memoryview(os.urandom(_BLOCK_BYTES))

    def make(self, padding_bytes: int) -> tuple[str, list[Buffer]]:
        """Return a new id, by which the receipt is known, and the pieces of a frame with this padding."""
        probe_id = secrets.token_bytes(_ID_BYTES)
        whole, rest = divmod(padding_bytes, _BLOCK_BYTES)
        return probe_id.hex(), [_MAGIC + probe_id, *[self._block] * whole, self._block[:rest]]


def read_probe(frame: memoryview) -> str | None:
    """Return the id of a probe; None for another frame."""
    header = bytes(frame[:_HEADER_BYTES])
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        return None
    return header[len(_MAGIC) :].hex()
