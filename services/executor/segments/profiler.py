"""Measurement of idle profiles on this machine, with the results kept on disk."""

import asyncio
import hashlib
import json
import logging
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from services.executor.device_resources import segment_cores
from services.executor.errors import CannotPrepare, ExecutorError
from services.executor.segments.compute_queue import Ticket
from services.executor.segments.engine import RUNTIME_VERSION, EngineSettings, SegmentSession, load_session
from services.executor.segments.idle_profile import IdleProfile, MeasuredGroup, is_enough, make_profile
from services.executor.segments.measuring_turn import measuring_turn
from services.executor.segments.prepare import prepare
from services.executor.segments.processor import Processor
from services.executor.segments.profile_attempts import ProfileAttempts
from services.executor.segments.profile_groups import group_blocks, merge_refusals
from services.executor.segments.segment import open_model
from shared.bus.malloc_tuning import return_free_memory
from shared.machine_identity import processor_model
from shared.messages.control import RejectionCause
from shared.messages.devices import BlockRefusal
from shared.messages.models import Manifest
from shared.model.onnx_file import extract_segment
from shared.model.partitioned_model import PartitionedModel
from shared.row_times import RowTimes

_LOGGER = logging.getLogger(__name__)

_TICKET = Ticket("profiling")
# Relative change of the memory limit that does not count.
_LIMIT_NOISE = 0.05
# A segment that takes longer is measured by its first run, because requests would wait for every other one.
_LONG_RUN_MS = 5000.0
_SAMPLE = "sample.jpg"
# Part of the file names; incremented when the way of measuring changes, so that all models are measured again.
_VERSION = 2

# Returns the path of a file that has blocks [start, stop) of a model.
Fetch = Callable[[int, int], Awaitable[Path]]
# Returns whether these times of runs, in ms, are enough.
Enough = Callable[[Sequence[float]], bool]


@dataclass(frozen=True, slots=True)
class Profiler:
    """Measures models with one engine on one processor, and no more blocks at a time than memory allows.

    Attributes:
        folder: contains the profiles.
        engine: provider and threads of the sessions.
        processor: runs the sessions.
        lock_path: lock file that the executors of one machine share, so that they never measure at the same time.
        memory_limit_bytes: bound on the memory of segments; None for no bound.
        lock_timeout_s: after this time without the lock the measurement begins anyway.
    """

    folder: Path
    engine: EngineSettings
    processor: Processor
    lock_path: Path
    memory_limit_bytes: int | None = None
    lock_timeout_s: float = 300.0

    async def profile(self, manifest: Manifest, fetch: Fetch) -> IdleProfile:
        """Return the model's profile on this machine, from disk or measured now.

        Blocks that do not fit into memory, that the engine does not load or run, or whose measurement ended the
        process twice, are refused in the profile.

        Args:
            manifest: of the model.
            fetch: provides the blocks.

        Raises:
            CannotPrepare: no block can be fetched or read.
        """
        path = profile_path(self.folder, manifest, self.engine)
        cached = await self.cached(manifest)
        if cached is not None:
            return cached
        async with measuring_turn(self.lock_path, self.lock_timeout_s):
            cached = await self.cached(manifest)
            if cached is not None:
                return cached
            started_s = time.monotonic()
            attempts = await asyncio.to_thread(ProfileAttempts, path.with_suffix(".attempts"))
            profile = await _Measurement(self, manifest, fetch, attempts).run()
            _LOGGER.info("profiled %s in %.1f s", manifest.name, time.monotonic() - started_s)
            await asyncio.to_thread(attempts.forget)
        await asyncio.to_thread(keep_profile, path, profile, self.memory_limit_bytes)
        return profile

    async def cached(self, manifest: Manifest) -> IdleProfile | None:
        """Return the profile on disk; None if there is none, or if blocks were refused under another memory limit."""
        path = profile_path(self.folder, manifest, self.engine)
        return await asyncio.to_thread(_read, path, len(manifest.blocks), self.memory_limit_bytes)

    async def repeated_ms(self, work: "partial[dict[str, np.ndarray]]", enough: Enough = is_enough) -> list[float]:
        """Run `work`, which has run before, until its times are `enough`, and return them.

        Every run is one job on the processor that also serves requests. So requests wait for one segment at most, and
        no request disturbs a run.
        """
        times_ms: list[float] = []
        while not enough(times_ms):
            times_ms.append((await self.processor.run(work, _TICKET)).compute_ms)
        return times_ms

    async def time_runs(
        self, session: SegmentSession, inputs: Mapping[str, np.ndarray], enough: Enough = is_enough
    ) -> tuple[list[float], dict[str, np.ndarray]]:
        """Return the times of a segment's runs, in ms, and its outputs.

        Raises:
            ExecutionFailed, MemoryError: as `SegmentSession.run`.
        """
        # Not on the compute thread, where requests wait: a block that nobody has run may take for ever.
        started_s = time.monotonic()
        values = await asyncio.to_thread(session.run_apart, inputs)
        first_ms = 1000 * (time.monotonic() - started_s)
        if first_ms > _LONG_RUN_MS:
            return [first_ms], values
        return await self.repeated_ms(partial(session.run, inputs), enough), values


