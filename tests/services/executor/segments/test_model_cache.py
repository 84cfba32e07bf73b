import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from broker.embedded import EmbeddedBroker
from services.cli.support.manifest import build_manifest, read_model
from services.cli.support.published_model import PublishedModel, publish_into
from services.executor.errors import CannotPrepare
from services.executor.segments.engine import EngineSettings
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.segment import build_segments
from services.executor.segments.segment_events import SegmentKey
from shared.bus.connection import Connection
from shared.bus.model_files.model_exchange import serve_models
from shared.bus.settings import BusSettings
from shared.messages.control import RejectionCause
from shared.messages.models import Manifest
from tests.support.onnx_texts import onnx_bytes


@asynccontextmanager
async def library(manifest: Manifest, path: Path) -> AsyncIterator[BusSettings]:
    """A broker, and a planner's library behind it."""
    async with (
        asyncio.timeout(60),
        EmbeddedBroker() as broker,
        Connection.open(broker.settings) as connection,
        asyncio.TaskGroup() as group,
    ):
        serving = group.create_task(serve_models(connection, "planner", {manifest.file_id: path}.get))
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


@pytest.fixture
def packed(tmp_path: Path) -> PublishedModel:
    """A packed model with large weights in both blocks."""
    generator = np.random.default_rng(0)
    v, w = (generator.standard_normal((1024, 1024)).astype(np.float32) for _ in range(2))
    path = tmp_path / "net.onnx"
    path.write_bytes(
        onnx_bytes("g (float[1,1024] x) => (float[1,1024] y) {a = MatMul(x, v) y = MatMul(a, w)}", v=v, w=w)
    )
    model = read_model(path)
    return publish_into(tmp_path, path, build_manifest(path, model=model), model)


async def test_only_the_blocks_that_are_asked_for_are_pulled(packed: PublishedModel, tmp_path: Path) -> None:
    manifest, cache = packed.manifest, tmp_path / "cache"
    assert len(manifest.blocks) == 3
    async with library(manifest, packed.file) as settings:
        mine = ModelCache(cache, "d", settings)
        assert not (await mine.path(manifest, 0, 1)).exists()
        path = await mine.path(manifest, 2, 3)
        space_bytes = (await asyncio.to_thread(path.stat)).st_blocks * 512
        assert 4 * 2**20 <= space_bytes < 6 * 2**20
        key = SegmentKey(manifest.model, 2, 3)
        (segment,) = (await asyncio.to_thread(build_segments, path, manifest, (key,), EngineSettings())).values()
        (name,) = segment.session.inputs if segment.session else ()
        values = {name: np.ones((1, 1024), np.float32)}
        (whole,) = (await asyncio.to_thread(build_segments, packed.file, manifest, (key,), EngineSettings())).values()
        assert np.array_equal(segment.run(values)["y"], whole.run(values)["y"])


async def test_a_damaged_piece_and_a_removed_file_are_pulled_again(packed: PublishedModel, tmp_path: Path) -> None:
    manifest, cache = packed.manifest, tmp_path / "cache"
    async with library(manifest, packed.file) as settings:
        path = await ModelCache(cache, "d", settings).path(manifest)
        original = await asyncio.to_thread(packed.file.read_bytes)
        await asyncio.to_thread(path.write_bytes, original[:5000] + b"?" + original[5001:])
        other = ModelCache(cache, "d", settings)
        await other.path(manifest)
        assert await asyncio.to_thread(path.read_bytes) == original
        await asyncio.to_thread(path.unlink)
        await other.path(manifest, 2, 3)
        assert await asyncio.to_thread(path.exists)
        await other.path(manifest)
        assert await asyncio.to_thread(path.read_bytes) == original


async def test_a_limit_of_the_folder_is_a_fault_of_the_disk(packed: PublishedModel, tmp_path: Path) -> None:
    async with library(packed.manifest, packed.file) as settings:
        small = ModelCache(tmp_path / "cache", "d", settings, limit_bytes=6 * 2**20)
        await small.path(packed.manifest, 1, 2)
        with pytest.raises(CannotPrepare, match="model files may take") as refused:
            await small.path(packed.manifest, 1, 3)
    assert refused.value.cause is RejectionCause.DISK


async def test_a_file_that_fills_the_disk_is_used_by_the_next_process(packed: PublishedModel, tmp_path: Path) -> None:
    limit_bytes = packed.manifest.size_bytes + 2**16
    async with library(packed.manifest, packed.file) as settings:
        path = await ModelCache(tmp_path / "cache", "d", settings, limit_bytes=limit_bytes).path(packed.manifest)
        again = await ModelCache(tmp_path / "cache", "d", settings, limit_bytes=limit_bytes).path(packed.manifest)
    assert again == path
