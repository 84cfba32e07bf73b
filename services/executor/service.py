"""The executor as a service: opens its connections, builds and runs its parts, and leaves in order."""

import asyncio
import logging
import math
import time
from dataclasses import replace

from services.executor.admission import Admission
from services.executor.announcer import Announcer, first_presence
from services.executor.config import ExecutorConfig
from services.executor.control_handler import ControlHandler
from services.executor.device_resources import DeviceResources, segment_cores
from services.executor.direct_answers import DirectAnswers
from services.executor.direct_probes import DirectProbes
from services.executor.executor_resources import ExecutorResources, open_resources
from services.executor.inbox import Inbox
from services.executor.lane_receiver import LaneReceiver
from services.executor.lane_runner import LaneRunner
from services.executor.lane_sender import LaneSender
from services.executor.observations import ObservationFeed
from services.executor.outbox import Outbox, Publication
from services.executor.outcome_delivery import OutcomeDelivery
from services.executor.output_sender import OutputSender
from services.executor.peer_clocks import PeerClocks
from services.executor.pipeline import Pipeline
from services.executor.planned_receivers import PlannedReceivers
from services.executor.segments.coding import Coder
from services.executor.segments.device_speed import DeviceSpeed
from services.executor.segments.hang_watch import HangWatch
from services.executor.segments.lifecycle import SegmentLifecycle
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.profile_publisher import ProfilePublisher
from services.executor.segments.profiler import Profiler
from services.executor.segments.segment_pool import SegmentPool
from services.executor.segments.shadow_check import ShadowCheck
from services.executor.sender import AttemptTracker, Sender
from services.executor.source.output_receiver import OutputReceiver
from services.executor.source.request_limit import largest_result_bytes
from services.executor.source.sources import Sources
from services.executor.stage_runner import StageRunner
from services.executor.transfers import TransferLedger
from shared.bus import topics
from shared.bus.errors import BusError, PublishFailed, SubscriptionFailed
from shared.bus.feature_maps.chunk_sender import ChunkSender
from shared.bus.feature_maps.emulation import ShapedTransport
from shared.bus.feature_maps.link_schedule import LinkRate
from shared.bus.feature_maps.transport import BrokerTransport, FeatureMapTransport
from shared.bus.malloc_tuning import keep_large_buffers
from shared.client_secret import with_client_secret
from shared.data_directory import lock_directory
from shared.direct.direct_transport import DirectTransport
from shared.direct.transport_switch import TransportSwitch
from shared.duplicate_names import NameClaim, hold_name
from shared.health.service_health import ServiceHealth
from shared.lane.input_assembly import InputAssembler
from shared.large_outcomes import OUTPUT_CHUNK_BYTES
from shared.messages.control import Ready, Rejected
from shared.messages.devices import Emulation, State

_LOGGER = logging.getLogger(__name__)

# So short that a source reacts to an overdue transfer or a lost broker well within its retry timeouts.
_TICK_S = 0.05
# Without requests and transfers a tick is only to notice the loss of the broker.
_IDLE_TICK_S = 0.25
_SLOW_TICK_S = 1.0
# A broker that owes an answer for so long has stopped: sources wait for it, and their timeouts do not run.
_SILENT_S = 3.0
# Time that requests on this device have to finish when it shuts down.
_FINISH_S = 3.0
_OFFLINE_TIMEOUT_S = 2.0


async def serve(config: ExecutorConfig, health: ServiceHealth | None = None) -> None:
    """Run an executor until it is cancelled; requests on this device then get a few seconds to finish.

    `health` is told when the executor is ready.

    Raises:
        InputError: the data directory cannot be used, another process uses it, or the device's name is taken.
        BrokerUnreachable: the broker cannot be reached at the start.
        AccessRefused: the broker refuses this device.
    """
    keep_large_buffers()
    settings = await asyncio.to_thread(with_client_secret, config.broker, config.journal_path.parent)
    config = replace(config, broker=settings)
    resources = await asyncio.to_thread(DeviceResources.read, config.memory_limit_bytes)
    presence = await asyncio.to_thread(first_presence, config, resources)
    announcer = Announcer(presence)
    async with (
        lock_directory(config.journal_path.parent),
        hold_name(config.broker, NameClaim.of_device(presence), config.connect_timeout_s, lambda: announcer.presence),
        open_resources(config, announcer) as opened,
        asyncio.TaskGroup() as group,
    ):
        executor = Executor(config, announcer, opened, group, resources.segment_memory_bytes)
        await executor.run(health or ServiceHealth("executor", config.device))


