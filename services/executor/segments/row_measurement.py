"""Measurement of tiles: the times of a model's blocks for a few numbers of rows."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from services.executor.errors import ExecutorError
from services.executor.segments.engine import SegmentSession, load_session
from services.executor.segments.idle_profile import IdleProfile, is_enough
from services.executor.segments.measuring_turn import measuring_turn
from services.executor.segments.profile_attempts import ProfileAttempts
from services.executor.segments.profile_groups import group_blocks
from services.executor.segments.profiler import (
    Fetch,
    Profiler,
    keep_profile,
    profile_path,
    random_tensor,
)
from services.executor.segments.row_table import RunTime, measured_heights, row_table
from services.executor.segments.segment import open_model
from shared.bus.malloc_tuning import return_free_memory
from shared.messages.models import Manifest
from shared.model.errors import ModelError
from shared.model.graph import Graph
from shared.model.onnx_file import to_bytes
from shared.model.partitioned_model import PartitionedModel
from shared.model.segment_graph import segment_graph
from shared.model.tiles.tile_graph import tile_graph
from shared.model.tiles.tile_plan import plan_tile, segment_nodes
from shared.row_times import RowTimes

_LOGGER = logging.getLogger(__name__)

# After this time no further block is begun. The blocks with most computing come first.
_LIMIT_S: Final = 60.0
# A tile runs less often than a block, as its time is compared with others on the same line.
_enough = partial(is_enough, least=3, most=15, total_ms=20.0)


async def profile_with_rows(profiler: Profiler, manifest: Manifest, profile: IdleProfile, fetch: Fetch) -> IdleProfile:
    """Return a model's profile with the times of tiles, from disk or measured now.

    A block that cannot be measured in tiles has no table, so that its time counts as proportional to its rows.

    Args:
        profiler: measures, and has measured the blocks.
        manifest: of the model.
        profile: of the model, in one piece.
        fetch: provides the blocks.

    Raises:
        CannotPrepare: the model cannot be fetched or read.
    """
    if profile.row_ms is not None:
        return profile
    path = profile_path(profiler.folder, manifest, profiler.engine)
    async with measuring_turn(profiler.lock_path, profiler.lock_timeout_s):
        cached = await profiler.cached(manifest)
        if cached is not None and cached.row_ms is not None:
            return cached
        started_s = time.monotonic()
        attempts = await asyncio.to_thread(ProfileAttempts, path.with_suffix(".attempts"))
        measurement = _RowMeasurement(profiler, manifest, profile, attempts, started_s + _LIMIT_S)
        measured = replace(profile, row_ms=await measurement.run(fetch))
        await asyncio.to_thread(attempts.forget)
        _LOGGER.info("measured tiles of %s in %.1f s", manifest.name, time.monotonic() - started_s)
    await asyncio.to_thread(keep_profile, path, measured, profiler.memory_limit_bytes)
    return measured


def tileable_blocks(manifest: Manifest, profile: IdleProfile) -> tuple[int, ...]:
    """Return the blocks to measure in tiles: with rows, and not refused; those that take longest come first.

    The last block is never computed in tiles, because one device makes the outcome.
    """
    refused = {block for refusal in profile.refusals for block in range(refusal.start, refusal.stop)}
    found = [
        index
        for index, block in enumerate(manifest.blocks[:-1])
        if index and block.rows is not None and block.rows.output_rows > 1 and index not in refused
    ]
    return tuple(sorted(found, key=lambda block: (-profile.block_ms[block], block)))


@dataclass(slots=True)
class _RowMeasurement:
    """The measurement of one model's tiles; blocks are those of the manifest.

    Attributes:
        end_s: monotonic time after which no block is begun.
        tables: found so far.
    """

    profiler: Profiler
    manifest: Manifest
    profile: IdleProfile
    attempts: ProfileAttempts
    end_s: float
    tables: dict[int, RowTimes] = field(default_factory=dict)

    async def run(self, fetch: Fetch) -> dict[int, RowTimes]:
        wanted = tileable_blocks(self.manifest, self.profile)
        for start, stop in group_blocks(self.manifest.blocks, self.profiler.memory_limit_bytes).groups:
            own = [block for block in wanted if start <= block < stop]
            if not own:
                continue
            path = await fetch(start, stop)
            model = await asyncio.to_thread(open_model, path, self.manifest)
            for block in own:
                if time.monotonic() > self.end_s:
                    _LOGGER.info("tiles of block %d and others of %s were not measured", block, self.manifest.name)
                    return self.tables
                await self._block(path, model, block)
        return self.tables

    async def _block(self, path: Path, model: PartitionedModel, block: int) -> None:
        rows = self.manifest.blocks[block].rows
        if rows is None or self.attempts.refusal(block, block + 1, in_tiles=True) is not None:
            return
        await asyncio.to_thread(self.attempts.begin, block, block + 1, in_tiles=True)
        try:
            whole = await self._time(path, await asyncio.to_thread(segment_graph, model, block - 1, block), block)
            tiles = []
            for height in measured_heights(rows.output_rows):
                graph = await asyncio.to_thread(_tile, model, block, height, rows.output_rows)
                tiles.append((height, await self._time(path, graph, block)))
        except (ExecutorError, ModelError, MemoryError) as error:
            _LOGGER.info("tiles of block %d of %s were not measured: %s", block, self.manifest.name, error)
            return
        finally:
            await asyncio.to_thread(return_free_memory)
            await asyncio.to_thread(self.attempts.end, block, block + 1)
        own_ms, overhead_ms = self.profile.block_ms[block], self.profile.segment_overhead_ms
        if table := row_table(whole, tiles, own_ms=own_ms, overhead_ms=overhead_ms):
            self.tables[block] = table

    async def _time(self, path: Path, graph: Graph, block: int) -> RunTime:
        """Return the time of a block or a tile of it, on inputs of random values."""
        session = await asyncio.to_thread(self._load, path, graph, block)
        generator = np.random.default_rng(block)
        inputs = {name: random_tensor(generator, *_description(graph, name)) for name in graph.inputs}
        times_ms, _ = await self.profiler.time_runs(session, inputs, _enough)
        return RunTime.of(times_ms)

    def _load(self, path: Path, graph: Graph, block: int) -> SegmentSession:
        flops = self.manifest.blocks[block].flops
        return load_session(to_bytes(graph), self.profiler.engine, path.parent, flops=flops)


def _tile(model: PartitionedModel, block: int, height: int, of: int) -> Graph:
    """Return a tile in the middle of a block, with a halo on both sides where there is room for it.

    Raises:
        ModelError: there is no such tile.
    """
    segment = segment_nodes(segment_graph(model, block - 1, block))
    top = (of - height) // 2
    return tile_graph(segment, plan_tile(segment, (top, top + height)))


def _description(graph: Graph, name: str) -> tuple[Sequence[int], np.dtype]:
    tensor = graph.tensor(name)
    return tensor.shape, np.dtype(tensor.dtype.value)
