"""Files of large payloads beside the journal: one for each pending request.

SQLite writes a payload of 600 kB as 150 pages into its log, copies them into the database, and frees them again. A file
takes a quarter of that processor time, and most files are gone before the system writes them to the disk. Like the
journal, a file survives SIGKILL and is not synchronised when it is written; `sync` is called before every checkpoint.
"""

import contextlib
import logging
import os
import secrets
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOGGER = logging.getLogger(__name__)

# Smaller payloads are as quick in the database.
MIN_FILE_BYTES: Final = 64 * 1024
_UNFINISHED: Final = ".new"


@dataclass(frozen=True, slots=True)
class PayloadFile:
    """A payload in a file, as the journal notes it.

    Attributes:
        name: of the file.
        size_bytes: of the payload.
        crc32: of the payload.
    """

    name: str
    size_bytes: int
    crc32: int


class PayloadFiles:
    """The files of one journal. `sync` may run on another thread than the rest.

    Changes follow the journal's transactions: a file is there before its row, and goes after its row. Invariant: a file
    whose row is committed is whole. `_written` and `_obsolete` are the files that the open transaction has made, and
    those whose rows it deletes.
    """

    def __init__(self, folder: Path) -> None:
        """Use a folder, which is made with the first file."""
        self._folder = folder
        self._written: list[str] = []
        self._obsolete: list[str] = []
        # Files that the last `sync` has found.
        self._synchronised: frozenset[str] = frozenset()

    def write(self, payload: bytes | memoryview) -> PayloadFile | None:
        """Write a payload; None if it is small, or if the disk or the system refuses, which leaves nothing behind."""
        if len(payload) < MIN_FILE_BYTES:
            return None
        name = secrets.token_hex(8)
        unfinished = self._folder / f"{name}{_UNFINISHED}"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb", 0) as file:
                written = file.write(payload)
            if written != len(payload):
                raise OSError(f"{written} of {len(payload)} bytes written")
            unfinished.rename(self._folder / name)
        except OSError as error:
            # The database takes the payload then, or says what is wrong with the disk.
            _LOGGER.debug("no file for a payload: %s", error)
            self._remove(unfinished.name)
            return None
        self._written.append(name)
        return PayloadFile(name, len(payload), zlib.crc32(payload))

    def read(self, file: PayloadFile) -> bytes | None:
        """Return a payload; None if its file is missing or damaged, as after a power cut."""
        try:
            payload = (self._folder / file.name).read_bytes()
        except FileNotFoundError:
            return None
        return payload if (len(payload), zlib.crc32(payload)) == (file.size_bytes, file.crc32) else None

    def holds(self, file: PayloadFile) -> bool:
        """Return whether the file of a payload is there."""
        return (self._folder / file.name).exists()

    def discard(self, name: str) -> None:
        """Remove a file when the transaction that deletes its row is committed."""
        self._obsolete.append(name)

    def committed(self) -> None:
        """Remove the files whose rows are gone."""
        for name in self._obsolete:
            self._remove(name)
        self._written, self._obsolete = [], []

    def rolled_back(self) -> None:
        """Remove the files whose rows have not come to be."""
        for name in self._written:
            self._remove(name)
        self._written, self._obsolete = [], []

    def keep_only(self, names: Collection[str]) -> None:
        """Remove every file but these: a killed process leaves files without rows."""
        for name in self._present() - set(names):
            self._remove(name)

    def sync(self) -> None:
        """Write the files to the disk that the last call has not found.

        Raises:
            OSError: the disk fails.
        """
        present = frozenset(name for name in self._present() if not name.endswith(_UNFINISHED))
        for name in present - self._synchronised:
            with contextlib.suppress(FileNotFoundError), open(self._folder / name, "rb", 0) as file:
                os.fsync(file.fileno())
        self._synchronised = present

    def _present(self) -> set[str]:
        try:
            return set(os.listdir(self._folder))
        except FileNotFoundError:
            return set()

    def _remove(self, name: str) -> None:
        # A file that stays is removed at the next start.
        with contextlib.suppress(OSError):
            (self._folder / name).unlink()
