import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from services.executor.errors import CannotPrepare
from services.executor.segments.model_cache import ModelCache
from shared.bus.connection import Connection
from shared.bus.model_exchange import serve_models
from shared.bus.settings import BusSettings
from shared.messages.control import RejectionCause
from shared.messages.models import Manifest


@asynccontextmanager
async def library(manifest: Manifest, path: Path) -> AsyncIterator[BusSettings]:
    """A broker, and a planner's library behind it."""
    async with (
        asyncio.timeout(60),
        EmbeddedBroker() as broker,
        Connection.open(broker.settings) as connection,
        asyncio.TaskGroup() as group,
    ):
        serving = group.create_task(serve_models(connection, "planner", {manifest.model: path}.get))
        yield broker.settings
        serving.cancel()


async def test_a_model_that_is_missing_is_pulled_once_and_kept(manifest: Manifest, store: ModelCache) -> None:
    original = store.folder / f"{manifest.model}.onnx"
    cache = store.folder / "cache"
    async with library(manifest, original) as settings:
        mine = ModelCache(cache, "d", settings)
        paths = await asyncio.gather(*(mine.path(manifest) for _ in range(3)))
        assert set(paths) == {cache / original.name}
        same = await asyncio.to_thread(lambda: paths[0].read_bytes() == original.read_bytes())
        assert same
        assert await asyncio.to_thread(os.listdir, cache) == [original.name]


async def test_a_file_with_other_bytes_is_fetched_again(manifest: Manifest, store: ModelCache) -> None:
    original = store.folder / f"{manifest.model}.onnx"
    async with library(manifest, original) as settings:
        cache = store.folder / "cache"
        await asyncio.to_thread(cache.mkdir)
        await asyncio.to_thread((cache / original.name).write_bytes, b"torn")
        path = await ModelCache(cache, "d", settings).path(manifest)
        assert await asyncio.to_thread(lambda: path.read_bytes() == original.read_bytes())


async def test_a_folder_that_cannot_be_written_is_a_fault_of_the_disk(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    async with library(manifest, tmp_path / "nowhere") as settings:
        with pytest.raises(CannotPrepare, match="cannot store") as refused:
            await ModelCache(tmp_path / "file", "d", settings).path(manifest)
    assert refused.value.cause is RejectionCause.DISK


async def test_a_library_without_the_model_leaves_it_missing(manifest: Manifest, tmp_path: Path) -> None:
    async with library(manifest, tmp_path) as settings:
        other = manifest.model_copy(update={"model": "0" * 64})
        with pytest.raises(CannotPrepare, match="does not have this model") as refused:
            await ModelCache(tmp_path / "cache", "d", settings).path(other)
    assert refused.value.cause is RejectionCause.MODEL_MISSING
