"""Model files over the bus: fetch one, serve a library. The waiting and writing around `shared.bus.model_transfer`."""

import asyncio
import hashlib
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shared.bus import topics
from shared.bus.connection import Connection, Received, unique_client_id
from shared.bus.errors import BusError
from shared.bus.model_transfer import (
    MAX_PULL_BYTES,
    STALL_S,
    Arrived,
    ByteRange,
    DiscardFile,
    Finish,
    GiveUp,
    ModelDownload,
    ModelTransferError,
    SendPull,
    Started,
    TransferCommand,
    TransferEvent,
    TransferTicked,
    Verified,
    VerifyFile,
    WriteChunk,
    chunk_for,
    merge_ranges,
    refusal_for,
)
from shared.bus.settings import BusSettings
from shared.messages.base import MessageError
from shared.messages.models import Manifest, ModelChunk, Pull

logger = logging.getLogger(__name__)

Locate = Callable[[str], Path | None]
"""Finds the file of a model by its SHA-256; None if the library does not have it."""

OnProgress = Callable[[int, int], None]
"""Is told the bytes received and the bytes of the whole."""

_SERVING_TASKS = 4


async def fetch_model(
    settings: BusSettings,
    manifest: Manifest,
    *,
    receiver: str,
    path: Path,
    provider: str | None = None,
    on_progress: OnProgress | None = None,
    stall_s: float = STALL_S,
) -> Path:
    """Fetch a model's file on a connection of its own, verified, resuming what an earlier attempt left.

    A file that is already at `path` and has the right SHA-256 is taken as it is. Memory does not grow with the model.

    Args:
        settings: where the broker is.
        manifest: which model, how large, and who provides it.
        receiver: name of the one who asks; two fetches of one model at the same time need two names.
        path: where the file shall be; beside it lie `NAME.RECEIVER.part` and its ranges until it is whole.
        provider: who is asked, if not the manifest's provider.
        on_progress: told after every chunk.
        stall_s: how long nothing may come before pulls are repeated; six times in a row end the attempt.

    Returns:
        `path`.

    Raises:
        ModelTransferError: the provider is gone or refuses, the bytes are wrong twice, or the disk is full.
        BrokerUnreachable: the broker cannot be reached.
        AccessRefused: the broker refuses.
    """
    try:
        if await asyncio.to_thread(_has_digest, path, manifest.model):
            return path
        async with Connection.open(settings, client_id=unique_client_id(f"{receiver}-fetch")) as connection:
            partial = await asyncio.to_thread(PartialFile.open, path, receiver, manifest.size_bytes)
            download = ModelDownload(
                manifest.model, receiver, manifest.size_bytes, received=partial.received, stall_s=stall_s
            )
            fetch = _Fetch(connection, manifest, provider or manifest.provider, path, partial, download, on_progress)
            try:
                await fetch.run()
            finally:
                await asyncio.shield(asyncio.to_thread(partial.close))
    except OSError as error:
        raise ModelTransferError(f"cannot store model {manifest.name} at {path}: {error.strerror or error}") from error
    return path


async def serve_models(connection: Connection, provider: str, locate: Locate) -> None:
    """Answer pulls from `provider` for ever, a bounded number at a time.

    Args:
        connection: used for nothing else, so that control messages never wait behind models.
        provider: name under which the models are pulled.
        locate: finds a model's file; called off the event loop.
    """
    await connection.subscribe(topics.pulls("+", provider))
    async with asyncio.TaskGroup() as group:
        for number in range(_SERVING_TASKS):
            group.create_task(_serve(connection, locate), name=f"serve models {number}")


class PartialFile:
    """A file of which some ranges have been received, and the note of which. Its methods block; any thread may call."""

    def __init__(self, path: Path, note: Path, received: tuple[ByteRange, ...]) -> None:
        """Open or make the file at `path`, of which `received` is there."""
        self.path = path
        self.note = note
        self.received = received
        self._lock = threading.Lock()
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    @classmethod
    def open(cls, path: Path, receiver: str, size_bytes: int) -> "PartialFile":
        """Open or make the partial file of what shall be at `path`.

        Raises:
            OSError: the disk is too full, or the folder cannot be written.
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
        """Write a chunk and note it. Does nothing once the file is closed."""
        with self._lock:
            if self._descriptor is None:
                return
            view, position = memoryview(data), offset
            while view:
                written = os.pwrite(self._descriptor, view, position)
                position, view = position + written, view[written:]
            self.received = merge_ranges((*self.received, ByteRange(offset, position)))
            self._save()

    def discard(self) -> None:
        """Forget everything."""
        with self._lock:
            os.truncate(self.path, 0)
            self.received = ()
            self.note.unlink(missing_ok=True)

    def digest(self) -> str:
        """Return the SHA-256 of the bytes, in hexadecimal."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def keep(self, path: Path) -> None:
        """Move the whole file to its place."""
        with self._lock:
            if self._descriptor is not None:
                os.fsync(self._descriptor)
            self.path.replace(path)
            self.note.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file. What is there stays there for the next attempt."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _save(self) -> None:
        """Note what is there. Should the note say too much after a power cut, the SHA-256 tells."""
        temporary = self.note.with_name(f"{self.note.name}.new")
        temporary.write_text(json.dumps([[piece.start, piece.stop] for piece in self.received]))
        temporary.replace(self.note)


