"""A file of which some byte ranges have been received, and a note of them that survives a crash."""

import hashlib
import json
import os
import shutil
import threading
from pathlib import Path

from shared.bus.model_transfer import ByteRange, merge_ranges


class PartialFile:
    """A partly received file, and the note of its received ranges beside it. Methods block; any thread may call them.

    Invariant: `received` and the note change together under the lock. After a crash the note may lack the last chunk,
    which is then fetched again. After a power cut it may list bytes that were not written, which the SHA-256 reveals.
    """

    def __init__(self, path: Path, note: Path, received: tuple[ByteRange, ...]) -> None:
        """Open or make the file at `path`, which holds the ranges `received`."""
        self.path = path
        self.note = note
        self.received = received
        self._lock = threading.Lock()
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    @classmethod
    def open(cls, path: Path, receiver: str, size_bytes: int) -> "PartialFile":
        """Open or make the partial file for `path`.

        Raises:
            OSError: there is too little space, or the folder cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{receiver}.part")
        note = partial.with_name(f"{partial.name}.ranges")
        received = _read_ranges(note) if partial.exists() else ()
        missing = size_bytes - sum(piece.stop - piece.start for piece in received)
        free = shutil.disk_usage(path.parent).free
        if missing > free:
            raise OSError(f"{missing} bytes are needed and {free} are free")
        return cls(partial, note, received)

    def write(self, offset: int, data: bytes) -> None:
        """Write a chunk and update the note. Do nothing once the file is closed."""
        with self._lock:
            if self._descriptor is None:
                return
            # `pwrite` may write less than it is given.
            view, position = memoryview(data), offset
            while view:
                written = os.pwrite(self._descriptor, view, position)
                position, view = position + written, view[written:]
            # The note follows the data: a crash in between costs one chunk.
            self.received = merge_ranges((*self.received, ByteRange(offset, position)))
            self._save()

    def discard(self) -> None:
        """Empty the file and remove the note."""
        with self._lock:
            os.truncate(self.path, 0)
            self.received = ()
            self.note.unlink(missing_ok=True)

    def digest(self) -> str:
        """Return the SHA-256 of the bytes, in hexadecimal."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def keep(self, path: Path) -> None:
        """Move the complete file to its final path."""
        with self._lock:
            if self._descriptor is not None:
                # Before the rename, or a power cut could leave an empty file under the final name.
                os.fsync(self._descriptor)
            self.path.replace(path)
            self.note.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file. It stays on the disk for the next attempt."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _save(self) -> None:
        """Replace the note. The rename is atomic: no reader finds half a note."""
        temporary = self.note.with_name(f"{self.note.name}.new")
        temporary.write_text(json.dumps([[piece.start, piece.stop] for piece in self.received]))
        temporary.replace(self.note)


def _read_ranges(note: Path) -> tuple[ByteRange, ...]:
    try:
        return tuple(ByteRange(int(start), int(stop)) for start, stop in json.loads(note.read_text()))
    except (OSError, ValueError, TypeError):
        return ()