@dataclass(slots=True)
class _Measurement:
    """The measurement of one model; blocks are those of the manifest.

    Attributes:
        values: the tensors before the next block, as far as they were computed.
    """

    profiler: Profiler
    manifest: Manifest
    fetch: Fetch
    attempts: ProfileAttempts
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    refusals: list[BlockRefusal] = field(default_factory=list)

    async def run(self) -> IdleProfile:
        manifest, limit_bytes = self.manifest, self.profiler.memory_limit_bytes
        if manifest.packing is None and limit_bytes is not None and manifest.size_bytes > limit_bytes:
            # Without packing, the whole file is read to cut it.
            raise CannotPrepare(
                RejectionCause.MEMORY,
                f"{manifest.name} has {manifest.size_bytes / 2**20:.1f} MiB, more than this device has for segments. "
                "It was added by an older version, as a whole: add it again with `segue model add`",
            )
        request = await asyncio.to_thread(sample_request, manifest)
        preparation = partial(prepare, request, manifest)
        self.values = (await self.profiler.processor.run(preparation, _TICKET)).value
        prepare_ms = statistics.median(await self.profiler.repeated_ms(preparation))
        division = group_blocks(manifest.blocks, limit_bytes)
        self.refusals += division.refusals
        measured: list[MeasuredGroup] = []
        for start, stop in division.groups:
            path = await self.fetch(start, stop)
            model = await asyncio.to_thread(open_model, path, manifest)
            measured += await self._group(path, model, start, stop)
        return make_profile(len(manifest.blocks), prepare_ms, measured, merge_refusals(self.refusals))

    async def _group(self, path: Path, model: PartitionedModel, start: int, stop: int) -> list[MeasuredGroup]:
        """Measure a group as one segment, then its blocks. If the segment fails, only the blocks."""
        whole_ms = None
        if stop - start > 1:
            whole_ms, _ = await self._segment(path, model, start, stop)
        groups: list[MeasuredGroup] = []
        for block in range(start, stop):
            block_ms, fault = await self._segment(path, model, block, block + 1)
            if block_ms is None:
                self.refusals.append(BlockRefusal(start=block, stop=block + 1, reason=fault))
            else:
                groups.append(MeasuredGroup(block, (block_ms,), block_ms))
        if whole_ms is None or len(groups) < stop - start:
            return groups
        return [MeasuredGroup(start, tuple(group.whole_ms for group in groups), whole_ms)]

    async def _segment(
        self, path: Path, model: PartitionedModel, start: int, stop: int
    ) -> tuple[float, str] | tuple[None, str]:
        """Return the median of a segment, in ms, or None and why it does not run. Keep the values behind a block."""
        if (fault := self.attempts.refusal(start, stop)) is not None:
            return None, fault
        await asyncio.to_thread(self.attempts.begin, start, stop)
        try:
            took_ms, values = await self._run(path, model, start, stop)
        except (ExecutorError, MemoryError) as error:
            return None, str(error)
        finally:
            # The next segment needs the memory that this one had.
            await asyncio.to_thread(return_free_memory)
            await asyncio.to_thread(self.attempts.end, start, stop)
        if stop - start == 1:
            self.values = values
        return took_ms, ""

    async def _run(
        self, path: Path, model: PartitionedModel, start: int, stop: int
    ) -> tuple[float, dict[str, np.ndarray]]:
        inputs = await asyncio.to_thread(_complete, self.values, model, start - 1)
        session = await asyncio.to_thread(self._load, path, model, start, stop)
        times_ms, values = await self.profiler.time_runs(session, inputs)
        return statistics.median(times_ms), values

    def _load(self, path: Path, model: PartitionedModel, start: int, stop: int) -> SegmentSession:
        # Block k of the manifest is block k-1 of the file.
        flops = sum(block.flops for block in self.manifest.blocks[start:stop])
        data = extract_segment(model, start - 1, stop - 1)
        return load_session(data, self.profiler.engine, path.parent, flops=flops)


