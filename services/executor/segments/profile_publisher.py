"""Profiles of this device: found on disk or measured, one model at a time, and published."""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from services.executor.errors import CannotPrepare, ExecutorError
from services.executor.outbox import Outbox, Publication
from services.executor.segments.device_speed import DeviceSpeed
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.profiler import Profiler
from shared.bus import topics
from shared.messages.control import ProfileFailed, RejectionCause
from shared.messages.devices import Profile
from shared.messages.models import Manifest

_LOGGER = logging.getLogger(__name__)

_MAX_QUEUED = 256


@dataclass(frozen=True, slots=True)
class _Order:
    manifest: Manifest
    measure: bool


@dataclass(slots=True)
class ProfilePublisher:
    """Answers the planner's wish for a profile, and remembers those of former lives.

    A retained profile that this machine has not measured is that of another machine which had the device's name before:
    it is replaced by a measured one, without a wish.

    Attributes:
        device: this device's name.
        store: where model files come from.
        profiler: what measures.
        pace: what is told of the profiles, and what scales them for an emulated device.
        outbox: where profiles are published.
    """

    device: str
    store: ModelCache
    profiler: Profiler
    pace: DeviceSpeed
    outbox: Outbox
    _orders: asyncio.Queue[_Order] = field(default_factory=lambda: asyncio.Queue(_MAX_QUEUED), init=False)
    _manifests: dict[str, Manifest] = field(default_factory=dict, init=False)
    _inherited: set[str] = field(default_factory=set, init=False)

    async def run(self) -> None:
        """Work off the orders, for ever."""
        while True:
            order = await self._orders.get()
            try:
                await self._fulfil(order)
            except CannotPrepare as error:
                await self._fail(order.manifest, error.cause, error.reason)
            except (ExecutorError, MemoryError) as error:
                await self._fail(order.manifest, RejectionCause.ERROR, str(error))
            except Exception as error:  # Whatever one model does must not end the device.
                _LOGGER.exception("profiling %s failed", order.manifest.name)
                await self._fail(order.manifest, RejectionCause.ERROR, f"{type(error).__name__}: {error}")

    async def measure(self, manifest: Manifest) -> None:
        """Publish the model's profile, measured if need be; ProfileFailed if it cannot be."""
        await self._orders.put(_Order(manifest, measure=True))

    async def recall(self, manifest: Manifest) -> None:
        """Publish the model's profile if a former life has measured it, or if it has to replace an inherited one."""
        if self.pace.idle(manifest.model) is None:
            self._manifests[manifest.model] = manifest
            await self._orders.put(_Order(manifest, measure=manifest.model in self._inherited))

    async def found(self, model: str) -> None:
        """A profile under this device's name is on the bus: its own, or inherited."""
        if self.pace.idle(model) is not None or model in self._inherited:
            return
        self._inherited.add(model)
        if (manifest := self._manifests.get(model)) is not None:
            await self._orders.put(_Order(manifest, measure=True))

    async def publish_all(self) -> None:
        """Publish every profile again: the device's pace has changed."""
        for model in self.pace.models():
            await self._publish(model)

    def messages(self) -> list[Profile]:
        """Return the profiles as the fleet sees them."""
        return [profile for model in self.pace.models() if (profile := self._message(model))]

    async def _fulfil(self, order: _Order) -> None:
        manifest = order.manifest
        profile = await self.profiler.cached(manifest)
        if profile is None and not order.measure:
            return
        if profile is None:
            path = await self.store.path(manifest)
            profile = await self.profiler.profile(manifest, path)
        self.pace.learn(manifest.model, profile)
        self._manifests.pop(manifest.model, None)
        await self._publish(manifest.model)

    async def _publish(self, model: str) -> None:
        message = self._message(model)
        if message is not None:
            await self.outbox.put(Publication(topics.profiles(self.device, model), message.encode(), retain=True))

    def _message(self, model: str) -> Profile | None:
        idle = self.pace.idle(model)
        if idle is None:
            return None
        return Profile(
            device=self.device,
            model=model,
            block_ms=idle.block_ms,
            segment_overhead_ms=idle.segment_overhead_ms,
            provider=self.profiler.engine.provider,
            threads=self.profiler.engine.threads,
            measured_at_s=time.time(),
        )

    async def _fail(self, manifest: Manifest, cause: RejectionCause, reason: str) -> None:
        _LOGGER.warning("no profile of %s: %s", manifest.name, reason)
        failed = ProfileFailed(device=self.device, model=manifest.model, cause=cause, reason=reason)
        await self.outbox.put(Publication(topics.reports(self.device), failed.encode()))
