import asyncio
import fcntl
import os
from pathlib import Path

import pytest

from services.executor.errors import CannotPrepare
from services.executor.segments.engine import EngineSettings
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.prepare import prepare
from services.executor.segments.processor import Processor
from services.executor.segments.profiler import Profiler, sample_request
from shared.messages.models import Manifest, Preprocessing, TensorDescription


def profiler(tmp_path: Path, processor: Processor, threads: int = 1) -> Profiler:
    return Profiler(tmp_path / "profiles", EngineSettings(threads=threads), processor, tmp_path / "lock")


async def test_every_block_is_measured_and_the_result_kept(
    manifest: Manifest, store: ModelCache, tmp_path: Path
) -> None:
    path = await store.path(manifest)
    async with Processor.open() as processor:
        found = await profiler(tmp_path, processor).profile(manifest, path)
        assert len(found.block_ms) == len(manifest.blocks)
        assert found.block_ms[0] > 0
        assert sum(found.block_ms[1:]) > 0
        again = profiler(tmp_path, processor)
        assert await again.cached(manifest) == found
        assert await again.profile(manifest, Path("nowhere")) == found


async def test_another_engine_is_measured_anew(manifest: Manifest, store: ModelCache, tmp_path: Path) -> None:
    path = await store.path(manifest)
    async with Processor.open() as processor:
        await profiler(tmp_path, processor).profile(manifest, path)
        assert await profiler(tmp_path, processor, threads=2).cached(manifest) is None


@pytest.mark.parametrize("text", ["no json", "[]", '{"block_ms": "x", "segment_overhead_ms": 0}', '{"block_ms": [1]}'])
async def test_a_damaged_file_is_measured_again(
    manifest: Manifest, store: ModelCache, tmp_path: Path, text: str
) -> None:
    path = await store.path(manifest)
    async with Processor.open() as processor:
        found = await profiler(tmp_path, processor).profile(manifest, path)
        (kept,) = (tmp_path / "profiles").iterdir()
        kept.write_text(text)
        assert await profiler(tmp_path, processor).cached(manifest) is None
        again = await profiler(tmp_path, processor).profile(manifest, path)
    assert len(again.block_ms) == len(found.block_ms)


async def test_executors_of_one_machine_take_turns(manifest: Manifest, store: ModelCache, tmp_path: Path) -> None:
    path = await store.path(manifest)
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    async with asyncio.timeout(30), Processor.open() as processor:
        measuring = asyncio.ensure_future(profiler(tmp_path, processor).profile(manifest, path))
        done, _ = await asyncio.wait({measuring}, timeout=0.2)
        assert not done
        os.close(descriptor)
        assert (await measuring).block_ms


async def test_a_model_that_does_not_load_is_told(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no model")
    async with Processor.open() as processor:
        with pytest.raises(CannotPrepare):
            await profiler(tmp_path, processor).profile(manifest, tmp_path / "x.onnx")


def test_sample_requests_are_inputs(manifest: Manifest) -> None:
    assert sample_request(manifest).startswith(b"\xff\xd8\xff")
    plain = manifest.model_copy(update={"preprocessing": Preprocessing()})
    pair = plain.model_copy(
        update={
            "inputs": (
                TensorDescription(name="a", shape=(2, 3), dtype="float32"),
                TensorDescription(name="b", shape=(4,), dtype="int64"),
            )
        }
    )
    for described in (manifest, plain, pair):
        tensors = prepare(sample_request(described), described)
        assert [tensors[spec.name].shape for spec in described.inputs] == [spec.shape for spec in described.inputs]