def _complete(values: Mapping[str, np.ndarray], model: PartitionedModel, block: int) -> dict[str, np.ndarray]:
    """Return the tensors before a block; those that were not computed here have seeded random values."""
    generator = np.random.default_rng(block)
    needed = model.graph.describe(model.partition.boundary(block))
    known = {tensor.name: values.get(tensor.name) for tensor in needed}
    return {
        tensor.name: array
        if (array := known[tensor.name]) is not None and array.shape == tensor.shape
        else random_tensor(generator, tensor.shape, np.dtype(tensor.dtype.value))
        for tensor in needed
    }


def profile_path(folder: Path, manifest: Manifest, engine: EngineSettings) -> Path:
    """Return the path of a model's profile, measured by this machine with this engine.

    Other input shapes or cuts of the same file have a profile of their own. The name of the host does not count: a
    container has another one after every start.
    """
    # A profile that was measured under another quota of processor time is that of another device.
    cores = segment_cores(engine.threads)
    machine = (
        f"{_VERSION} {processor_model()} {platform.machine()} {RUNTIME_VERSION} {engine.provider} {engine.threads} "
        f"{cores:.1f}"
    )
    machine += f" {manifest.graph_version()}"
    return folder / f"{manifest.model}-{hashlib.sha256(machine.encode()).hexdigest()[:12]}.json"


def sample_request(manifest: Manifest) -> bytes:
    """Return a typical request of a model: a photograph, or a tensor from a fixed seed.

    The request of a model with several inputs is a msgpack map of tensors.
    """
    if manifest.preprocessing.kind == "image":
        return resources.files("services.executor").joinpath("data", _SAMPLE).read_bytes()
    generator = np.random.default_rng(0)
    tensors = {spec.name: random_tensor(generator, spec.shape, np.dtype(spec.dtype)) for spec in manifest.inputs}
    if len(tensors) == 1:
        return next(iter(tensors.values())).tobytes()
    packed = {
        name: {"dtype": array.dtype.name, "shape": list(array.shape), "data": array.tobytes()}
        for name, array in tensors.items()
    }
    data: bytes = msgpack.packb(packed)
    return data


def random_tensor(generator: np.random.Generator, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Return a tensor of random numbers; of zeros if it holds no floats, since integers may be indices."""
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(shape).astype(dtype)
    return np.zeros(shape, dtype)


def _read(path: Path, block_count: int, memory_limit_bytes: int | None) -> IdleProfile | None:
    try:
        document = json.loads(path.read_text())
        refusals = tuple(map(BlockRefusal.model_validate, document["refusals"]))
        block_ms, overhead_ms = tuple(map(float, document["block_ms"])), float(document["segment_overhead_ms"])
        profile = IdleProfile(block_ms, overhead_ms, refusals, _tables(document.get("row_ms")))
        limit_bytes = document["memory_limit_bytes"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        _LOGGER.warning("the profile %s cannot be read and is measured again: %s", path.name, error)
        return None
    if refusals and _differ(limit_bytes, memory_limit_bytes):
        return None
    return profile if len(profile.block_ms) == block_count else None


def _tables(document: Any) -> dict[int, RowTimes] | None:
    if document is None:
        return None
    return {
        int(block): tuple((int(rows), float(time_ms)) for rows, time_ms in table) for block, table in document.items()
    }


def _differ(before_bytes: int | None, now_bytes: int | None) -> bool:
    # The limit depends a little on what the process takes at its start.
    if before_bytes is None or now_bytes is None:
        return before_bytes is not now_bytes
    return abs(before_bytes - now_bytes) > _LIMIT_NOISE * max(before_bytes, now_bytes)


def keep_profile(path: Path, profile: IdleProfile, memory_limit_bytes: int | None = None) -> None:
    """Write a profile to its `profile_path`; an error is logged, and the profile is measured again after a restart."""
    # Replaced atomically: executors share the folder and may read at any time.
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    document = {
        "block_ms": profile.block_ms,
        "segment_overhead_ms": profile.segment_overhead_ms,
        "refusals": [refusal.model_dump() for refusal in profile.refusals],
        "memory_limit_bytes": memory_limit_bytes,
        "row_ms": profile.row_ms,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(document))
        temporary.replace(path)
    except OSError as error:
        _LOGGER.warning("the profile could not be written: %s", error)