@dataclass(slots=True)
class _Fetch:
    connection: Connection
    manifest: Manifest
    provider: str
    path: Path
    partial: PartialFile
    download: ModelDownload
    on_progress: OnProgress | None

    async def run(self) -> None:
        await self.connection.subscribe(topics.model_chunks(self.manifest.model, self.download.receiver))
        if await self._handle(Started()):
            return
        while not await self._handle(await self._next_event()):
            pass

    async def _next_event(self) -> TransferEvent:
        try:
            async with asyncio.timeout(max(0.0, self.download.due_at_s - time.monotonic())):
                received = await anext(self.connection)
        except TimeoutError:
            return TransferTicked()
        try:
            return Arrived(await asyncio.to_thread(ModelChunk.decode, received.payload))
        except MessageError as error:
            logger.warning("%s: a chunk that is none was dropped: %s", received.topic, error)
            return TransferTicked()

    async def _handle(self, event: TransferEvent) -> bool:
        """Perform what the event asks for; say whether the transfer is done."""
        queue = self.download.handle(event, time.monotonic())
        while queue:
            command = queue.pop(0)
            if isinstance(command, Finish):
                await asyncio.to_thread(self.partial.keep, self.path)
                return True
            queue += await self._perform(command)
        return False

    async def _perform(self, command: TransferCommand) -> list[TransferCommand]:
        match command:
            case SendPull(pull):
                await self._pull(pull)
            case WriteChunk(offset, data):
                await self._write(offset, data)
            case DiscardFile():
                logger.warning("model %s: the bytes are wrong as a whole; fetching it afresh", self.manifest.name)
                await asyncio.to_thread(self.partial.discard)
            case VerifyFile():
                digest = await asyncio.to_thread(self.partial.digest)
                return self.download.handle(Verified(digest), time.monotonic())
            case GiveUp(reason):
                raise ModelTransferError(f"cannot fetch model {self.manifest.name} from {self.provider}: {reason}")
            case Finish():
                raise AssertionError("the loop ends with Finish")
        return []

    async def _pull(self, pull: Pull) -> None:
        try:
            await self.connection.publish(topics.pulls(pull.model, self.provider), pull.encode())
        except BusError as error:
            logger.info("a pull was not sent, it is repeated: %s", error)

    async def _write(self, offset: int, data: bytes) -> None:
        await asyncio.to_thread(self.partial.write, offset, data)
        if self.on_progress is not None:
            self.on_progress(self.download.received_bytes, self.download.size_bytes)


async def _serve(connection: Connection, locate: Locate) -> None:
    while True:
        received = await anext(connection)
        try:
            pull = _decode_pull(received)
            payload = await asyncio.to_thread(_answer, pull, locate)
            await connection.publish(topics.model_chunks(pull.model, pull.receiver), payload)
        except MessageError as error:
            logger.warning("%s: a pull that is none was dropped: %s", received.topic, error)
        except BusError as error:
            logger.info("a chunk was not sent, its receiver asks again: %s", error)


def _decode_pull(received: Received) -> Pull:
    pull = Pull.decode(received.payload)
    if received.topic.split("/")[1] != pull.model:
        raise MessageError("the model differs from the topic's")
    return pull


def _answer(pull: Pull, locate: Locate) -> bytes:
    path = locate(pull.model)
    if path is None:
        return refusal_for(pull, "the provider does not have this model").encode()
    try:
        with path.open("rb") as file:
            file.seek(pull.offset)
            return chunk_for(pull, file.read(min(pull.length, MAX_PULL_BYTES))).encode()
    except OSError as error:
        return refusal_for(pull, f"the provider cannot read the model: {error.strerror or error}").encode()


def _has_digest(path: Path, sha256: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256


def _read_ranges(note: Path) -> tuple[ByteRange, ...]:
    try:
        return tuple(ByteRange(int(start), int(stop)) for start, stop in json.loads(note.read_text()))
    except (OSError, ValueError, TypeError):
        return ()
