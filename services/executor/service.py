"""The executor as a service: its connections, its tasks, how it begins and how it ends."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from services.executor.config import ExecutorConfig, Watch
from services.executor.control_handler import ControlHandler
from services.executor.feature_maps import decode_feature_map
from services.executor.outbox import Outbox, Publication
from services.executor.pipeline import Pipeline
from services.executor.segments.coding import Coder
from services.executor.segments.device_speed import DeviceSpeed
from services.executor.segments.lifecycle import SegmentLifecycle
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.processor import Processor
from services.executor.segments.profile_publisher import ProfilePublisher
from services.executor.segments.profiler import Profiler
from services.executor.segments.segment_pool import SegmentPool
from services.executor.segments.shadow_check import ShadowCheck
from services.executor.source.journal_thread import JournalThread
from services.executor.source.sources import Sources
from services.executor.source.watch import watch_directory
from services.executor.transfers import TransferLedger
from shared.bus import topics
from shared.bus.connection import Connection, Will
from shared.bus.emulation import LinkRate, ShapedTransport
from shared.bus.errors import BusError, DecodeError, PublishFailed, SubscriptionFailed
from shared.bus.malloc_tuning import keep_large_buffers
from shared.bus.properties import Properties
from shared.bus.transport import BrokerTransport
from shared.codecs import load_registry
from shared.data_directory import lock_directory
from shared.duplicate_names import NameClaim, hold_name
from shared.messages.base import MessageError
from shared.messages.control import Ready, Rejected
from shared.messages.devices import Emulation, Presence, Receipt, State
from shared.messages.requests import REQUEST_ID_PROPERTY
from shared.service_runtime import new_boot_id, segue_version

_LOGGER = logging.getLogger(__name__)

_TICK_S = 0.05
_SLOW_TICK_S = 1.0
_FINISH_S = 3.0
_FAREWELL_S = 2.0


async def serve(config: ExecutorConfig) -> None:
    """Run an executor until it is cancelled; what is under way gets a few seconds to end.

    Raises:
        InputError: the data directory cannot be used, or another process uses it for this device, or has its name.
        BrokerUnreachable: the broker cannot be reached at the start.
        AccessRefused: the broker refuses this device.
    """
    keep_large_buffers()
    presence = await asyncio.to_thread(_presence, config)
    async with (
        lock_directory(config.journal_path.parent),
        hold_name(config.broker, NameClaim.of_device(presence), config.connect_timeout_s),
        _assembled(config, presence) as executor,
    ):
        await executor.run()


def _presence(config: ExecutorConfig) -> Presence:
    return Presence(
        device=config.device,
        state=State.ONLINE,
        version=segue_version(),
        boot_id=new_boot_id(),
        capabilities=config.capabilities(),
    )


class _Announcer:
    """Publishes what this device has retained, after every connect, as soon as it hears what that brings about."""

    def __init__(self, presence: Presence) -> None:
        self.presence = presence
        self._profiles: ProfilePublisher | None = None
        self._sources: Sources | None = None

    async def begin(self, connection: Connection, profiles: ProfilePublisher, sources: Sources) -> None:
        """The device is subscribed to everything: announce it, now and after every reconnect."""
        self._profiles, self._sources = profiles, sources
        await self.announce(connection)

    async def announce(self, connection: Connection) -> None:
        if self._profiles is None or self._sources is None:
            return
        device = self.presence.device
        await connection.publish(topics.presence(device), self.presence.encode(), retain=True)
        for profile in self._profiles.messages():
            await connection.publish(topics.profiles(device, profile.model), profile.encode(), retain=True)
        for usage in self._sources.usages(time.monotonic(), changed_only=False):
            await connection.publish(topics.usage(usage.stream), usage.encode(), retain=True)


@dataclass(slots=True)
class _Executor:
    """The parts of a running executor."""

    config: ExecutorConfig
    presence: Presence
    control: Connection
    bulk: BrokerTransport
    journal: JournalThread
    outbox: Outbox
    holder: SegmentPool
    profiles: ProfilePublisher
    pipeline: Pipeline
    ledger: TransferLedger
    pace: DeviceSpeed
    coder: Coder
    announcer: _Announcer
    shaped: ShapedTransport | None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            sources = Sources(
                device=self.config.device,
                settings=self.config.broker,
                limits=self.config.limits,
                journal=self.journal,
                outbox=self.outbox,
                forward=self.pipeline.forward,
                answered=self.pipeline.answered,
                group=group,
            )
            self.pipeline.on_computed = sources.observed
            desk = ControlHandler(
                self.presence,
                sources,
                self.holder,
                self.profiles,
                self.pace,
                self.ledger,
                self.outbox,
                self._shape,
            )
            group.create_task(self.outbox.run(), name="outbox")
            group.create_task(self.pipeline.run(), name="pipeline")
            group.create_task(self.holder.run(), name="segments")
            group.create_task(self.profiles.run(), name="profiles")
            await sources.resume()
            group.create_task(desk.run(self.control), name="control")
            try:
                await desk.subscribe(self.control)
                await self.announcer.begin(self.control, self.profiles, sources)
            except (SubscriptionFailed, PublishFailed) as error:
                # The broker went away in between; it hears all of it when it is back.
                _LOGGER.warning("%s", error)
            inbox = group.create_task(self._receive(), name="inbox")
            group.create_task(self._tick(sources), name="tick")
            for watch in self.config.watches:
                group.create_task(self._watch(sources, watch), name=f"watch {watch.stream}")
            _LOGGER.info("executor %s is ready", self.config.device)
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                inbox.cancel()
                await self._finish(sources)
                raise

    async def _finish(self, sources: Sources) -> None:
        """Let what is under way here end, then say goodbye."""
        try:
            async with asyncio.timeout(_FINISH_S):
                await sources.pause()
                await self.pipeline.idle()
                await self.outbox.drain()
        except TimeoutError:
            _LOGGER.warning("requests are left under way; their sources try them again")
        offline = self.presence.model_copy(update={"state": State.OFFLINE})
        try:
            topic = topics.presence(self.config.device)
            await self.control.publish(topic, offline.encode(), retain=True, timeout_s=_FAREWELL_S)
        except BusError as error:
            _LOGGER.info("leaving without a goodbye: %s", error)

    async def _receive(self) -> None:
        """Take feature maps in; each is acknowledged to its sender before it has to wait for room."""
        async for delivery in self.bulk:
            try:
                feature_map = decode_feature_map(delivery.buffer, self.coder.registry)
                header = feature_map.header
                if header.stages[header.stage].device != self.config.device:
                    raise MessageError(f"a feature map for {header.stages[header.stage].device}")
            except (MessageError, DecodeError) as error:
                await self.outbox.note_bad_message(topics.inbox(self.config.device), str(error))
                continue
            receipt = Receipt(transfer_id=header.transfer_id, receiver=self.config.device)
            if topics.is_name(header.sender):
                await self.outbox.mention(topics.receipts(header.sender), receipt.encode())
            await self.pipeline.admit(feature_map)

    async def _tick(self, sources: Sources) -> None:
        slow_s = 0.0
        undecodable = 0
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = time.monotonic()
            await sources.bus_changed(self.control.is_connected and self.bulk.connection.is_connected)
            for observation in self.ledger.overdue(now_s):
                await sources.observed(observation)
                await self.outbox.mention(topics.observations(self.config.device), observation.encode())
            if now_s < slow_s:
                continue
            slow_s = now_s + _SLOW_TICK_S
            await self.holder.tick()
            while undecodable < self.bulk.counters.undecodable:
                undecodable += 1
                await self.outbox.note_bad_message(topics.inbox(self.config.device), "bytes that are no chunk")
            for usage in sources.usages(now_s, changed_only=True):
                await self.outbox.put(Publication(topics.usage(usage.stream), usage.encode(), retain=True))

    async def _watch(self, sources: Sources, watch: Watch) -> None:
        source = await sources.begin(watch.stream)

        async def submit(request_id: str, payload: bytes) -> None:
            accepted = asyncio.Event()
            await source.submit(payload, Properties(user={REQUEST_ID_PROPERTY: request_id}), accepted.set)
            await accepted.wait()

        await watch_directory(watch.directory, watch.stream, self.journal, submit)

    def _shape(self, emulation: Emulation) -> None:
        if self.shaped is not None:
            for link in emulation.links:
                self.shaped.set_link(link.target, LinkRate(link.bandwidth_mbps or 0.0, link.latency_ms))


@asynccontextmanager
async def _assembled(config: ExecutorConfig, presence: Presence) -> AsyncIterator[_Executor]:
    """Open what has to be opened, in the order in which it is needed."""
    device, settings = config.device, config.broker
    announcer = _Announcer(presence)
    offline = presence.model_copy(update={"state": State.OFFLINE})
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(JournalThread.open(config.journal_path))
        processor = await stack.enter_async_context(Processor.open())
        control = await stack.enter_async_context(
            Connection.open(
                settings,
                client_id=f"segue-executor-{device}",
                will=Will(topics.presence(device), offline.encode()),
                on_connected=announcer.announce,
                connect_timeout_s=config.connect_timeout_s,
            )
        )
        bulk = await stack.enter_async_context(
            BrokerTransport.open(settings, device, connect_timeout_s=config.connect_timeout_s)
        )
        shaped = ShapedTransport(bulk, {}, LinkRate(math.inf)) if config.emulated else None
        outbox = Outbox(device, control)
        store = ModelCache(config.models_dir, device, settings)
        lifecycle = SegmentLifecycle(config.memory_limit_bytes)
        holder = SegmentPool(device, store, config.engine, lifecycle, partial(_answer, outbox, device))
        pace = DeviceSpeed(config.emulated)
        ledger = TransferLedger(device)
        coder = Coder(await asyncio.to_thread(load_registry), config.engine)
        profiler = Profiler(config.profiles_dir, config.engine, processor, config.lock_path)
        yield _Executor(
            config=config,
            presence=presence,
            control=control,
            bulk=bulk,
            journal=journal,
            outbox=outbox,
            holder=holder,
            profiles=ProfilePublisher(device, store, profiler, pace, outbox),
            pipeline=Pipeline(
                device,
                holder=holder,
                processor=processor,
                transport=shaped or bulk,
                outbox=outbox,
                ledger=ledger,
                pace=pace,
                coder=coder,
                shadow=ShadowCheck(
                    device,
                    config.shadow_share,
                    holder=holder,
                    processor=processor,
                    coder=coder,
                    pace=pace,
                    outbox=outbox,
                ),
                max_tasks=config.max_tasks,
                max_task_bytes=config.max_task_bytes,
            ),
            ledger=ledger,
            pace=pace,
            coder=coder,
            announcer=announcer,
            shaped=shaped,
        )


async def _answer(outbox: Outbox, device: str, answer: Ready | Rejected) -> None:
    await outbox.put(Publication(topics.reports(device), answer.encode()))
