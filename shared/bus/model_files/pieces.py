"""Division of a model's file into pieces with a SHA-256 each, so that a part of it can be fetched and verified."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.messages.models import Manifest

_READ_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes ``[start, stop)`` of a file."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class PieceDigests:
    """The pieces of a file. A file that is verified only as a whole has one piece.

    Attributes:
        size_bytes: size of the file.
        piece_bytes: length of every piece except the last, which may be shorter.
        sha256: digests of the pieces, in their order.
    """

    size_bytes: int
    piece_bytes: int
    sha256: tuple[bytes, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> "PieceDigests":
        """Return the pieces of a model's file; one piece if its manifest lists none."""
        if manifest.packing is None:
            return cls(manifest.size_bytes, max(1, manifest.size_bytes), (bytes.fromhex(manifest.model),))
        return cls(manifest.size_bytes, manifest.packing.piece_bytes, manifest.packing.digests)

    def ranges(self) -> Iterator[ByteRange]:
        """Yield the bytes of each piece."""
        for index in range(len(self.sha256)):
            yield ByteRange(index * self.piece_bytes, min((index + 1) * self.piece_bytes, self.size_bytes))

    def covering(self, wanted: Iterable[ByteRange]) -> tuple[ByteRange, ...]:
        """Return the pieces that contain some bytes, as ascending ranges that do not touch."""
        aligned = (
            ByteRange(
                piece.start // self.piece_bytes * self.piece_bytes,
                min(-(-piece.stop // self.piece_bytes) * self.piece_bytes, self.size_bytes),
            )
            for piece in wanted
            if piece.start < piece.stop
        )
        return merge_ranges(aligned)

    def damaged(self, path: Path, within: Iterable[ByteRange]) -> tuple[ByteRange, ...]:
        """Return the pieces that have another digest in a file, among those in `within`. Reads the file.

        Args:
            path: the file; it may have holes, which are not read.
            within: whole pieces.

        Raises:
            OSError: the file cannot be read.
        """
        merged = merge_ranges(within)
        with path.open("rb") as file:
            return merge_ranges(
                piece
                for piece, digest in zip(self.ranges(), self.sha256, strict=True)
                if any(part.start <= piece.start and piece.stop <= part.stop for part in merged)
                and _digest(file.fileno(), piece) != digest
            )


def digest_pieces(path: Path, piece_bytes: int) -> tuple[bytes, ...]:
    """Return the SHA-256 of the pieces of a file, each of `piece_bytes` except the last."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        digests = (
            _digest(file.fileno(), ByteRange(start, min(start + piece_bytes, size_bytes)))
            for start in range(0, size_bytes, piece_bytes)
        )
        return tuple(digest for digest in digests if digest is not None)


def merge_ranges(ranges: Iterable[ByteRange]) -> tuple[ByteRange, ...]:
    """Return the union of byte ranges as ascending ranges that do not touch."""
    merged: list[ByteRange] = []
    for piece in sorted(ranges, key=lambda each: each.start):
        if piece.start >= piece.stop:
            continue
        if merged and piece.start <= merged[-1].stop:
            merged[-1] = ByteRange(merged[-1].start, max(merged[-1].stop, piece.stop))
        else:
            merged.append(piece)
    return tuple(merged)


def subtract_ranges(ranges: Iterable[ByteRange], taken: Iterable[ByteRange]) -> tuple[ByteRange, ...]:
    """Return the bytes of `ranges` that are not in `taken`, as ascending ranges that do not touch."""
    left: list[ByteRange] = []
    holes = merge_ranges(taken)
    for piece in merge_ranges(ranges):
        start = piece.start
        for hole in holes:
            if hole.stop <= start or hole.start >= piece.stop:
                continue
            left.append(ByteRange(start, hole.start))
            start = hole.stop
        left.append(ByteRange(start, piece.stop))
    return merge_ranges(left)


def count_bytes(ranges: Iterable[ByteRange]) -> int:
    """Return the number of bytes in ranges that do not overlap."""
    return sum(piece.stop - piece.start for piece in ranges)


def _digest(descriptor: int, piece: ByteRange) -> bytes | None:
    """Return the SHA-256 of a piece; None if nothing was ever written there, or the file ends before."""
    try:
        if piece.start < piece.stop and os.lseek(descriptor, piece.start, os.SEEK_DATA) >= piece.stop:
            return None
    except OSError:  # Behind the last data of the file.
        return None
    digest, position = hashlib.sha256(), piece.start
    while position < piece.stop:
        part = os.pread(descriptor, min(_READ_BYTES, piece.stop - position), position)
        if not part:
            return None
        digest.update(part)
        position += len(part)
    return digest.digest()
