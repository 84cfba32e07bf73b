"""Measures a model's blocks on this machine, once, idle, and keeps the result on disk. The shell of `profile`."""

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
_VERSION = 1
"""Counted up when the way of measuring changes, so that old files are measured again."""


@dataclass(frozen=True, slots=True)
class Profiler:
    """Measures models with one engine on one processor.

    Attributes:
        folder: where profiles are kept.
        engine: how sessions compute.
        processor: where they run.
        lock_path: file on which the executors of one machine take turns.
        lock_timeout_s: after this long without a turn it measures anyway.
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
        """Return what an earlier life measured."""
        path = profile_path(self.folder, manifest.model, self.engine)
        return await asyncio.to_thread(_read, path, len(manifest.blocks))

    async def _measure(self, manifest: Manifest, model_path: Path) -> IdleProfile:
        model = await asyncio.to_thread(open_model, model_path, manifest)
        request = await asyncio.to_thread(sample_request, manifest)
        prepare_ms, inputs = await self._median(partial(prepare, request, manifest))
        whole = await self._load(model, 0, len(model.analysis.blocks))
        whole_ms, _ = await self._median(partial(whole.run, inputs))
        del whole
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
        """Run `work` once to warm up, then until it is enough; requests may come in between."""
        values = (await self.processor.run(work, _TICKET)).value
        times_ms: list[float] = []
        while not is_enough(times_ms):
            times_ms.append((await self.processor.run(work, _TICKET)).compute_ms)
        return statistics.median(times_ms), values


def profile_path(folder: Path, model: str, engine: EngineSettings) -> Path:
    """Return the file in `folder` that keeps what this machine has measured of a model with this engine."""
    machine = f"{_VERSION} {platform.node()} {platform.machine()} {engine.provider} {engine.threads}"
    return folder / f"{model}-{hashlib.sha256(machine.encode()).hexdigest()[:12]}.json"


def sample_request(manifest: Manifest) -> bytes:
    """Return a request like those of the field: the sample photograph, or a seeded tensor.

    A model with several inputs gets a msgpack map of them.
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
    """Hold the machine's lock file, so that two executors never measure at once."""
    descriptor = await asyncio.to_thread(os.open, path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not await _acquire(descriptor, timeout_s):
            _LOGGER.warning("no turn at %s within %g s: measuring all the same", path, timeout_s)
        yield
    finally:
        os.close(descriptor)


async def _acquire(descriptor: int, timeout_s: float) -> bool:
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        try:
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
        _LOGGER.warning("the profile %s does not read, it is measured again: %s", path.name, error)
        return None
    return profile if len(profile.block_ms) == block_count else None


def keep_profile(path: Path, profile: IdleProfile) -> None:
    """Write a profile where `profile_path` says; a full disk is logged, and the next life measures again."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    document = {"block_ms": profile.block_ms, "segment_overhead_ms": profile.segment_overhead_ms}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(document))
        temporary.replace(path)
    except OSError as error:
        _LOGGER.warning("the profile is not kept: %s", error)
