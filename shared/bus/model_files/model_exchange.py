"""Exchange of model files over the bus: fetches one, serves a library. The I/O around `model_transfer`."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from shared.bus import topics
from shared.bus.connection import Connection, Received, unique_client_id
from shared.bus.errors import BusError
from shared.bus.model_files.model_transfer import (
    MAX_PULL_BYTES,
    PULL_BYTES,
    STALL_S,
    Arrived,
    DiscardRanges,
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
    refusal_for,
)
from shared.bus.model_files.partial_file import PartialFile, ReceivedFile, SparseFile
from shared.bus.model_files.pieces import ByteRange, PieceDigests, count_bytes
from shared.bus.settings import BusSettings
from shared.messages.base import MessageError
from shared.messages.models import Manifest, ModelChunk, Pull
from shared.messages.reject_counter import RejectCounter

_LOGGER = logging.getLogger(__name__)

# Finds a file by its identity (`Manifest.file_id`); None if the library does not have it.
Locate = Callable[[str], Path | None]

# Called with the bytes received and the bytes wanted.
OnProgress = Callable[[int, int], None]

# Pulls that are answered at the same time.
_SERVING_TASKS: Final = 4
# Upper bound on what a chunk message has beside its data: names of fields, SHA-256, offset and checksum.
_CHUNK_OVERHEAD_BYTES: Final = 512


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
    """Fetch and verify a model's file on a connection of its own; resume an earlier attempt.

    A file at `path` with the right SHA-256 is not fetched again. The memory needed does not depend on the model's size.

    Args:
        settings: where the broker is.
        manifest: of the model: its SHA-256, size and provider.
        receiver: name of the receiver. Two fetches of one model at the same time need two names.
        path: path of the file. Beside it lie `NAME.RECEIVER.part` and its ranges until it is complete.
        provider: whom to pull from; None for the manifest's provider.
        on_progress: called after every chunk.
        stall_s: time without a chunk after which pulls are repeated; six stalls in a row end the attempt.

    Returns:
        `path`.

    Raises:
        ModelTransferError: the provider does not answer or refuses, the bytes are wrong twice, or the disk is full.
        BrokerUnreachable: the broker cannot be reached.
        AccessRefused: the broker refuses.
    """
    pieces = PieceDigests.of(manifest)
    whole = (ByteRange(0, pieces.size_bytes),)
    try:
        if await asyncio.to_thread(_is_whole, path, pieces):
            return path
        file = await asyncio.to_thread(PartialFile.open, path, receiver, pieces)
        await _receive(settings, manifest, file, whole, receiver, provider or manifest.provider, on_progress, stall_s)
    except OSError as error:
        raise _not_stored(manifest, path, error) from error
    return path


async def fetch_pieces(
    settings: BusSettings,
    manifest: Manifest,
    wanted: Iterable[ByteRange],
    *,
    receiver: str,
    path: Path,
    stall_s: float = STALL_S,
) -> tuple[ByteRange, ...]:
    """Fetch and verify the pieces of a model's file that contain some bytes, if they are not at `path` already.

    Args:
        settings: where the broker is.
        manifest: of the model.
        wanted: the bytes.
        receiver: name of the receiver.
        path: path of the file, which has holes where nothing was fetched.
        stall_s: time without a chunk after which pulls are repeated; six stalls in a row end the attempt.

    Returns:
        The pieces that are there now.

    Raises:
        ModelTransferError: the provider does not answer or refuses, the bytes are wrong twice, or the disk is full.
        BrokerUnreachable: the broker cannot be reached.
        AccessRefused: the broker refuses.
    """
    pieces = PieceDigests.of(manifest)
    needed = pieces.covering(wanted)
    try:
        file = await asyncio.to_thread(SparseFile.open, path, pieces, needed)
        if count_bytes(file.received) < count_bytes(needed):
            await _receive(settings, manifest, file, needed, receiver, manifest.provider, None, stall_s)
        else:
            await asyncio.to_thread(file.close)
    except OSError as error:
        raise _not_stored(manifest, path, error) from error
    return needed


async def _receive(
    settings: BusSettings,
    manifest: Manifest,
    file: ReceivedFile,
    wanted: tuple[ByteRange, ...],
    receiver: str,
    provider: str,
    on_progress: OnProgress | None,
    stall_s: float,
) -> None:
    """Receive the wanted ranges of a file on a connection of their own, and close the file."""
    try:
        async with Connection.open(settings, client_id=unique_client_id(f"{receiver}-fetch")) as connection:
            download = ModelDownload(
                manifest.file_id,
                receiver,
                wanted,
                received=file.received,
                pull_bytes=_granted_pull_bytes(connection, manifest.file_id, receiver),
                stall_s=stall_s,
            )
            await _Fetch(connection, manifest.name, provider, file, download, on_progress).run()
    finally:
        # A thread may still write: it must find the file closed, not its descriptor reused.
        await asyncio.shield(asyncio.to_thread(file.close))


def _not_stored(manifest: Manifest, path: Path, error: OSError) -> ModelTransferError:
    return ModelTransferError(f"cannot store model {manifest.name} at {path}: {error.strerror or error}")


async def serve_models(connection: Connection, provider: str, locate: Locate) -> None:
    """Answer the pulls of `provider`'s models until cancelled, a bounded number at a time.

    Args:
        connection: of its own, so that model files do not delay control messages.
        provider: name under which the models are pulled.
        locate: finds a model's file. Called in other threads.
    """
    await connection.subscribe(topics.pulls("+", provider))
    rejects = RejectCounter()
    async with asyncio.TaskGroup() as group:
        for number in range(_SERVING_TASKS):
            group.create_task(_serve(connection, locate, rejects), name=f"serve models {number}")


@dataclass(slots=True)
class _Fetch:
    connection: Connection
    name: str
    provider: str
    file: ReceivedFile
    download: ModelDownload
    on_progress: OnProgress | None
    _rejects: RejectCounter = field(default_factory=RejectCounter, init=False)

    async def run(self) -> None:
        await self.connection.subscribe(topics.model_chunks(self.download.model, self.download.receiver))
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
            if self._rejects.add(received.topic, str(error)):
                _LOGGER.warning("%s: dropped a malformed chunk: %s", received.topic, error)
            return TransferTicked()

    async def _handle(self, event: TransferEvent) -> bool:
        """Perform the commands that the event leads to, and return whether the transfer is done."""
        queue = self.download.handle(event, time.monotonic())
        while queue:
            command = queue.pop(0)
            if isinstance(command, Finish):
                await asyncio.to_thread(self.file.keep)
                return True
            queue += await self._perform(command)
        return False

    async def _perform(self, command: TransferCommand) -> list[TransferCommand]:
        match command:
            case SendPull(pull):
                await self._pull(pull)
            case WriteChunk(offset, data):
                await self._write(offset, data)
            case DiscardRanges(ranges):
                _LOGGER.warning("model %s: wrong SHA-256, fetching the bytes again", self.name)
                await asyncio.to_thread(self.file.discard, ranges)
            case VerifyFile():
                damaged = await asyncio.to_thread(self.file.damaged, self.download.wanted)
                return self.download.handle(Verified(damaged), time.monotonic())
            case GiveUp(reason):
                raise ModelTransferError(f"cannot fetch model {self.name} from {self.provider}: {reason}")
            case Finish():
                raise AssertionError("the loop ends with Finish")
        return []

    async def _pull(self, pull: Pull) -> None:
        try:
            await self.connection.publish(topics.pulls(pull.model, self.provider), pull.encode())
        except BusError as error:
            _LOGGER.info("a pull was not sent and will be repeated: %s", error)

    async def _write(self, offset: int, data: bytes) -> None:
        await asyncio.to_thread(self.file.write, offset, data)
        if self.on_progress is not None:
            self.on_progress(self.download.received_bytes, self.download.wanted_bytes)


async def _serve(connection: Connection, locate: Locate, rejects: RejectCounter) -> None:
    while True:
        received = await anext(connection)
        try:
            pull = _decode_pull(received)
            payload = await asyncio.to_thread(_answer, pull, locate)
            await connection.publish(topics.model_chunks(pull.model, pull.receiver), payload)
        except MessageError as error:
            if rejects.add(received.topic, str(error)):
                _LOGGER.warning("%s: dropped a malformed pull: %s", received.topic, error)
        except BusError as error:
            _LOGGER.info("a chunk was not sent, its receiver will pull it again: %s", error)


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


def _granted_pull_bytes(connection: Connection, model: str, receiver: str) -> int:
    """Return the length of pulls whose answers the broker accepts, also if its packets are small."""
    limit_bytes = connection.payload_limit_bytes(topics.model_chunks(model, receiver))
    return max(1, min(PULL_BYTES, limit_bytes - _CHUNK_OVERHEAD_BYTES))


def _is_whole(path: Path, pieces: PieceDigests) -> bool:
    if not path.is_file() or path.stat().st_size != pieces.size_bytes:
        return False
    return not pieces.damaged(path, (ByteRange(0, pieces.size_bytes),))
