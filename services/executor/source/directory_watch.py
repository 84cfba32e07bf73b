"""A directory whose files, images and tensors, become requests, each once, also across restarts."""

import asyncio
import hashlib
import logging
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from services.executor.source.journal import Journal
from services.executor.source.journal_thread import JournalThread

_LOGGER = logging.getLogger(__name__)

Submit = Callable[[str, bytes], Awaitable[None]]
"""Brings a request: its id and its bytes. Waits while the source has no room."""

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".npy", ".msgpack", ".bin"})
_INTERVAL_S = 0.5
_MAX_FILE_BYTES = 64 * 1024 * 1024
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True, order=True)
class Sighting:
    """A file as it was seen; `stamp` differs when it was written again."""

    name: str
    stamp: str


@dataclass(slots=True)
class DirectoryState:
    """Which files of a directory are new and whole. Pure.

    A file is taken when two looks in a row find it the same: until then it may still be written.
    """

    taken: dict[str, str]
    _before: set[Sighting] = field(default_factory=set, init=False)

    def look(self, seen: set[Sighting]) -> tuple[list[Sighting], list[str]]:
        """Take what is there now; return the files to submit, by name, and the names of taken files that are gone."""
        fresh = sorted(each for each in seen & self._before if self.taken.get(each.name) != each.stamp)
        self._before = seen
        gone = sorted(self.taken.keys() - {each.name for each in seen})
        for name in gone:
            del self.taken[name]
        return fresh, gone

    def take(self, sighting: Sighting) -> None:
        """Note that a file was submitted."""
        self.taken[sighting.name] = sighting.stamp


async def watch_directory(directory: Path, stream: str, journal: JournalThread, submit: Submit) -> None:
    """Submit the images and tensors of `directory` for ever, those that are there already first, by their names.

    Args:
        directory: looked at twice a second; files in it stay as they are.
        stream: whose requests they become.
        journal: remembers which were taken.
        submit: takes a request over durably before it returns, or soon after.
    """
    state = DirectoryState(await journal.read(lambda book: book.watched(stream)) or {})
    _LOGGER.info("watching %s for stream %s", directory, stream)
    while True:
        seen = await asyncio.to_thread(list_files, directory)
        fresh, gone = state.look(seen)
        for sighting in fresh:
            payload = await asyncio.to_thread(_read, directory / sighting.name)
            if payload is None:
                state.take(sighting)  # Said once; it is looked at again when it was written again.
                continue
            await submit(request_id(sighting), payload)
            state.take(sighting)
            await journal.write(partial(_note, stream, sighting))
        if gone:
            await journal.write(partial(_forget, stream, gone))
        await asyncio.sleep(_INTERVAL_S)


def list_files(directory: Path) -> set[Sighting]:
    """Return the images and tensors of a directory, hidden files left out; nothing if it cannot be read."""
    found = set()
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith(".") or Path(entry.name).suffix.lower() not in _SUFFIXES:
                    continue
                if entry.is_file():
                    status = entry.stat()
                    found.add(Sighting(entry.name, f"{status.st_mtime_ns}-{status.st_size}"))
    except OSError as error:
        _LOGGER.debug("%s cannot be read: %s", directory, error)
    return found


def request_id(sighting: Sighting) -> str:
    """Return the same id for the same file in the same state, readable where its name allows it."""
    stem = _UNFIT.sub("_", Path(sighting.name).stem)[:64].lstrip("_.-") or "file"
    digest = hashlib.sha256(f"{sighting.name}\0{sighting.stamp}".encode(errors="surrogatepass")).hexdigest()
    return f"{stem}-{digest[:12]}"


def _note(stream: str, sighting: Sighting, journal: Journal) -> None:
    journal.note_watched(stream, sighting.name, sighting.stamp)


def _forget(stream: str, names: list[str], journal: Journal) -> None:
    journal.forget_watched(stream, names)


def _read(path: Path) -> bytes | None:
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            _LOGGER.warning("%s is larger than %d bytes and left out", path, _MAX_FILE_BYTES)
            return None
        return path.read_bytes()
    except OSError as error:
        _LOGGER.warning("%s cannot be read: %s", path, error)
        return None
