"""Segments of this device: built in the background, lent to feature maps, and dropped.

`SegmentPool` performs the commands of the state machine in `lifecycle`.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from services.executor.device_resources import available_memory
from services.executor.errors import CannotPrepare
from services.executor.segments.engine import EngineSettings
from services.executor.segments.fusion import fused_encoding
from services.executor.segments.lifecycle import LocalEpochPhase, SegmentLifecycle
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.segment import Segment, build_segments, need_of, rows_of
from services.executor.segments.segment_events import (
    AnswerReady,
    AnswerRejected,
    Build,
    BuildFailed,
    BuildSucceeded,
    Drop,
    EpochKey,
    EpochsOver,
    PrepareAsked,
    ReleaseTick,
    SegmentBorrowed,
    SegmentCommand,
    SegmentEvent,
    SegmentKey,
    SegmentNeed,
    SegmentReturned,
    tiling_of,
)
from shared.bus.malloc_tuning import return_free_memory
from shared.messages.control import Prepare, Ready, Rejected, RejectionCause, SegmentRange
from shared.messages.models import Manifest, ModelVersion

_LOGGER = logging.getLogger(__name__)

# Bound of the build queue. When it is full the caller waits. A segment that is in the queue is not queued again.
_MAX_QUEUED_BUILDS = 256


@dataclass(slots=True)
class SegmentPool:
    """Builds, lends and drops the segments that epochs and feature maps ask for.

    Invariant: the keys of `_segments` are `lifecycle.loaded`, except between a build and its BuildSucceeded, and every
    segment that is being built has a waiter. Both hold at every `await`. Only `run` adds segments, so at most one is
    built at a time.

    Attributes:
        device: name of this device.
        models: provides model files.
        engine: how sessions compute.
        lifecycle: decides what to build and to drop.
        answer: sends the answer to a Prepare to the planner.
        build_timeout_s: how long a feature map waits for a segment that is being fetched and built.
        available_bytes: returns the memory that this process can take now.
    """

    device: str
    models: ModelCache
    engine: EngineSettings
    lifecycle: SegmentLifecycle
    answer: Callable[[Ready | Rejected], Awaitable[None]]
    build_timeout_s: float = 120.0
    available_bytes: Callable[[], int] = available_memory
    # The newest version of every model, and the manifests of all versions in use.
    _newest: dict[str, str] = field(default_factory=dict, init=False)
    _versions: dict[tuple[str, str], Manifest] = field(default_factory=dict, init=False)
    # The versions that the library keeps, by the planner's digests, which may differ from those of this release.
    _kept: dict[str, ModelVersion] = field(default_factory=dict, init=False)
    # Version of the newest plan of every stream, with its epoch.
    _planned: dict[str, tuple[int, str]] = field(default_factory=dict, init=False)
    _segments: dict[SegmentKey, Segment] = field(default_factory=dict, init=False)
    _waiters: dict[SegmentKey, asyncio.Future[Segment]] = field(default_factory=dict, init=False)
    _builds: asyncio.Queue[SegmentKey] = field(init=False)

    def __post_init__(self) -> None:
        self._builds = asyncio.Queue(_MAX_QUEUED_BUILDS)

    async def run(self) -> None:
        """Build segments until cancelled, one at a time: loading a large model takes much memory for a moment."""
        while True:
            key = await self._builds.get()
            try:
                segment = await self._build(key)
            except CannotPrepare as error:
                _LOGGER.warning("blocks [%d, %d) cannot be made ready: %s", key.start, key.stop, error.reason)
                self._settle(key, error)
                await self.handle(BuildFailed(key, error.cause, error.reason))
            else:
                # Stored before the event, because the lifecycle may then answer Ready or drop the segment.
                self._segments[key] = segment
                self._settle(key, segment)
                await self.handle(BuildSucceeded(key))

    async def prepare(self, asked: Prepare) -> None:
        """Make an epoch ready. The answer to the planner follows when it is ready or has failed."""
        version = self._store(asked.manifest)
        # A command that was sent again may be older than the retained manifest.
        self._newest.setdefault(asked.manifest.model, version)
        epoch = EpochKey(asked.stream, asked.epoch)
        needs = tuple(self._need(epoch, asked.manifest, version, segment_range) for segment_range in asked.segments)
        # Read now and not at the start: other processes of the machine come and go.
        available_bytes = self.available_bytes()
        await self.handle(PrepareAsked(epoch, needs, available_bytes))

    async def release(self, stream: str, through_epoch: int | None) -> None:
        """Release a stream's epochs up to `through_epoch`, or all of them (None)."""
        await self.handle(EpochsOver(stream, through_epoch))

    async def tick(self) -> None:
        """Drop the segments that no epoch needs."""
        await self.handle(ReleaseTick())

    def is_prepared(self, stream: str, epoch: int) -> bool:
        """Return whether the planner or its plan has asked for an epoch that is not over."""
        return self.lifecycle.phase(EpochKey(stream, epoch)) in {LocalEpochPhase.PREPARING, LocalEpochPhase.READY}

    def know(self, manifest: Manifest) -> None:
        """Store the newest manifest of a model. Epochs that run under an earlier one keep it until they are over."""
        self._newest[manifest.model] = self._store(manifest)

    def _store(self, manifest: Manifest) -> str:
        """Store a manifest, drop those that nothing uses any more, and return its version."""
        version = manifest.version()
        used = {(key.model, key.version) for key in self.lifecycle.held} | set(self._newest.items())
        planned = {planned for _, planned in self._planned.values()}
        kept = {place: each for place, each in self._versions.items() if place in used or place[1] in planned}
        self._versions = {**kept, (manifest.model, version): manifest}
        return version

    def version_known(self, version: str, kept: ModelVersion | None) -> None:
        """Take note of a version that the library keeps, or of its removal (None)."""
        if kept is None:
            self._kept.pop(version, None)
        else:
            self._kept[version] = kept

    def plan_known(self, epoch: EpochKey, manifest: Manifest | None) -> None:
        """Take note of the manifest under which the epoch of a committed plan runs."""
        if manifest is not None:
            self._planned[epoch.stream] = (epoch.epoch, self._store(manifest))

    def manifest(self, model: str, version: str = "") -> Manifest | None:
        """Return a model's manifest in a version that the library keeps, else its newest; None if none has arrived."""
        kept = self._kept.get(version)
        if kept is not None and kept.model == model:
            return kept.manifest
        return self._versions.get((model, self._newest.get(model, "")))

    def manifest_of(self, epoch: EpochKey, model: str) -> Manifest | None:
        """Return the manifest by which an epoch runs a model; the newest one for an epoch that is not known."""
        version = self.lifecycle.version(epoch, model)
        planned_epoch, planned_version = self._planned.get(epoch.stream, (0, ""))
        if version is None and planned_epoch == epoch.epoch:
            version = planned_version
        return self._versions.get((model, version or self._newest.get(model, "")))

    @property
    def manifests(self) -> Collection[Manifest]:
        """The manifests of every known model: the newest one, and those of versions that the library keeps."""
        newest = (self._versions[place] for place in self._newest.items())
        return [*newest, *(kept.manifest for kept in self._kept.values())]

    @asynccontextmanager
    async def borrow(self, epoch: EpochKey, key: SegmentKey) -> AsyncIterator[Segment]:
        """Lend a segment for one feature map; it is built first if it is not loaded.

        A loaded segment of the same blocks serves with any encoding: its graph has the plain outputs as well.

        Raises:
            CannotPrepare: it cannot be built, or not in time.
        """
        manifest = self.manifest_of(epoch, key.model)
        if manifest is None:
            raise CannotPrepare(RejectionCause.MODEL_MISSING, f"no manifest of model {key.model[:12]} has come yet")
        version = manifest.version()
        # The route names blocks only. The Prepare of the epoch said whether the segment encodes its outputs, and by
        # which version of the manifest it runs.
        key = self.lifecycle.variant(epoch, replace(key, version=version))
        await self.handle(SegmentBorrowed(epoch, need_of(manifest, key)))
        try:
            yield self._segments.get(key) or await self._wait(key)
        finally:
            await self.handle(SegmentReturned(epoch))

    def lend(self, epoch: EpochKey, key: SegmentKey) -> Segment | None:
        """Lend a segment that is loaded, as `borrow` does; None if it is not. `give_back` ends it."""
        manifest = self.manifest_of(epoch, key.model)
        if manifest is None:
            return None
        version = manifest.version()
        held = self.lifecycle.variant(epoch, replace(key, version=version))
        segment = self._segments.get(held)
        if segment is None or not self.lifecycle.is_loaded(held):
            return None
        need = need_of(manifest, held)
        # Of a loaded segment there is nothing to build, and so nothing to do.
        self.lifecycle.handle(SegmentBorrowed(epoch, need), time.monotonic())
        return segment

    def give_back(self, epoch: EpochKey) -> None:
        """End a loan of `lend`."""
        self.lifecycle.handle(SegmentReturned(epoch), time.monotonic())

    def _need(self, epoch: EpochKey, manifest: Manifest, version: str, asked: SegmentRange) -> SegmentNeed:
        """Return the memory needs of a range. An epoch that has the range keeps its segment, with any encoding."""
        # The encoder of a graph encodes whole outputs, and rows are encoded block by block.
        is_plain = asked.rows is not None or asked.next_stop > 0
        encoding = "" if is_plain else fused_encoding(asked.codec, manifest, asked.start, asked.stop, self.engine)
        key = SegmentKey(manifest.model, asked.start, asked.stop, encoding, version, tiling_of(asked))
        return need_of(manifest, self.lifecycle.variant(epoch, key, own_only=True))

    async def handle(self, event: SegmentEvent) -> None:
        """Pass an event to the lifecycle and perform its commands."""
        await self._perform(self.lifecycle.handle(event, time.monotonic()))

    async def _perform(self, commands: Sequence[SegmentCommand]) -> None:
        # First what the lifecycle knows already, without a pause: at every `await` other events are handled. A segment
        # that is dropped after a pause may have been built again meanwhile.
        for command in commands:
            if isinstance(command, Build):
                self._waiters.setdefault(command.key, asyncio.get_running_loop().create_future())
            elif isinstance(command, Drop):
                _LOGGER.info("dropping blocks [%d, %d)", command.key.start, command.key.stop)
                self._segments.pop(command.key, None)
        for command in commands:
            match command:
                case Build(key):
                    await self._builds.put(key)
                case AnswerReady(epoch):
                    await self.answer(Ready(device=self.device, stream=epoch.stream, epoch=epoch.epoch))
                case AnswerRejected(epoch, cause, reason):
                    _LOGGER.warning("epoch %d of %s is rejected: %s", epoch.epoch, epoch.stream, reason)
                    await self.answer(
                        Rejected(device=self.device, stream=epoch.stream, epoch=epoch.epoch, cause=cause, reason=reason)
                    )
        if any(isinstance(command, Drop) for command in commands):
            await asyncio.to_thread(return_free_memory)

    async def _build(self, key: SegmentKey) -> Segment:
        manifest = self._versions[key.model, key.version]
        twin = self._twin(key, manifest)
        if twin is not None and twin.key.tiling == key.tiling:
            return replace(twin, key=key, manifest=manifest)
        # The rows that the next segment needs are in the graph, also behind block 0.
        path = await self.models.path(manifest, key.start, max(2, key.stop) if key.tiling.next_stop else key.stop)
        started_s = time.monotonic()
        try:
            if twin is not None:
                rows = await asyncio.to_thread(rows_of, path, manifest, key)
                return replace(twin, key=key, manifest=manifest, rows=rows)
            built = await asyncio.to_thread(build_segments, path, manifest, (key,), self.engine)
        except CannotPrepare:
            raise
        except Exception as error:  # One model's file must not end the device.
            _LOGGER.exception("building blocks [%d, %d) of %s failed", key.start, key.stop, manifest.name)
            raise CannotPrepare(RejectionCause.ERROR, f"{type(error).__name__}: {error}") from error
        took_s = time.monotonic() - started_s
        _LOGGER.info("%s [%d, %d) is ready after %.2f s", manifest.name, key.start, key.stop, took_s)
        return built[key]

    def _twin(self, key: SegmentKey, manifest: Manifest) -> Segment | None:
        """Return a loaded segment with the same graph: labels, preprocessing, kind of the output or readers may differ.

        Its session serves both versions, because one thread runs all sessions.
        """
        for other in self._segments.values():
            described = other.manifest
            if other.key.graph == key.graph and (described.inputs, described.blocks) == (
                manifest.inputs,
                manifest.blocks,
            ):
                return other
        return None

    async def _wait(self, key: SegmentKey) -> Segment:
        waiter = self._waiters.get(key)
        if waiter is None:
            raise CannotPrepare(RejectionCause.ERROR, "the segment has just been dropped")
        try:
            async with asyncio.timeout(self.build_timeout_s):
                # Shielded: several feature maps may await one build, and a timeout of one must not cancel it.
                return await asyncio.shield(waiter)
        except TimeoutError:
            text = f"the segment was not built within {self.build_timeout_s:g} s"
            raise CannotPrepare(RejectionCause.ERROR, text) from None

    def _settle(self, key: SegmentKey, result: Segment | CannotPrepare) -> None:
        waiter = self._waiters.pop(key, None)
        if waiter is None or waiter.done():
            return
        if isinstance(result, Segment):
            waiter.set_result(result)
        else:
            waiter.set_exception(result)
            waiter.exception()  # Marks the exception as retrieved, since no feature map may be waiting.
