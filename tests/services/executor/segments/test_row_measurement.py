"""Measurement of tiles on this machine."""

from functools import partial
from pathlib import Path

import pytest

from services.executor.segments import row_measurement
from services.executor.segments.engine import EngineSettings
from services.executor.segments.idle_profile import IdleProfile
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.processor import Processor
from services.executor.segments.profile_attempts import ProfileAttempts
from services.executor.segments.profiler import Profiler, keep_profile, profile_path
from services.executor.segments.row_measurement import profile_with_rows, tileable_blocks
from services.executor.segments.row_table import measured_heights
from shared.messages.devices import REFUSED_MS, BlockRefusal
from shared.messages.models import Manifest


async def nowhere(start: int, stop: int) -> Path:
    raise AssertionError("it is measured")


def profiler(tmp_path: Path, processor: Processor) -> Profiler:
    return Profiler(tmp_path / "profiles", EngineSettings(), processor, tmp_path / "lock")


def assumed(manifest: Manifest) -> IdleProfile:
    return IdleProfile(tuple(float(1 + block) for block in range(len(manifest.blocks))), 0.0)


async def test_blocks_are_measured_at_a_few_heights_and_kept(
    manifest: Manifest, store: ModelCache, tmp_path: Path
) -> None:
    wanted = tileable_blocks(manifest, assumed(manifest))
    async with Processor.open() as processor:
        own = profiler(tmp_path, processor)
        found = await profile_with_rows(own, manifest, assumed(manifest), partial(store.path, manifest))
        assert found.block_ms == assumed(manifest).block_ms
        assert found.row_ms is not None
        assert set(found.row_ms) == set(wanted) != set()
        for block, table in found.row_ms.items():
            rows = manifest.blocks[block].rows
            assert rows is not None
            assert tuple(height for height, _ in table) == measured_heights(rows.output_rows)
            assert all(time_ms >= 0 for _, time_ms in table)
        assert await own.cached(manifest) == found
        assert await profile_with_rows(own, manifest, found, nowhere) is found
        # Another executor of the machine has measured meanwhile.
        assert await profile_with_rows(own, manifest, assumed(manifest), nowhere) == found


async def test_tiles_that_ended_the_process_are_left_out(manifest: Manifest, store: ModelCache, tmp_path: Path) -> None:
    first, *others = tileable_blocks(manifest, assumed(manifest))
    async with Processor.open() as processor:
        own = profiler(tmp_path, processor)
        note = profile_path(own.folder, manifest, own.engine).with_suffix(".attempts")
        ProfileAttempts(note).begin(first, first + 1, in_tiles=True)
        found = await profile_with_rows(own, manifest, assumed(manifest), partial(store.path, manifest))
    assert found.row_ms is not None
    assert set(found.row_ms) == set(others)


async def test_the_time_is_bounded(
    manifest: Manifest, store: ModelCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_measurement, "_LIMIT_S", -1.0)
    async with Processor.open() as processor:
        found = await profile_with_rows(
            profiler(tmp_path, processor), manifest, assumed(manifest), partial(store.path, manifest)
        )
    assert found.row_ms == {}


async def test_a_profile_without_tiles_on_disk_is_completed(
    manifest: Manifest, store: ModelCache, tmp_path: Path
) -> None:
    async with Processor.open() as processor:
        own = profiler(tmp_path, processor)
        keep_profile(profile_path(own.folder, manifest, own.engine), assumed(manifest))
        assert await own.cached(manifest) == assumed(manifest)
        await profile_with_rows(own, manifest, assumed(manifest), partial(store.path, manifest))
        kept = await own.cached(manifest)
    assert kept is not None
    assert kept.row_ms


def test_slow_blocks_come_first_and_refused_ones_never(manifest: Manifest) -> None:
    every = tileable_blocks(manifest, assumed(manifest))
    assert list(every) == sorted(every, reverse=True)
    assert 0 not in every
    refused = every[0]
    block_ms = tuple(REFUSED_MS if block == refused else 1.0 for block in range(len(manifest.blocks)))
    refusal = BlockRefusal(start=refused, stop=refused + 1, reason="it is too large")
    assert tileable_blocks(manifest, IdleProfile(block_ms, 0.0, (refusal,))) == tuple(sorted(every[1:]))
