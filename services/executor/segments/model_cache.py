"""Model files on this device's disk, fetched over the bus: of packed models only what the blocks need."""

import asyncio
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from services.executor.errors import CannotPrepare
from services.executor.segments.file_cache import make_room, note_use, space_of
from services.executor.segments.segment import weight_ranges
from shared.bus.errors import BusError
from shared.bus.model_files.model_exchange import fetch_model, fetch_pieces
from shared.bus.model_files.model_transfer import ModelTransferError
from shared.bus.model_files.pieces import ByteRange, PieceDigests, count_bytes, merge_ranges, subtract_ranges
from shared.bus.settings import BusSettings
from shared.messages.control import RejectionCause
from shared.messages.models import Manifest

_LOGGER = logging.getLogger(__name__)


@dataclass(slots=True)
class _CachedFile:
    """What this process knows of a file.

    Attributes:
        lock: held while the file is fetched.
        descriptor: of the file whose pieces were verified. It is kept open, so that a file in its place is told apart.
        verified: bytes whose SHA-256 was right.
        weights: places of the weights of each block; None until the graph was read.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    descriptor: int | None = None
    verified: tuple[ByteRange, ...] = ()
    weights: tuple[tuple[ByteRange, ...], ...] | None = None

    def forget_removed(self) -> None:
        """Forget what was verified if the file was removed, which frees its space."""
        if self.descriptor is not None and os.fstat(self.descriptor).st_nlink == 0:
            os.close(self.descriptor)
            self.descriptor, self.verified = None, ()

    def note_verified(self, path: Path, ranges: Iterable[ByteRange]) -> None:
        """Note bytes of the file at `path` whose SHA-256 was right."""
        self.forget_removed()
        if self.descriptor is None:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.verified = merge_ranges((*self.verified, *ranges))


@dataclass(slots=True)
class ModelCache:
    """A folder of model files, named by `Manifest.file_id`. One fetch runs per file at a time.

    A piece is used only after its SHA-256 was verified by this process.

    Attributes:
        folder: contains the files: `ID.onnx`, or `ID.packed` with holes for the pieces that are not needed.
        device: name of this device. It is part of the names of partial files, so that executors may share the folder.
        settings: address of the broker.
        limit_bytes: bound on the space of all files together; None for most of the disk.
    """

    folder: Path
    device: str
    settings: BusSettings
    limit_bytes: int | None = None
    _files: dict[str, _CachedFile] = field(default_factory=dict, init=False)

    async def path(self, manifest: Manifest, start: int = 0, stop: int | None = None) -> Path:
        """Return the path of a file that has blocks `[start, stop)` of a model, after they are fetched and verified.

        Args:
            manifest: of the model.
            start: first block.
            stop: the block behind the last; None for all.

        Raises:
            CannotPrepare: the disk is full, no service provides the model, or its bytes are wrong.
        """
        path = self._path(manifest)
        if stop is not None and stop <= 1:
            return path  # Block 0 is `prepare`, which is not in the file.
        file = self._files.setdefault(f"{manifest.file_id} {manifest.version()}", _CachedFile())
        async with file.lock:
            if manifest.packing is None:
                await self._ensure(manifest, path, file, (ByteRange(0, manifest.size_bytes),))
            else:
                weights = await self._weights(manifest, path, file)
                wanted = [each for block in weights[start:stop] for each in block]
                await self._ensure(manifest, path, file, wanted)
        await asyncio.to_thread(note_use, path)
        return path

    def _path(self, manifest: Manifest) -> Path:
        return self.folder / f"{manifest.file_id}{'.onnx' if manifest.packing is None else '.packed'}"

    async def _weights(self, manifest: Manifest, path: Path, file: _CachedFile) -> tuple[tuple[ByteRange, ...], ...]:
        """Fetch the graph of a packed file and return the places of the weights of each block."""
        if manifest.packing is not None:
            graph = ByteRange(manifest.packing.graph_start, manifest.size_bytes)
            await self._ensure(manifest, path, file, (graph,))
        if file.weights is None:
            file.weights = await asyncio.to_thread(weight_ranges, path, manifest)
        return file.weights

    async def _ensure(
        self, manifest: Manifest, path: Path, file: _CachedFile, wanted: list[ByteRange] | tuple[ByteRange, ...]
    ) -> None:
        """Fetch the pieces that this process has not verified yet."""
        await asyncio.to_thread(file.forget_removed)
        missing = subtract_ranges(PieceDigests.of(manifest).covering(wanted), file.verified)
        if not missing:
            return
        try:
            # What a process before this one has fetched is on the disk, only not verified yet.
            unverified_bytes = max(0, await asyncio.to_thread(space_of, path) - count_bytes(file.verified))
            await asyncio.to_thread(self._make_room, max(0, count_bytes(missing) - unverified_bytes), path)
            if manifest.packing is None:
                await fetch_model(self.settings, manifest, receiver=self.device, path=path)
            else:
                await fetch_pieces(self.settings, manifest, missing, receiver=self.device, path=path)
            await asyncio.to_thread(file.note_verified, path, missing)
        except OSError as error:
            raise CannotPrepare(RejectionCause.DISK, f"cannot store model {manifest.name}: {error}") from error
        except ModelTransferError as error:
            # Operators mend the two in different ways: free space on this disk, or a library that has the model.
            on_disk = isinstance(error.__cause__, OSError)
            cause = RejectionCause.DISK if on_disk else RejectionCause.MODEL_MISSING
            raise CannotPrepare(cause, str(error)) from error
        except BusError as error:
            raise CannotPrepare(RejectionCause.MODEL_MISSING, str(error)) from error
        _LOGGER.info(
            "model %s: %d of %d bytes are available", manifest.name, count_bytes(file.verified), manifest.size_bytes
        )

    def _make_room(self, needed_bytes: int, path: Path) -> None:
        make_room(self.folder, needed_bytes, self.limit_bytes, keep=path)
        for file in self._files.values():
            file.forget_removed()
