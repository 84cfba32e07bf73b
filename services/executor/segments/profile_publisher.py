"""Profiles of this device: read from disk or measured, one model at a time, and published."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from services.executor.errors import CannotPrepare, ExecutorError
from services.executor.outbox import Outbox, Publication
from services.executor.segments.device_speed import DeviceSpeed
from services.executor.segments.idle_profile import IdleProfile
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.profiler import Profiler
from services.executor.segments.row_measurement import profile_with_rows
from shared.bus import topics
from shared.messages.control import ProfileFailed, RejectionCause
from shared.messages.devices import BlockRefusal, BlockRowTimes, Profile
from shared.messages.models import Manifest
from shared.row_times import RowTimes

_LOGGER = logging.getLogger(__name__)

# Bound of the order queue. When more models are announced in one batch, the control handler waits.
_MAX_QUEUED = 256


@dataclass(frozen=True, slots=True)
class _Order:
    """Order of a model's profile; without `measure` only a profile on disk is published.

    With `in_tiles`, tiles are measured after the profile has been published, which is then published again.
    """

    manifest: Manifest
    measure: bool
    in_tiles: bool = False


@dataclass(slots=True)
class ProfilePublisher:
    """Publishes profiles that the planner requests, and those on disk without a request.

    Retained profiles not measured here belong to a previous owner of the device name; they are measured again without a
    request.

    Attributes:
        device: name of this device.
        models: provides model files.
        profiler: measures.
        speed: stores the profiles, and scales them for an emulated device.
        outbox: publishes profiles.
    """

    device: str
    models: ModelCache
    profiler: Profiler
    speed: DeviceSpeed
    outbox: Outbox
    _orders: asyncio.Queue[_Order] = field(default_factory=lambda: asyncio.Queue(_MAX_QUEUED), init=False)
    # Manifests of models without a profile yet.
    _manifests: dict[str, Manifest] = field(default_factory=dict, init=False)
    # Models with a retained profile that this process has not published. Profile and manifest arrive in any order, so
    # whichever comes second orders the measurement.
    _inherited: set[str] = field(default_factory=set, init=False)
    # Failures that were published, by model. They come back as retained messages.
    _failures: dict[str, Profile] = field(default_factory=dict, init=False)

    async def run(self) -> None:
        """Process the orders until cancelled."""
        while True:
            order = await self._orders.get()
            try:
                await self._fulfil(order)
            except CannotPrepare as error:
                await self._fail(order.manifest, error.cause, error.reason)
            except (ExecutorError, MemoryError) as error:
                await self._fail(order.manifest, RejectionCause.ERROR, str(error))
            except Exception as error:  # One model must not end the device.
                _LOGGER.exception("profiling %s failed", order.manifest.name)
                await self._fail(order.manifest, RejectionCause.ERROR, f"{type(error).__name__}: {error}")

    async def measure(self, manifest: Manifest, *, in_tiles: bool = False) -> None:
        """Order a model's profile, measured if it is not on disk; ProfileFailed is published if that fails."""
        await self._orders.put(_Order(manifest, measure=True, in_tiles=in_tiles))

    async def recall(self, manifest: Manifest) -> None:
        """Order a model's profile if it is on disk, or if it has to replace an inherited one."""
        if self.speed.graph(manifest.model) != manifest.graph_version():
            self._manifests[manifest.model] = manifest
            await self._orders.put(_Order(manifest, measure=manifest.model in self._inherited))

    async def note_retained(self, model: str) -> None:
        """Take note of a retained profile under this device's name: its own, or inherited."""
        if self.speed.idle(model) is not None or model in self._inherited or model in self._failures:
            return
        self._inherited.add(model)
        if (manifest := self._manifests.get(model)) is not None:
            await self._orders.put(_Order(manifest, measure=True))

    async def publish_all(self) -> None:
        """Publish every profile again, after the emulated slowdown has changed."""
        for model in self.speed.models():
            await self._publish(model)

    def messages(self) -> list[Profile]:
        """Return the profiles as published."""
        measured = [profile for model in self.speed.models() if (profile := self._message(model))]
        return [*measured, *self._failures.values()]

    async def _fulfil(self, order: _Order) -> None:
        manifest = order.manifest
        profile = await self.profiler.cached(manifest)
        if profile is None and not order.measure:
            return
        if profile is None:
            profile = await self.profiler.profile(manifest, partial(self.models.path, manifest))
        await self._measured(manifest, profile)
        if order.in_tiles and profile.row_ms is None:
            await self._add_tiles(manifest, profile)

    async def _add_tiles(self, manifest: Manifest, profile: IdleProfile) -> None:
        try:
            with_tiles = await profile_with_rows(self.profiler, manifest, profile, partial(self.models.path, manifest))
        except (ExecutorError, MemoryError) as error:
            # The profile stays as it is. The planner asks again.
            _LOGGER.warning("tiles of %s were not measured: %s", manifest.name, error)
            return
        await self._measured(manifest, with_tiles)

    async def _measured(self, manifest: Manifest, profile: IdleProfile) -> None:
        self.speed.learn(manifest, profile)
        self._manifests.pop(manifest.model, None)
        self._failures.pop(manifest.model, None)
        await self._publish(manifest.model)

    async def _publish(self, model: str) -> None:
        message = self._message(model)
        if message is not None:
            await self.outbox.put(Publication(topics.profiles(self.device, model), message.encode(), retain=True))

    def _message(self, model: str) -> Profile | None:
        idle = self.speed.idle(model)
        if idle is None:
            return None
        return Profile(
            device=self.device,
            model=model,
            graph=self.speed.graph(model),
            block_ms=idle.block_ms,
            segment_overhead_ms=idle.segment_overhead_ms,
            provider=self.profiler.engine.provider,
            threads=self.profiler.engine.threads,
            measured_at_s=time.time(),
            refusals=idle.refusals,
            row_times=None if idle.row_ms is None else _row_times(idle.row_ms),
        )

    async def _fail(self, manifest: Manifest, cause: RejectionCause, reason: str) -> None:
        """Report a failure, and keep it where the profile would be: everybody sees it there, also later."""
        _LOGGER.warning("no profile of %s: %s", manifest.name, reason)
        failed = ProfileFailed(device=self.device, model=manifest.model, cause=cause, reason=reason)
        refusal = BlockRefusal(start=0, stop=len(manifest.blocks), reason=reason)
        profile = Profile(
            device=self.device,
            model=manifest.model,
            graph=manifest.graph_version(),
            block_ms=(),
            refusals=(refusal,),
            measured_at_s=time.time(),
        )
        self._failures[manifest.model] = profile
        await self.outbox.put(Publication(topics.reports(self.device), failed.encode()))
        await self.outbox.put(Publication(topics.profiles(self.device, manifest.model), profile.encode(), retain=True))


def _row_times(tables: Mapping[int, RowTimes]) -> tuple[BlockRowTimes, ...]:
    return tuple(BlockRowTimes(block=block, points=table) for block, table in sorted(tables.items()))
