"""Measurement of idle profiles on this machine, with the results kept on disk."""

import asyncio
import fcntl
import hashlib
import json
import logging
import os
import platform
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

import msgpack
import numpy as np

from services.executor.segments.compute_queue import Ticket
from services.executor.segments.engine import EngineSettings, SegmentSession, load_session
from services.executor.segments.idle_profile import IdleProfile, is_enough, make_profile
from services.executor.segments.prepare import prepare
from services.executor.segments.processor import Processor
from services.executor.segments.segment import open_model
from shared.messages.models import Manifest
from shared.model.onnx_file import extract_segment
from shared.model.partitioned_model import PartitionedModel

_LOGGER = logging.getLogger(__name__)

_TICKET = Ticket("profiling")
_LOCK_POLL_S = 0.05
_SAMPLE = "sample.jpg"
# Part of the file names; incremented when the way of measuring changes, so that all models are measured again.
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Profiler:
    """Measures models with one engine on one processor.

    Attributes:
        folder: contains the profiles.
        engine: provider and threads of the sessions.
        processor: runs the sessions.
        lock_path: lock file that the executors of one machine share, so that they never measure at the same time.
        lock_timeout_s: after this time without the lock the measurement begins anyway.
    """

    folder: Path
    engine: EngineSettings
    processor: Processor
    lock_path: Path
    lock_timeout_s: float = 300.0

    async def profile(self, manifest: Manifest, model_path: Path) -> IdleProfile:
        """Return the model's profile on this machine, from disk or measured now.

        Raises:
            CannotPrepare: the model does not load.
            ExecutionFailed: it does not run.
        """
        path = profile_path(self.folder, manifest.model, self.engine)
        cached = await asyncio.to_thread(_read, path, len(manifest.blocks))
        if cached is not None:
            return cached
        async with _turn(self.lock_path, self.lock_timeout_s):
            cached = await asyncio.to_thread(_read, path, len(manifest.blocks))
            if cached is not None:
                return cached
            started_s = time.monotonic()
            profile = await self._measure(manifest, model_path)
            _LOGGER.info("profiled %s in %.1f s", manifest.name, time.monotonic() - started_s)
        await asyncio.to_thread(keep_profile, path, profile)
        return profile

    async def cached(self, manifest: Manifest) -> IdleProfile | None:
        """Return the profile on disk; None if there is none."""
        path = profile_path(self.folder, manifest.model, self.engine)
        return await asyncio.to_thread(_read, path, len(manifest.blocks))

    async def _measure(self, manifest: Manifest, model_path: Path) -> IdleProfile:
        # Every run of a block is one job on the processor that also serves requests. So requests wait for one block at
        # most, and no request disturbs a run.
        model = await asyncio.to_thread(open_model, model_path, manifest)
        request = await asyncio.to_thread(sample_request, manifest)
        prepare_ms, inputs = await self._median(partial(prepare, request, manifest))
        whole = await self._load(model, 0, len(model.analysis.blocks))
        whole_ms, _ = await self._median(partial(whole.run, inputs))
        del whole  # Frees its memory before the blocks are loaded.
        block_ms: list[float] = []
        values: Mapping[str, np.ndarray] = inputs
        for block in range(len(model.analysis.blocks)):
            session = await self._load(model, block, block + 1)
            took_ms, values = await self._median(partial(session.run, values))
            block_ms.append(took_ms)
        return make_profile(prepare_ms, block_ms, whole_ms)

    async def _load(self, model: PartitionedModel, start: int, stop: int) -> SegmentSession:
        data = await asyncio.to_thread(extract_segment, model, start, stop)
        return await asyncio.to_thread(load_session, data, self.engine)

    async def _median(self, work: "partial[dict[str, np.ndarray]]") -> tuple[float, dict[str, np.ndarray]]:
        """Run `work` once to warm up, then until `is_enough`; return the median, in ms, and the last values."""
        values = (await self.processor.run(work, _TICKET)).value
        times_ms: list[float] = []
        while not is_enough(times_ms):
            times_ms.append((await self.processor.run(work, _TICKET)).compute_ms)
        return statistics.median(times_ms), values


def profile_path(folder: Path, model: str, engine: EngineSettings) -> Path:
    """Return the path of a model's profile, measured by this machine with this engine."""
    machine = f"{_VERSION} {platform.node()} {platform.machine()} {engine.provider} {engine.threads}"
    return folder / f"{model}-{hashlib.sha256(machine.encode()).hexdigest()[:12]}.json"


def sample_request(manifest: Manifest) -> bytes:
    """Return a typical request of a model: a photograph, or a tensor from a fixed seed.

    The request of a model with several inputs is a msgpack map of tensors.
    """
    if manifest.preprocessing.kind == "image":
        return resources.files("services.executor").joinpath("data", _SAMPLE).read_bytes()
    generator = np.random.default_rng(0)
    tensors = {spec.name: _random(generator, spec.shape, np.dtype(spec.dtype)) for spec in manifest.inputs}
    if len(tensors) == 1:
        return next(iter(tensors.values())).tobytes()
    packed = {
        name: {"dtype": array.dtype.name, "shape": list(array.shape), "data": array.tobytes()}
        for name, array in tensors.items()
    }
    data: bytes = msgpack.packb(packed)
    return data


def _random(generator: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if np.issubdtype(dtype, np.floating):
        return generator.standard_normal(shape).astype(dtype)
    return np.zeros(shape, dtype)


@asynccontextmanager
async def _turn(path: Path, timeout_s: float) -> AsyncIterator[None]:
    """Hold the machine's lock file."""
    descriptor = await asyncio.to_thread(os.open, path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not await _acquire(descriptor, timeout_s):
            _LOGGER.warning("%s was not free within %g s: measuring without the lock", path, timeout_s)
        yield
    finally:
        os.close(descriptor)


async def _acquire(descriptor: int, timeout_s: float) -> bool:
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        try:
            # Polled: a blocking flock has no timeout, and its thread could not be cancelled.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            await asyncio.sleep(_LOCK_POLL_S)
    return False


def _read(path: Path, block_count: int) -> IdleProfile | None:
    try:
        document = json.loads(path.read_text())
        profile = IdleProfile(tuple(map(float, document["block_ms"])), float(document["segment_overhead_ms"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        _LOGGER.warning("the profile %s cannot be read and is measured again: %s", path.name, error)
        return None
    return profile if len(profile.block_ms) == block_count else None


def keep_profile(path: Path, profile: IdleProfile) -> None:
    """Write a profile to its `profile_path`; an error is logged, and the profile is measured again after a restart."""
    # Replaced atomically: executors share the folder and may read at any time.
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    document = {"block_ms": profile.block_ms, "segment_overhead_ms": profile.segment_overhead_ms}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(document))
        temporary.replace(path)
    except OSError as error:
        _LOGGER.warning("the profile could not be written: %s", error)
