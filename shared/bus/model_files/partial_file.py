"""Files that have been received in part: one gets its name when it is whole, one is used with holes."""

import json
import os
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path

from shared.bus.model_files.pieces import ByteRange, PieceDigests, count_bytes, merge_ranges, subtract_ranges


class ReceivedFile(ABC):
    """A file that is being received. Methods block; any thread may call them.

    Attributes:
        path: path of the bytes.
        pieces: digests of the file.
        received: ranges that have been written.
    """

    def __init__(self, path: Path, pieces: PieceDigests, received: tuple[ByteRange, ...]) -> None:
        """Open or make the file at `path`, which holds the ranges `received`."""
        self.path = path
        self.pieces = pieces
        self.received = received
        self._lock = threading.Lock()
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def write(self, offset: int, data: bytes) -> None:
        """Write a chunk. Do nothing once the file is closed."""
        with self._lock:
            if self._descriptor is None:
                return
            # `pwrite` may write less than it is given.
            view, position = memoryview(data), offset
            while view:
                written = os.pwrite(self._descriptor, view, position)
                position, view = position + written, view[written:]
            self.received = merge_ranges((*self.received, ByteRange(offset, position)))
            self._note()

    def discard(self, ranges: Iterable[ByteRange]) -> None:
        """Forget ranges whose bytes are wrong."""
        with self._lock:
            self.received = subtract_ranges(self.received, ranges)
            self._note()

    def damaged(self, within: Iterable[ByteRange]) -> tuple[ByteRange, ...]:
        """Return the pieces that have another SHA-256 than they should."""
        return self.pieces.damaged(self.path, within)

    def close(self) -> None:
        """Close the file. It stays on the disk for the next attempt."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    @abstractmethod
    def keep(self) -> None:
        """Keep what was received and verified, also after a power cut."""

    @abstractmethod
    def _note(self) -> None:
        """Note the ranges that have been received; called with the lock after each change."""

    def _sync(self) -> None:
        if self._descriptor is not None:
            os.fsync(self._descriptor)


class PartialFile(ReceivedFile):
    """A file that gets its name when it is whole, and a note of its received ranges beside it.

    Invariant: `received` and the note change together under the lock. After a crash the note may lack the last chunk,
    which is then fetched again. After a power cut it may list bytes that were not written, which the SHA-256 reveals.
    """

    def __init__(
        self, path: Path, pieces: PieceDigests, received: tuple[ByteRange, ...], *, target: Path, note: Path
    ) -> None:
        """Open or make the file at `path`, which becomes `target`."""
        super().__init__(path, pieces, received)
        self.target = target
        self.note = note

    @classmethod
    def open(cls, target: Path, receiver: str, pieces: PieceDigests) -> "PartialFile":
        """Open or make the partial file for `target`.

        Raises:
            OSError: there is too little space, or the folder cannot be written.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{receiver}.part")
        note = partial.with_name(f"{partial.name}.ranges")
        received = _read_ranges(note) if partial.exists() else ()
        require_space(target.parent, pieces.size_bytes - count_bytes(received))
        return cls(partial, pieces, received, target=target, note=note)

    def keep(self) -> None:
        """Move the complete file to its final path."""
        with self._lock:
            # Before the rename, or a power cut could leave an empty file under the final name.
            self._sync()
            self.path.replace(self.target)
            self.note.unlink(missing_ok=True)

    def _note(self) -> None:
        """Replace the note. The rename is atomic: no reader finds half a note."""
        temporary = self.note.with_name(f"{self.note.name}.new")
        temporary.write_text(json.dumps([[piece.start, piece.stop] for piece in self.received]))
        temporary.replace(self.note)


class SparseFile(ReceivedFile):
    """A file of which only some pieces are needed, with holes for the rest.

    It needs no note: a piece is there if its SHA-256 is right. So processes may fill one file together, since they
    write the same bytes.
    """

    @classmethod
    def open(cls, path: Path, pieces: PieceDigests, wanted: Iterable[ByteRange]) -> "SparseFile":
        """Open or make the file, and find the wanted pieces that are there. Reads them.

        Raises:
            OSError: there is too little space, or the folder cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        needed = pieces.covering(wanted)
        missing = pieces.damaged(path, needed) if path.exists() else needed
        require_space(path.parent, count_bytes(missing))
        return cls(path, pieces, subtract_ranges(needed, missing))

    def keep(self) -> None:
        """Write the pieces to the disk."""
        with self._lock:
            self._sync()

    def _note(self) -> None:
        """Note nothing."""


def require_space(folder: Path, needed_bytes: int) -> None:
    """Check that a folder's disk has room.

    Raises:
        OSError: it has not.
    """
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        raise OSError(f"{needed_bytes} bytes are needed and {free_bytes} are free")


def _read_ranges(note: Path) -> tuple[ByteRange, ...]:
    try:
        return tuple(ByteRange(int(start), int(stop)) for start, stop in json.loads(note.read_text()))
    except (OSError, ValueError, TypeError):
        return ()
