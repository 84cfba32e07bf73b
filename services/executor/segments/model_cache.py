"""Model files on this device's disk, named by the SHA-256 of their bytes, and fetched over the bus if missing."""

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path

from services.executor.errors import CannotPrepare
from shared.bus.errors import BusError
from shared.bus.model_exchange import fetch_model
from shared.bus.model_transfer import ModelTransferError
from shared.bus.settings import BusSettings
from shared.messages.control import RejectionCause
from shared.messages.models import Manifest

_LOGGER = logging.getLogger(__name__)


@dataclass(slots=True)
class ModelCache:
    """A folder of model files. One fetch runs per model at a time; a file is verified once per process.

    Attributes:
        folder: contains the files, named `SHA256.onnx`.
        device: name of this device. It is part of the names of partial files, so that executors may share the folder.
        settings: address of the broker.
    """

    folder: Path
    device: str
    settings: BusSettings
    # Models whose file was hashed by this process; hashing a large file takes seconds.
    _verified: set[str] = field(default_factory=set, init=False)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict, init=False)

    async def path(self, manifest: Manifest) -> Path:
        """Return the path of a model's file, after it is fetched and verified.

        Raises:
            CannotPrepare: the disk is full, no service provides the model, or its bytes are wrong.
        """
        path = self.folder / f"{manifest.model}.onnx"
        async with self._locks.setdefault(manifest.model, asyncio.Lock()):
            if manifest.model in self._verified and await asyncio.to_thread(path.exists):
                return path
            try:
                await fetch_model(self.settings, manifest, receiver=self.device, path=path)
            except ModelTransferError as error:
                # Operators mend the two in different ways: free space on this disk, or a library that has the model.
                on_disk = isinstance(error.__cause__, OSError)
                cause = RejectionCause.DISK if on_disk else RejectionCause.MODEL_MISSING
                raise CannotPrepare(cause, str(error)) from error
            except BusError as error:
                raise CannotPrepare(RejectionCause.MODEL_MISSING, str(error)) from error
            self._verified.add(manifest.model)
            _LOGGER.info("model %s is available (%d bytes)", manifest.name, manifest.size_bytes)
            return path
