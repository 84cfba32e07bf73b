"""The segments of this device: builds them in the background, hands them out, drops them. The shell of `lifecycle`."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import psutil

from services.executor.errors import CannotPrepare
from services.executor.segments.engine import EngineSettings
from services.executor.segments.fusion import fused_encoding
from services.executor.segments.lifecycle import (
    AnswerReady,
    AnswerRejected,
    Build,
    BuildFailed,
    BuildSucceeded,
    Command,
    Drop,
    EpochKey,
    EpochsOver,
    Event,
    LocalEpochPhase,
    PrepareAsked,
    ReleaseTick,
    SegmentKey,
    SegmentLifecycle,
    SegmentNeed,
    SegmentReturned,
    SegmentWanted,
)
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.segment import Segment, build_segments, need_of
from shared.messages.control import Prepare, Ready, Rejected, RejectionCause, SegmentRange
from shared.messages.models import Manifest

_LOGGER = logging.getLogger(__name__)

_MAX_QUEUED_BUILDS = 256

Answer = Callable[[Ready | Rejected], Awaitable[None]]
"""Tells the planner."""


@dataclass(slots=True)
class SegmentPool:
    """Holds the segments that epochs and feature maps ask for.

    Attributes:
        device: this device's name.
        store: where model files come from.
        engine: how sessions compute.
        lifecycle: what decides.
        answer: how the planner is told.
        build_timeout_s: how long a feature map waits for a segment that is being fetched and built.
    """

    device: str
    store: ModelCache
    engine: EngineSettings
    lifecycle: SegmentLifecycle
    answer: Answer
    build_timeout_s: float = 120.0
    _manifests: dict[str, Manifest] = field(default_factory=dict, init=False)
    _segments: dict[SegmentKey, Segment] = field(default_factory=dict, init=False)
    _waiters: dict[SegmentKey, asyncio.Future[Segment]] = field(default_factory=dict, init=False)
    _builds: asyncio.Queue[SegmentKey] = field(init=False)

    def __post_init__(self) -> None:
        self._builds = asyncio.Queue(_MAX_QUEUED_BUILDS)

    async def run(self) -> None:
        """Build what is asked for, one segment after the other: sessions of large models take much memory to make."""
        while True:
            key = await self._builds.get()
            try:
                segment = await self._build(key)
            except CannotPrepare as error:
                _LOGGER.warning("blocks [%d, %d) cannot be made ready: %s", key.start, key.stop, error.reason)
                self._settle(key, error)
                await self.handle(BuildFailed(key, error.cause, error.reason))
            else:
                self._segments[key] = segment
                self._settle(key, segment)
                await self.handle(BuildSucceeded(key))

    async def prepare(self, asked: Prepare) -> None:
        """Make an epoch ready; the planner is answered when it is, or cannot be."""
        self.know(asked.manifest)
        epoch = EpochKey(asked.stream, asked.epoch)
        needs = tuple(self._need(epoch, asked.manifest, each) for each in asked.segments)
        available_bytes = psutil.virtual_memory().available
        await self.handle(PrepareAsked(epoch, needs, available_bytes))

    async def release(self, stream: str, through_epoch: int | None) -> None:
        """Let go of a stream's epochs, all of them if `through_epoch` is none."""
        await self.handle(EpochsOver(stream, through_epoch))

    async def tick(self) -> None:
        """Drop what is not needed any more."""
        await self.handle(ReleaseTick())

    def is_prepared(self, stream: str, epoch: int) -> bool:
        """Whether an epoch was asked for, by the planner or by a feature map."""
        return self.lifecycle.phase(EpochKey(stream, epoch)) is not LocalEpochPhase.GONE

    def know(self, manifest: Manifest) -> None:
        """Remember a model's manifest."""
        self._manifests[manifest.model] = manifest

    def manifest(self, model: str) -> Manifest | None:
        """Return a model's manifest, if it is known."""
        return self._manifests.get(model)

    @asynccontextmanager
    async def borrow(self, epoch: EpochKey, key: SegmentKey) -> AsyncIterator[Segment]:
        """Hand out a segment for one feature map; it is built first if it is not there.

        Of a segment that is there, it does not matter what it encodes.

        Raises:
            CannotPrepare: it cannot be built, or not in time.
        """
        manifest = self._manifests.get(key.model)
        if manifest is None:
            raise CannotPrepare(RejectionCause.MODEL_MISSING, f"no manifest of model {key.model[:12]} has come yet")
        key = self.lifecycle.variant(epoch, key)
        await self.handle(SegmentWanted(epoch, need_of(manifest, key.start, key.stop, key.encoding)))
        try:
            yield self._segments.get(key) or await self._wait(key)
        finally:
            await self.handle(SegmentReturned(epoch))

    def _need(self, epoch: EpochKey, manifest: Manifest, asked: SegmentRange) -> SegmentNeed:
        """Say what a range takes. An epoch that has it already goes on with what it has, whatever that encodes."""
        encoding = fused_encoding(asked.codec, manifest, asked.start, asked.stop, self.engine)
        key = SegmentKey(manifest.model, asked.start, asked.stop, encoding)
        own = self.lifecycle.variant(epoch, key, own_only=True)
        return need_of(manifest, asked.start, asked.stop, own.encoding)

    async def handle(self, event: Event) -> None:
        """Let the lifecycle decide, and do what it says."""
        await self._perform(self.lifecycle.handle(event, time.monotonic()))

    async def _perform(self, commands: Iterable[Command]) -> None:
        for command in commands:
            match command:
                case Build(key):
                    self._waiters.setdefault(key, asyncio.get_running_loop().create_future())
                    await self._builds.put(key)
                case Drop(key):
                    _LOGGER.info("dropping blocks [%d, %d)", key.start, key.stop)
                    self._segments.pop(key, None)
                case AnswerReady(epoch):
                    await self.answer(Ready(device=self.device, stream=epoch.stream, epoch=epoch.epoch))
                case AnswerRejected(epoch, cause, reason):
                    _LOGGER.warning("epoch %d of %s is rejected: %s", epoch.epoch, epoch.stream, reason)
                    await self.answer(
                        Rejected(device=self.device, stream=epoch.stream, epoch=epoch.epoch, cause=cause, reason=reason)
                    )

    async def _build(self, key: SegmentKey) -> Segment:
        manifest = self._manifests[key.model]
        path = await self.store.path(manifest)
        started_s = time.monotonic()
        try:
            built = await asyncio.to_thread(build_segments, path, manifest, (key,), self.engine)
        except CannotPrepare:
            raise
        except Exception as error:  # Whatever one model's file does to the parser must not end the device.
            _LOGGER.exception("building blocks [%d, %d) of %s failed", key.start, key.stop, manifest.name)
            raise CannotPrepare(RejectionCause.ERROR, f"{type(error).__name__}: {error}") from error
        took_s = time.monotonic() - started_s
        _LOGGER.info("%s [%d, %d) is ready after %.2f s", manifest.name, key.start, key.stop, took_s)
        return built[key]

    async def _wait(self, key: SegmentKey) -> Segment:
        waiter = self._waiters.get(key)
        if waiter is None:
            raise CannotPrepare(RejectionCause.ERROR, "the segment has just been dropped")
        try:
            async with asyncio.timeout(self.build_timeout_s):
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
            waiter.exception()  # Marks it as seen: there may be nobody waiting.
