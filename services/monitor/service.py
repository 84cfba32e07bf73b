"""The monitor service: samples its device, measures its links, and publishes changes."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, assert_never

from services.monitor.change_detector import ChangeDetector, MonitoredQuantity
from services.monitor.config import MonitorConfig
from services.monitor.device_sampler import DeviceSample, DeviceSampler
from services.monitor.emulated_conditions import EmulatedConditions
from services.monitor.inbound import Inbound, control_filters, decode
from services.monitor.link_prober import LinkProber
from services.monitor.load_estimator import LoadEstimator
from services.monitor.probe_sender import ProbeSender
from shared.bus import topics
from shared.bus.connection import Connection, Received, Will
from shared.bus.errors import BusError
from shared.duplicate_names import NameClaim, hold_name
from shared.health.service_health import ServiceHealth
from shared.messages.base import MessageError
from shared.messages.bounds import MAX_LINE, clean_text
from shared.messages.devices import (
    ComputeObservation,
    DirectEcho,
    Emulation,
    LinkEstimate,
    Links,
    Presence,
    Probe,
    ServicePresence,
    State,
    Telemetry,
    TransferObservation,
)
from shared.messages.reject_counter import RejectCounter
from shared.messages.streams import StreamDeclaration
from shared.processing_clock import UNREAD_S, ProcessingClock
from shared.service_runtime import new_boot_id, segue_version
from shared.transport_mode import Carrier

_LOGGER = logging.getLogger(__name__)

# Limit of the last publication while the service stops.
_FAREWELL_S: Final = 2.0
_RETRY_S: Final = 1.0
# Pause between samples while the last one deviated from the load estimate.
_DOUBT_PAUSE_S: Final = 0.1
# Changes of a latency below this are not published.
_LATENCY_FLOOR_MS: Final = 2.0


async def serve(config: MonitorConfig, health: ServiceHealth | None = None) -> None:
    """Run the monitor of a device until it is cancelled.

    Args:
        config: of this service.
        health: is told when the monitor is ready; None if nobody asks.

    Raises:
        BusError: the broker is unreachable or refuses access.
        InputError: another process monitors a device of this name.
    """
    await Monitor(config, health or ServiceHealth("monitor", config.device)).run()


class Monitor:
    """The monitor of one device: the shell around `LinkProber`, `LoadEstimator` and `ChangeDetector`.

    One task per duty runs on the event loop. Tasks share the estimators and wake each other through the `_dirty`
    events. An event is cleared before its state is read, so that no change between the two is lost.
    """

    def __init__(self, config: MonitorConfig, health: ServiceHealth) -> None:
        """Prepare without connecting. Call it in the event loop that runs the monitor."""
        self._config = config
        self._health = health
        self._clock: Callable[[], float] = asyncio.get_running_loop().time
        self._prober = LinkProber(config.device, config.probing)
        self._load = LoadEstimator()
        self._conditions = EmulatedConditions()
        self._sampler = DeviceSampler(self._clock, threads=config.threads, emulated=config.emulated)
        self._processing = ProcessingClock()
        self._sample: DeviceSample | None = None
        self._observed_s: float | None = None
        self._rejects = RejectCounter()
        self._boot_id = new_boot_id()
        self._link_changes = ChangeDetector(threshold=config.change_threshold, heartbeat_s=config.heartbeat_s)
        self._load_changes = ChangeDetector(threshold=config.change_threshold, heartbeat_s=config.heartbeat_s)
        self._links_dirty = asyncio.Event()
        self._load_dirty = asyncio.Event()
        self._probes_dirty = asyncio.Event()
        self._is_announced = False
        self._trouble = ""

    async def run(self) -> None:
        """Connect, measure and publish until cancelled; then publish that the monitor is offline."""
        config = self._config
        async with AsyncExitStack() as stack:
            stack.callback(self._processing.close)
            claim = NameClaim.of_service(self._presence(State.ONLINE), "give this device a name of its own, --device")
            await stack.enter_async_context(
                hold_name(config.broker, claim, config.connect_timeout_s, lambda: self._presence(State.ONLINE))
            )
            # Probes have a separate connection, so that control messages never queue behind padding.
            probes = await stack.enter_async_context(
                Connection.open(
                    config.broker,
                    client_id=f"{config.service_name}-probes",
                    connect_timeout_s=config.connect_timeout_s,
                )
            )
            await probes.subscribe(topics.probes(config.device), qos=0)
            control = await stack.enter_async_context(
                Connection.open(
                    config.broker,
                    client_id=config.service_name,
                    will=Will(topics.service_presence(config.service_name), self._presence(State.OFFLINE).encode()),
                    on_connected=self._announce_again,
                    connect_timeout_s=config.connect_timeout_s,
                )
            )
            try:
                await self._announce(control)
                self._health.serving({"control": control, "probes": probes})
                await self._measure(control, probes)
            finally:
                await self._publish_offline(control)

    async def _measure(self, control: Connection, probes: Connection) -> None:
        async with asyncio.TaskGroup() as group:
            config = self._config
            sender = ProbeSender(config.device, config.probing, self._conditions, group, probes=probes, control=control)
            group.create_task(self._listen(control, sender), name="listen")
            group.create_task(self._listen_to_probes(probes, sender), name="listen to probes")
            group.create_task(self._probe_links(sender), name="probe links")
            group.create_task(self._sample_device(), name="sample the device")
            group.create_task(self._publish_links(control), name="publish links")
            group.create_task(self._publish_telemetry(control), name="publish telemetry")

    async def _announce_again(self, control: Connection) -> None:
        if self._is_announced:
            await self._announce(control)

    async def _announce(self, control: Connection) -> None:
        """Subscribe, then publish presence and estimates.

        The order matters: a peer may send as soon as it receives the presence.
        """
        self._is_announced = True
        for topic_filter, qos in control_filters(self._config.device, emulated=self._config.emulated).items():
            await control.subscribe(topic_filter, qos)
        await control.publish(
            topics.service_presence(self._config.service_name),
            self._presence(State.ONLINE).encode(),
            retain=True,
            qos=1,
        )
        if estimates := self._prober.estimates():
            await self._send_links(control, estimates)

    async def _note_trouble(self, control: Connection) -> None:
        """Publish the presence if the rights that the monitor is known to lack have changed."""
        if control.missing_rights.text == self._trouble:
            return
        self._trouble = control.missing_rights.text
        topic = topics.service_presence(self._config.service_name)
        await control.publish(topic, self._presence(State.ONLINE).encode(), retain=True)

    async def _publish_offline(self, control: Connection) -> None:
        try:
            await control.publish(
                topics.service_presence(self._config.service_name),
                self._presence(State.OFFLINE).encode(),
                retain=True,
                timeout_s=_FAREWELL_S,
            )
        except BusError as error:
            _LOGGER.debug("the monitor's absence is not published: %s", error)

    def _presence(self, state: State) -> ServicePresence:
        return ServicePresence(
            name=self._config.service_name,
            role="monitor",
            state=state,
            version=segue_version(),
            boot_id=self._boot_id,
            metered=self._config.probing.is_metered,
            trouble=clean_text(self._trouble, MAX_LINE) if state is State.ONLINE else "",
        )

    async def _listen(self, control: Connection, sender: ProbeSender) -> None:
        async for received in control:
            message = self._decode(received)
            if message is None:
                continue
            try:
                self._handle(message, sender)
            except Exception as error:
                # A fault of the monitor, which must not end it: a retained message would end it after every restart.
                self._reject(received.topic, f"{type(error).__name__}: {error}")
            self._processing.sample(self._clock())

    def _decode(self, received: Received) -> Inbound | None:
        try:
            return decode(received.topic, received.payload)
        except MessageError as error:
            self._reject(received.topic, str(error))
            return None

    def _reject(self, topic: str, reason: str) -> None:
        if self._rejects.add(topic, reason):
            _LOGGER.warning("dropped a message on %s: %s", topic, reason)

    def _handle(self, message: Inbound, sender: ProbeSender) -> None:
        now_s = self._clock()
        match message:
            case Presence():
                if message.state is State.ONLINE:
                    transports = message.transports if message.direct is not None else (Carrier.MQTT.value,)
                    self._prober.device_online(message.device, message.boot_id, now_s, transports=transports)
                else:
                    self._prober.device_offline(message.device)
                self._links_dirty.set()
            case ServicePresence():
                self._service_changed(message, now_s)
            case ComputeObservation() | TransferObservation() | DirectEcho():
                self._observed(message, now_s, sender)
            case Emulation():
                if self._config.emulated:
                    self._conditions.obey(message)
            case StreamDeclaration():
                self._prober.stream_seen(message.stream, now_s, is_declared=bool(message.model))
            case Probe():
                _LOGGER.debug("ignored a probe on the control connection")
            case _:
                assert_never(message)
        self._probes_dirty.set()

    def _observed(
        self,
        message: ComputeObservation | TransferObservation | DirectEcho,
        now_s: float,
        sender: ProbeSender,
    ) -> None:
        match message:
            case ComputeObservation():
                self._observed_s = now_s
                self._load.add(message.measured_ms, message.idle_ms)
                self._load_dirty.set()
            case TransferObservation():
                if self._prober.observed(message, now_s):
                    self._links_dirty.set()
            case DirectEcho():
                follower = self._prober.echoed_directly(message, now_s, processing_s=self._processing.read_s())
                if follower is not None:
                    sender.send(follower)
                self._links_dirty.set()

    def _service_changed(self, service: ServicePresence, now_s: float) -> None:
        if service.role != "monitor" or not service.name.startswith(topics.MONITOR_PREFIX):
            return
        device = service.name.removeprefix(topics.MONITOR_PREFIX)
        if service.state is State.ONLINE:
            self._prober.monitor_online(device, now_s, is_metered=service.metered)
        else:
            self._prober.monitor_offline(device)

    async def _listen_to_probes(self, probes: Connection, sender: ProbeSender) -> None:
        async for received in probes:
            now_s = self._clock()
            message = self._decode(received)
            if not isinstance(message, Probe) or message.sender == self._config.device:
                continue
            if message.kind == "probe":
                if not self._config.probing.is_metered:
                    self._prober.probed(message.sender, now_s)
                    processing_ms = self._processing.since_ms(now_s - UNREAD_S, self._clock())
                    sender.echo(message, processing_ms=processing_ms)
                    self._processing.sample(now_s)
                continue
            follower = self._prober.echoed(
                message.sender,
                message.probe_id,
                now_s,
                processing_s=self._processing.read_s(),
                peer_processing_ms=message.processing_ms,
            )
            self._processing.sample(now_s)
            if follower is not None:
                sender.send(follower)
            self._links_dirty.set()
            self._probes_dirty.set()

    async def _probe_links(self, sender: ProbeSender) -> None:
        while True:
            self._probes_dirty.clear()
            self._processing.sample(self._clock())
            probe = self._prober.tick(self._clock(), processing_s=self._processing.read_s())
            if probe is not None:
                sender.send(probe)
            # A tick may bound the estimate of an overdue probe, or take a link down.
            if self._prober.has_expired:
                self._links_dirty.set()
            await _until(self._probes_dirty, self._prober.next_tick_s(self._clock()) - self._clock())

    async def _sample_device(self) -> None:
        """Sample on one thread; include the load factor only without recent observations of the executor."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="sample") as pool:
            while True:
                is_observed = self._observed_s is not None and (
                    self._clock() - self._observed_s < self._config.observation_age_s
                )
                sample = await loop.run_in_executor(pool, partial(self._sampler.sample, with_load=not is_observed))
                if sample.load is not None:
                    # The emulated load slows segments down, but not the probe's own computation.
                    self._load.add(sample.load.measured_ms * self._conditions.load_factor, sample.load.idle_ms)
                self._sample = sample
                self._load_dirty.set()
                pause_s = _DOUBT_PAUSE_S if self._load.in_doubt else self._config.sample_interval_s
                await asyncio.sleep(pause_s)

    async def _publish_links(self, control: Connection) -> None:
        while True:
            await _until(self._links_dirty, self._silence_left_s(self._link_changes))
            self._links_dirty.clear()
            estimates = self._prober.estimates()
            quantities = _link_quantities(estimates)
            if self._link_changes.examine(quantities, self._clock()) is None:
                continue
            # A failed publication is not recorded, so the next examination finds the same change again.
            try:
                await self._send_links(control, estimates)
            except BusError as error:
                _LOGGER.warning("links are not published: %s", error)
                await asyncio.sleep(_RETRY_S)
                continue
            self._link_changes.published(quantities, self._clock())

    async def _send_links(self, control: Connection, estimates: tuple[LinkEstimate, ...]) -> None:
        links = Links(device=self._config.device, sent_at_s=time.time(), links=estimates)
        await control.publish(topics.links(self._config.device), links.encode(), retain=True)

    async def _publish_telemetry(self, control: Connection) -> None:
        while True:
            await _until(self._load_dirty, self._silence_left_s(self._load_changes))
            self._load_dirty.clear()
            if self._sample is None:
                continue
            quantities = {"load_factor": MonitoredQuantity(self._load.load_factor)}
            if self._load_changes.examine(quantities, self._clock()) is None:
                continue
            try:
                await control.publish(
                    topics.telemetry(self._config.device), self._telemetry(self._sample).encode(), qos=0
                )
                await self._note_trouble(control)
            except BusError as error:
                _LOGGER.warning("telemetry is not published: %s", error)
                await asyncio.sleep(_RETRY_S)
                continue
            self._load_changes.published(quantities, self._clock())

    def _telemetry(self, sample: DeviceSample) -> Telemetry:
        return Telemetry(
            device=self._config.device,
            sent_at_s=time.time(),
            load_factor=self._load.load_factor,
            **sample.readings,
        )

    def _silence_left_s(self, changes: ChangeDetector) -> float:
        """Return the time until the heartbeat is due."""
        due_s = changes.next_heartbeat_s()
        return self._config.heartbeat_s if due_s is None else max(0.0, due_s - self._clock())


def _link_quantities(estimates: tuple[LinkEstimate, ...]) -> dict[str, MonitoredQuantity]:
    quantities = {}
    for link in estimates:
        way = f"{link.target} ({link.transport})"
        quantities[f"bandwidth to {way}"] = MonitoredQuantity(link.bandwidth_mbps, floor=0.001)
        quantities[f"latency to {way}"] = MonitoredQuantity(link.latency_ms, floor=_LATENCY_FLOOR_MS)
    return quantities


async def _until(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for an event, at most `timeout_s`."""
    try:
        async with asyncio.timeout(max(0.0, timeout_s)):
            await event.wait()
    except TimeoutError:
        return
