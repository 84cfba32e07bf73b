"""Watched directories: images and tensors become requests, each once, also across restarts."""

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
from shared.messages.requests import PICTURE_SUFFIXES, TENSOR_SUFFIXES

_LOGGER = logging.getLogger(__name__)

_SUFFIXES = frozenset({*PICTURE_SUFFIXES, *TENSOR_SUFFIXES})
# Pause between two scans; a file counts as complete after one pause without a change.
_INTERVAL_S = 0.5
_MAX_FILE_BYTES = 64 * 1024 * 1024
# Characters that a request id may not have.
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True, order=True)
class Sighting:
    """A file with the time and size of its last change (`stamp`)."""

    name: str
    stamp: str


@dataclass(slots=True)
class DirectoryState:
    """Finds the files of a directory that are new and complete.

    A file counts as complete when two scans in a row find it unchanged; until then it may still be written.

    Attributes:
        taken: stamps of the submitted files by name.
    """

    taken: dict[str, str]
    _before: set[Sighting] = field(default_factory=set, init=False)

    def scan(self, seen: set[Sighting]) -> tuple[list[Sighting], list[str]]:
        """Take the files that exist now; return those to submit, by name, and the names of submitted files now gone."""
        fresh = sorted(file for file in seen & self._before if self.taken.get(file.name) != file.stamp)
        self._before = seen
        gone = sorted(self.taken.keys() - {file.name for file in seen})
        for name in gone:
            del self.taken[name]
        return fresh, gone

    def take(self, sighting: Sighting) -> None:
        """Record that a file was submitted."""
        self.taken[sighting.name] = sighting.stamp


async def watch_directory(
    directory: Path, stream: str, journal: JournalThread, submit: Callable[[str, bytes], Awaitable[None]]
) -> None:
    """Submit the images and tensors of `directory` until cancelled, in the order of their names.

    Args:
        directory: scanned twice a second; the files in it are not changed.
        stream: stream of the requests.
        journal: records the submitted files.
        submit: takes the id and the payload of a request; returns when the request is accepted durably.
    """
    state = DirectoryState(await journal.read(lambda opened: opened.watched(stream)) or {})
    _LOGGER.info("watching %s for stream %s", directory, stream)
    while True:
        seen = await asyncio.to_thread(list_files, directory)
        fresh, gone = state.scan(seen)
        for sighting in fresh:
            payload = await asyncio.to_thread(_read, directory / sighting.name)
            if payload is None:
                state.take(sighting)  # Logged once; tried again only after another change of the file.
                continue
            # Recorded after it is accepted. After a crash in between, the file is submitted again under the same id,
            # which the source recognises.
            await submit(request_id(sighting), payload)
            state.take(sighting)
            await journal.write(partial(_note, stream, sighting))
        if gone:
            await journal.write(partial(_forget, stream, gone))
        await asyncio.sleep(_INTERVAL_S)


def list_files(directory: Path) -> set[Sighting]:
    """Return the images and tensors of a directory, without hidden files; empty if it cannot be read."""
    files = set()
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name.startswith(".") or Path(entry.name).suffix.lower() not in _SUFFIXES:
                    continue
                if entry.is_file():
                    status = entry.stat()
                    files.add(Sighting(entry.name, f"{status.st_mtime_ns}-{status.st_size}"))
    except OSError as error:
        _LOGGER.debug("%s cannot be read: %s", directory, error)
    return files


def request_id(sighting: Sighting) -> str:
    """Return the request id of a file: the same for an unchanged file, and readable if its name allows it."""
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
            _LOGGER.warning("%s is larger than %d bytes and is not submitted", path, _MAX_FILE_BYTES)
            return None
        return path.read_bytes()
    except OSError as error:
        _LOGGER.warning("%s cannot be read: %s", path, error)
        return None