class Executor:
    """A running executor.

    The constructor builds the parts in the order in which they depend on each other; nothing is connected later. A
    part gets what it uses as an argument, so that the list below is the object graph of the process.
    """

    def __init__(
        self,
        config: ExecutorConfig,
        announcer: Announcer,
        resources: ExecutorResources,
        group: asyncio.TaskGroup,
        memory_bytes: int,
    ) -> None:
        """Build the parts; `run` starts them in `group`. Segments get `memory_bytes`."""
        device, processor = config.device, resources.processor
        self._config = config
        self._announcer = announcer
        self._group = group
        self._control = resources.control
        self._bulk = resources.bulk
        self._journal = resources.journal
        self._direct = resources.direct
        transport = TransportSwitch(resources.bulk, resources.direct, config.transport)
        self._shaped = ShapedTransport(transport, {}, LinkRate(math.inf)) if config.emulated else None
        self._trust_files = resources.trust_files
        self._processing = resources.processing
        self._ledger = TransferLedger(device, self._processing.read_s)
        self._outbox = Outbox(device, resources.control)
        self._observations = ObservationFeed(self._outbox)
        outputs = OutputSender(ChunkSender(resources.bulk.connection, "", OUTPUT_CHUNK_BYTES))
        self._outcomes = OutcomeDelivery(self._outbox, outputs, largest_result_bytes)
        self._clocks = PeerClocks(device, self._outbox)
        # Models and segments.
        speed = DeviceSpeed(config.emulated)
        self._speed = speed
        self._hang_watch = HangWatch(processor)
        self._first_cores = resources.first_cores
        models = ModelCache(config.models_dir, device, config.broker, config.cache_limit_bytes)
        coder = Coder(resources.codecs, config.engine)
        lifecycle = SegmentLifecycle(memory_bytes)
        self._pool = SegmentPool(device, models, config.engine, lifecycle, self._answer_planner)
        profiler = Profiler(config.profiles_dir, config.engine, processor, config.lock_path, memory_bytes)
        self._profiles = ProfilePublisher(device, models, profiler, speed, self._outbox)
        # The way of a request through the device.
        stages = StageRunner(device, self._pool, processor, speed, coder)
        attempts = AttemptTracker()
        admission = Admission(config.max_tasks, config.max_task_bytes)
        inputs = InputAssembler()
        lane = LaneSender(device, self._shaped or transport, self._ledger, config.lane_bytes)
        self._lane = lane
        self._pipeline = self._make_pipeline(stages, self._shaped or transport, attempts, admission, inputs)
        lane_runner = LaneRunner(
            device,
            pipeline=self._pipeline,
            stages=stages,
            lane=lane,
            admission=admission,
            outbox=self._outbox,
            observations=self._observations,
            clocks=self._clocks,
            group=group,
        )
        self._lane_receiver = LaneReceiver(
            device,
            inputs=inputs,
            attempts=attempts,
            admission=admission,
            outbox=self._outbox,
            processing=self._processing,
            group=group,
            on_complete=lane_runner.run,
        )
        ways: list[BrokerTransport | DirectTransport] = [resources.bulk, *([self._direct] if self._direct else [])]
        for way in ways:
            way.take_now = self._lane_receiver.take_now
        self._inboxes = [
            Inbox(
                device,
                way,
                resources.codecs,
                self._outbox,
                self._pipeline.take_rows,
                self._pipeline.admit_now,
                self._pipeline.admit,
                self._lane_receiver.take,
                self._processing,
            )
            for way in ways
        ]
        self._direct_probes = None
        if self._direct is not None:
            self._direct_probes = DirectProbes(
                self._direct, self._shaped or transport, self._shaped, self._outbox, self._processing, group
            )
        # Streams that begin here, and the messages that concern the device.
        self._receiver = OutputReceiver(
            resources.outputs, self._outbox, largest_result_bytes, resources.largest_result_bytes
        )
        self._sources = Sources(
            device=device,
            settings=config.broker,
            limits=config.limits,
            journal=resources.journal,
            outbox=self._outbox,
            pipeline=self._pipeline,
            observations=self._observations,
            outcomes=self._outcomes,
            outputs=outputs,
            receiver=self._receiver,
            group=group,
        )
        self._control_handler = ControlHandler(
            announcer=announcer,
            sources=self._sources,
            pool=self._pool,
            profiles=self._profiles,
            speed=speed,
            ledger=self._ledger,
            clocks=self._clocks,
            outbox=self._outbox,
            observations=self._observations,
            emulate_links=self._emulate_links,
            direct=self._direct,
            probes=self._direct_probes,
            receivers=PlannedReceivers(device),
            lane=lane,
            trust=resources.trust_files.trust,
        )

    def _make_pipeline(
        self,
        stages: StageRunner,
        transport: FeatureMapTransport,
        attempts: AttemptTracker,
        admission: Admission,
        inputs: InputAssembler,
    ) -> Pipeline:
        config, device = self._config, self._config.device
        shadow = ShadowCheck(
            device,
            config.shadow_share,
            pool=stages.pool,
            processor=stages.processor,
            coder=stages.coder,
            speed=stages.speed,
            outbox=self._outbox,
        )
        return Pipeline(
            device,
            stages=stages,
            sender=Sender(device, transport, self._ledger, self._outbox, attempts),
            lane=self._lane,
            inputs=inputs,
            attempts=attempts,
            admission=admission,
            row_admission=Admission(config.max_tasks, config.max_task_bytes),
            shadow=shadow,
            outbox=self._outbox,
            outcomes=self._outcomes,
            observations=self._observations,
            clocks=self._clocks,
        )

    async def run(self, health: ServiceHealth) -> None:
        """Run all parts until cancelled.

        The order of the start excludes races: sources are restored before control messages reach them, and the device
        announces itself only when it is subscribed. Feature maps are taken from the broker last. `health` is told when
        the executor is ready.
        """
        group = self._group
        group.create_task(self._outbox.run(), name="outbox")
        group.create_task(self._pipeline.run(), name="pipeline")
        group.create_task(self._pool.run(), name="segments")
        group.create_task(self._profiles.run(), name="profiles")
        await self._sources.resume()
        group.create_task(self._receiver.run(self._sources), name="large outputs")
        control = group.create_task(self._control_handler.run(self._control), name="control")
        inboxes: list[asyncio.Task[None]] = []
        # From its first presence on, the device leaves in order: a broker publishes no last will after a disconnect.
        try:
            await self._announce()
            inboxes += [group.create_task(inbox.run(), name="inbox") for inbox in self._inboxes]
            if self._direct is not None and (probes := self._direct_probes) is not None:
                answers = DirectAnswers(
                    self._direct, self._ledger, self._observations, self._outbox, probes, self._lane
                )
                group.create_task(answers.run(), name="direct answers")
                group.create_task(probes.echo(), name="echo direct probes")
            group.create_task(self._tick(), name="tick")
            group.create_task(self._keep_trust(), name="trust")
            group.create_task(self._bulk.check_inbox(), name="check the inbox")
            for watched in self._config.watches:
                group.create_task(
                    self._sources.watch(watched.stream, watched.directory), name=f"watch {watched.stream}"
                )
            health.serving({"control": self._control, "feature maps": self._bulk.connection})
            _LOGGER.info("executor %s is ready", self._config.device)
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            for inbox in inboxes:
                inbox.cancel()
            await self._finish()
            # It would answer the presence that says offline, as one of an earlier connection.
            control.cancel()
            await self._publish_offline()
            raise

    async def _announce(self) -> None:
        try:
            await self._announcer.note_planner_keys(self._trust_files.trust.keys, self._outbox)
            await self._control_handler.subscribe(self._control)
            await self._announcer.begin(self._control, self._profiles, self._sources)
        except (SubscriptionFailed, PublishFailed) as error:
            # The broker was lost in between; the reconnect repeats all of it.
            _LOGGER.warning("%s", error)

    async def _finish(self) -> None:
        """Drain the queues in the direction of the flow, and write what the device trusts."""
        try:
            async with asyncio.timeout(_FINISH_S):
                await self._sources.pause()
                await self._pipeline.drain()
                # They publish what the pipeline has computed.
                await self._sources.drain()
                await self._outbox.drain()
        except TimeoutError:
            _LOGGER.warning("some requests are not finished; their sources will try them again")
        await self._trust_files.synchronise()

    async def _publish_offline(self) -> None:
        offline = self._announcer.presence.model_copy(update={"state": State.OFFLINE})
        try:
            topic = topics.presence(self._config.device)
            await self._control.publish(topic, offline.encode(), retain=True, timeout_s=_OFFLINE_TIMEOUT_S)
        except BusError as error:
            # The broker publishes the last will instead.
            _LOGGER.info("the device's presence was not withdrawn: %s", error)

    async def _tick(self) -> None:
        slow_s = 0.0
        undecodable = 0
        while True:
            is_idle = self._sources.are_idle and not self._ledger.has_unreported
            await asyncio.sleep(_IDLE_TICK_S if is_idle else _TICK_S)
            now_s = time.monotonic()
            await self._announcer.note_trouble(self._trouble(), self._outbox)
            self._processing.sample(now_s)
            await self._sources.bus_changed(self._is_bus_alive())
            for observation in self._ledger.overdue(now_s):
                await self._observations.publish(observation)
            if now_s < slow_s:
                continue
            slow_s = now_s + _SLOW_TICK_S
            self._hang_watch.look(now_s)
            await self._pool.tick()
            self._lane_receiver.tick(now_s)
            self._pipeline.tick(now_s)
            await self._follow_quota()
            while undecodable < self._bulk.counters.undecodable:
                undecodable += 1
                await self._outbox.note_bad_message(topics.inbox(self._config.device), "bytes that are no chunk")
            for usage in self._sources.usages(now_s, changed_only=True):
                await self._outbox.put(Publication(topics.usage(usage.stream), usage.encode(), retain=True))

    def _is_bus_alive(self) -> bool:
        # Of the control connection alone: on a slow link an answer waits behind the feature maps of the other.
        answers = self._control.silent_s < _SILENT_S
        return answers and self._control.is_connected and self._bulk.connection.is_connected

    async def _follow_quota(self) -> None:
        """Publish the profiles again if a quota of processor time has changed, as an orchestrator may do any time."""
        cores = await asyncio.to_thread(segment_cores, self._config.engine.threads)
        if self._speed.limit(self._first_cores / cores):
            _LOGGER.info("a segment can use %.2f cores now, %.2f at the start", cores, self._first_cores)
            await self._profiles.publish_all()

    def _trouble(self) -> str:
        """Return what keeps the device from its work: its disk, or rights that it lacks; empty if nothing does."""
        rights = (self._control.missing_rights.text, self._bulk.connection.missing_rights.text)
        return "; ".join(filter(None, (self._journal.trouble, *rights, self._control_handler.trouble)))

    async def _keep_trust(self) -> None:
        """Write what the device trusts soon after it has changed, and follow changes of an operator."""
        async for has_new_keys in self._trust_files.changes():
            # The planner sends commands to a device that has just come.
            await self._announcer.note_planner_keys(self._trust_files.trust.keys, self._outbox)
            if has_new_keys:
                await self._control_handler.trust_changed()

    async def _answer_planner(self, answer: Ready | Rejected) -> None:
        await self._outbox.put(Publication(topics.reports(self._config.device), answer.encode()))

    def _emulate_links(self, emulation: Emulation) -> None:
        if self._shaped is not None:
            for link in emulation.links:
                self._shaped.set_link(link.target, LinkRate(link.bandwidth_mbps or 0.0, link.latency_ms))
