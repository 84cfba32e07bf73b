"""Library of model files by their identity (`Manifest.file_id`), fetched from publishers and served to devices."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from services.planner.coordination.effects import FetchModel
from shared.bus.connection import Connection
from shared.bus.errors import BusError
from shared.bus.model_files.model_exchange import fetch_model, serve_models
from shared.bus.settings import BusSettings
from shared.messages.models import Manifest

_LOGGER = logging.getLogger(__name__)

_MAX_WAITING = 32
_PARALLEL_FETCHES = 2

# Called with the manifest of a model whose file has arrived and was verified.
OnStored = Callable[[Manifest], Awaitable[None]]
# Called with the manifest of a model that could not be fetched, and the reason.
OnFailed = Callable[[Manifest, str], Awaitable[None]]


class Library:
    """Model files in a folder, and their transfers on connections of their own.

    A large file on the planner's own connection would delay its control messages. ``_offers`` holds exactly the files
    that wait in ``_wanted`` or are being fetched.
    """

    def __init__(self, folder: Path, broker: BusSettings, name: str, on_stored: OnStored, on_failed: OnFailed) -> None:
        """Keep files in `folder`.

        Args:
            folder: made with the first model.
            broker: address of the broker, and how to connect.
            name: of the provider, under which devices pull models from here.
            on_stored: called when a model's file has arrived and was verified.
            on_failed: called with the reason when a model could not be fetched.
        """
        self._folder = folder
        self._broker = broker
        self._name = name
        self._on_stored = on_stored
        self._on_failed = on_failed
        self._wanted: asyncio.Queue[str] = asyncio.Queue(_MAX_WAITING)
        self._offers: dict[str, FetchModel] = {}

    def path(self, file_id: str) -> Path:
        """Return the path of a file, whether or not it exists."""
        return self._folder / f"{file_id}.onnx"

    def locate(self, file_id: str) -> Path | None:
        """Return the path of a file; None if it is not in the library."""
        path = self.path(file_id)
        return path if path.is_file() else None

    def remove(self, file_id: str) -> None:
        """Remove a file that no model has any more."""
        self.path(file_id).unlink(missing_ok=True)

    async def fetch(self, offer: FetchModel) -> None:
        """Queue an offered model. It replaces an earlier offer of the same file; with a full queue it is refused."""
        file_id = offer.manifest.file_id
        known = file_id in self._offers
        self._offers[file_id] = offer
        if known:
            return
        try:
            self._wanted.put_nowait(file_id)
        except asyncio.QueueFull:
            del self._offers[file_id]
            await self._on_failed(offer.manifest, f"{_MAX_WAITING} models are waiting already")

    async def run(self) -> None:
        """Fetch queued models and serve stored ones, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._serve(), name="serve the library")
            for number in range(_PARALLEL_FETCHES):
                group.create_task(self._fetch(), name=f"fetch models {number}")

    async def _serve(self) -> None:
        client_id = f"segue-{self._name}-library"
        async with Connection.open(self._broker, client_id=client_id, connect_timeout_s=None) as connection:
            await serve_models(connection, self._name, self.locate)

    async def _fetch(self) -> None:
        while True:
            file_id = await self._wanted.get()
            offer = self._offers[file_id]
            manifest = offer.manifest
            try:
                path = self.path(file_id)
                await fetch_model(self._broker, manifest, receiver=self._name, path=path, provider=offer.provider)
            except BusError as error:
                self._offers.pop(file_id)
                await self._on_failed(manifest, str(error))
                continue
            newest = self._offers.pop(file_id)
            _LOGGER.info("model %s (%s) is in the library", manifest.name, manifest.model[:12])
            await self._on_stored(newest.manifest)
