"""Handles the messages on the control connection of a device: decodes each once and calls the part it concerns."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from services.executor.announcer import Announcer
from services.executor.direct_probes import DirectProbes
from services.executor.lane_sender import LaneSender
from services.executor.observations import ObservationFeed
from services.executor.outbox import Outbox, Publication
from services.executor.peer_clocks import PeerClocks
from services.executor.planned_receivers import PlannedReceivers
from services.executor.planner_trust import PlannerTrust, UntrustedPlanner
from services.executor.segments.device_speed import DeviceSpeed
from services.executor.segments.profile_publisher import ProfilePublisher
from services.executor.segments.segment_events import EpochKey
from services.executor.segments.segment_pool import SegmentPool
from services.executor.source.sources import Sources
from services.executor.transfers import TransferLedger
from shared.bus import topics
from shared.bus.connection import Connection, Received
from shared.direct.direct_transport import DirectTransport
from shared.messages.alternatives import Alternatives
from shared.messages.base import MessageError, of_topic
from shared.messages.control import COMMANDS, Prepare, Preparing, ProfileModel, Release, segments_of
from shared.messages.devices import (
    ClockExchange,
    DirectProbe,
    Emulation,
    Links,
    Presence,
    Receipt,
    ServicePresence,
    State,
    offline,
)
from shared.messages.models import Manifest, ModelVersion
from shared.messages.plan_checks import plan_misfit
from shared.messages.requests import JSON_CONTENT, REQUEST_ID_PROPERTY, AttemptOutcome, Confirmation, Outcome
from shared.messages.streams import CommittedPlan, StreamDeclaration, hops

_LOGGER = logging.getLogger(__name__)

# Bounds of the refused messages that are kept for the case that an operator trusts their planner.
_MAX_UNTRUSTED: Final = 256
_MAX_UNTRUSTED_BYTES: Final = 256 * 1024


@dataclass(slots=True)
class _Hearing:
    """Whether a command of a planner has arrived, and whether a planner has taken this device for silent."""

    has_command: bool = False
    is_called_silent: bool = False


@dataclass(frozen=True, slots=True)
class ControlHandler:
    """Reads the control connection of a device and calls its parts, one message at a time.

    Attributes:
        announcer: knows the presence of this device.
        sources: the streams that begin here.
        pool: the segments of this device.
        profiles: measures and publishes profiles.
        speed: emulated speed of this device.
        ledger: transfers that await their receipt.
        clocks: the clocks of other devices.
        outbox: outgoing messages.
        observations: measurements of this device.
        emulate_links: applies an emulation to the links.
        direct: direct connections; None if this device has none.
        probes: measure them; None as well.
        receivers: devices to which this one sends by the plans.
        lane: sends small feature maps.
        trust: which planner's messages the device follows.
    """

    announcer: Announcer
    sources: Sources
    pool: SegmentPool
    profiles: ProfilePublisher
    speed: DeviceSpeed
    ledger: TransferLedger
    clocks: PeerClocks
    outbox: Outbox
    observations: ObservationFeed
    emulate_links: Callable[[Emulation], None]
    direct: DirectTransport | None
    probes: DirectProbes | None
    receivers: PlannedReceivers
    lane: LaneSender
    trust: PlannerTrust
    _hearing: _Hearing = field(default_factory=_Hearing, init=False)
    # Retained messages of planners that this device does not follow, by topic.
    _untrusted: dict[str, Received] = field(default_factory=dict, init=False)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    @property
    def _own(self) -> Presence:
        return self.announcer.presence

    async def subscribe(self, connection: Connection) -> None:
        """Subscribe to everything that concerns a device.

        Raises:
            SubscriptionFailed: the broker was lost or refuses a subscription.
        """
        device = self._own.device
        own = (
            topics.commands,
            topics.receipts,
            topics.outcomes,
            topics.clock,
            topics.links,
            topics.emulation,
            *((topics.direct_probes,) if self.probes is not None else ()),
        )
        of_all = (
            topics.presence.any,
            topics.service_presence.any,
            topics.manifest.any,
            # Before the plans, which name them.
            topics.model_version.any,
            topics.plan.any,
            topics.stream.any,
            topics.alternatives.any,
        )
        for topic in (*(make_topic(device) for make_topic in own), topics.profiles(device, "+"), *of_all):
            await connection.subscribe(topic)

    async def run(self, connection: Connection) -> None:
        """Handle messages until cancelled; a message that does not decode is counted and dropped."""
        async for received in connection:
            await self._take(received)

    @property
    def trouble(self) -> str:
        """Why the planner takes this device for silent, if it does; empty if it does not."""
        if not self._hearing.is_called_silent or self._hearing.has_command:
            return ""
        topic = f"{self.trust.root}/{topics.commands(self._own.device)}"
        return f"no command of the planner arrives: the broker's access rules may deny: read {topic}"

    async def trust_changed(self) -> None:
        """Judge the messages again that were refused because of their signature: the broker sends them only once."""
        while self._untrusted:
            _, received = self._untrusted.popitem()
            await self._take(received)

    async def _take(self, received: Received) -> None:
        async with self._one_at_a_time:
            try:
                self._check_origin(received)
                await self._handle(received)
            except MessageError as error:
                await self.outbox.note_bad_message(received.topic, str(error))
            except Exception as error:
                # A fault of this device, which must not end it: a retained message would end it after every restart.
                _LOGGER.debug("a message on %s could not be handled", received.topic, exc_info=True)
                await self.outbox.note_bad_message(received.topic, f"{type(error).__name__}: {error}")

    def _check_origin(self, received: Received) -> None:
        """Check that a message on a topic of the planner's is of a planner that this device follows.

        Raises:
            SignatureError: its signature is malformed, or does not belong to it.
            UntrustedPlanner: it is of another planner, or older than one before it.
        """
        match received.topic.split("/"):
            case ["devices", _, "commands"]:
                is_kept = False
            case ["streams", _, "plan" | "alternatives"] | ["models", _] | ["models", _, "versions", _]:
                is_kept = len(received.payload) <= _MAX_UNTRUSTED_BYTES
            case _:
                return
        self._untrusted.pop(received.topic, None)
        try:
            self.trust.check(received.user, received.topic, bytes(received.payload))
        except UntrustedPlanner:
            if is_kept and len(self._untrusted) < _MAX_UNTRUSTED:
                self._untrusted[received.topic] = received
            raise

    async def _handle(self, received: Received) -> None:
        payload = bytes(received.payload)
        match received.topic.split("/"):
            case ["devices", device, "presence"]:
                await self._presence(device, payload)
            case ["devices", device, *rest] if device == self._own.device:
                await self._own_message(rest, payload, received)
            case ["streams", stream, *rest]:
                await self._stream_message(stream, rest, payload, received)
            case ["models", model] if payload:
                manifest = of_topic(Manifest.decode(payload), "model", model)
                self.pool.know(manifest)
                await self.profiles.recall(manifest)
            case ["models", model, "versions", version]:
                self.pool.version_known(version, _version(model, version, payload) if payload else None)
            case ["services", name, "presence"] if payload:
                await self.sources.service_seen(of_topic(ServicePresence.decode(payload), "name", name))
            case ["collector", "confirmations"]:
                await self.sources.confirmed(Confirmation.decode(payload))

    async def _own_message(self, topic: list[str], payload: bytes, received: Received) -> None:
        """Handle a message on a topic below this device's own."""
        match topic:
            case ["commands"]:
                self._hearing.has_command = True
                await self._command(COMMANDS.decode(payload))
            case ["clock"]:
                await self.clocks.exchange(ClockExchange.decode(payload))
            case ["direct_probes"] if self.probes is not None:
                self.probes.begin(DirectProbe.decode(payload))
            case ["receipts"]:
                await self._receipt(Receipt.decode(payload))
            case ["outcomes"]:
                outcome = AttemptOutcome.decode(payload)
                if outcome.transfer is not None:
                    await self.sources.outputs_sent(outcome, outcome.transfer)
                    return
                content_type = received.properties.content_type or JSON_CONTENT
                await self.sources.outcome_seen(outcome, payload, content_type)
            case ["links"] if payload:
                self.ledger.learn(of_topic(Links.decode(payload), "device", self._own.device).links)
            case ["emulation"] if payload:
                await self._emulation(Emulation.decode(payload))
            case ["profiles", model] if payload:
                await self.profiles.note_retained(model)

    async def _stream_message(self, stream: str, topic: list[str], payload: bytes, received: Received) -> None:
        """Handle a message on a topic of a stream; an empty payload removes what was retained there."""
        match topic:
            case []:
                declaration = of_topic(StreamDeclaration.decode(payload), "stream", stream) if payload else None
                await self.sources.declared(stream, declaration)
            case ["plan"]:
                await self._plan(stream, of_topic(CommittedPlan.decode(payload), "stream", stream) if payload else None)
            case ["alternatives"] if payload:
                await self.sources.alternatives_known(of_topic(Alternatives.decode(payload), "stream", stream))
            case ["results"]:
                request_id = received.user.get(REQUEST_ID_PROPERTY)
                if request_id is not None and not self.sources.awaits(stream, request_id):
                    # Mostly the echo of what this device has just published.
                    return
                outcome = of_topic(Outcome.decode(payload), "stream", stream)
                content_type = received.properties.content_type or JSON_CONTENT
                # Of a device of an earlier release.
                await self.sources.outcome_seen(outcome, payload, content_type, is_published=True)

    async def _command(self, command: ProfileModel | Prepare | Release) -> None:
        match command:
            case ProfileModel(manifest=manifest):
                self.pool.know(manifest)
                await self.profiles.measure(manifest, in_tiles=command.tiles)
            case Prepare(stream=stream, epoch=epoch):
                if self.direct is not None:
                    for receiver in command.receivers:
                        self.direct.connect(receiver)
                # Answered before the work begins: the planner distinguishes a slow device from one that is gone.
                preparing = Preparing(device=self._own.device, stream=stream, epoch=epoch)
                await self.outbox.put(Publication(topics.reports(preparing.device), preparing.encode()))
                await self.pool.prepare(command)
            case Release(stream=stream, through_epoch=through_epoch):
                await self.pool.release(stream, through_epoch)

    async def _presence(self, device: str, payload: bytes) -> None:
        presence = of_topic(Presence.decode(payload), "device", device) if payload else offline(device)
        if device != self._own.device:
            self.lane.learn(presence)
            if self.direct is not None:
                self.direct.learn(presence)
            await self.sources.device_seen(presence)
        elif not payload:
            await self.sources.device_seen(presence)
        elif presence.state is State.OFFLINE:
            # The last will of an earlier connection of this process, which the broker noticed late, or the planner
            # takes this device for silent. It has replaced the retained presence, so that is published again.
            self._hearing.is_called_silent |= not presence.version
            await self.outbox.put(Publication(topics.presence(device), self._own.encode(), retain=True))
        elif presence.boot_id != self._own.boot_id:
            _LOGGER.warning("another executor uses the device name %s too", device)

    async def _receipt(self, receipt: Receipt) -> None:
        if receipt.refused is not None:
            await self.sources.attempt_refused(receipt.receiver, receipt.refused)
            return
        observation = self.ledger.received(
            receipt.transfer_id, receipt.receiver, time.monotonic(), processing_ms=receipt.processing_ms
        )
        if observation is not None:
            await self.observations.publish(observation)

    async def _emulation(self, emulation: Emulation) -> None:
        if emulation.device != self._own.device or not self._own.capabilities.emulated:
            return
        self.emulate_links(emulation)
        if self.speed.emulate(emulation):
            await self.profiles.publish_all()

    async def _plan(self, stream: str, plan: CommittedPlan | None) -> None:
        if plan is not None:
            misfit = plan_misfit(plan, self.pool.manifests, self.sources.declared_model(stream), time.time())
            if misfit is not None:
                raise MessageError(misfit)
        receivers = self.receivers.planned(stream, plan)
        if self.direct is not None:
            self.direct.plan(receivers)
        await self.sources.planned(stream, plan)
        # Make before break: segments of earlier epochs may go only now that requests take the new routes.
        await self.pool.release(stream, plan.epoch - 1 if plan else None)
        if plan is None:
            return
        device = self._own.device
        # Before the first request arrives, so that its time on the way is known.
        for sender in _senders_to(device, plan):
            await self.clocks.refresh(sender)
        segments = segments_of(route.stages for route in plan.routes).get(device, ())
        manifest = self.pool.manifest(plan.model, plan.version)
        self.pool.plan_known(EpochKey(stream, plan.epoch), manifest)
        if segments and manifest is not None and not self.pool.is_prepared(stream, plan.epoch):
            # This process was started after the epoch was prepared, so it prepares from the retained plan.
            prepare = Prepare(stream=stream, epoch=plan.epoch, manifest=manifest, segments=segments)
            await self.pool.prepare(prepare)


def _senders_to(device: str, plan: CommittedPlan) -> set[str]:
    """Return the devices that send feature maps to a device under a plan."""
    found = (hop for route in plan.routes for hop in hops(plan.source, route.stages))
    return {sender for sender, receiver in found if receiver == device}


def _version(model: str, version: str, payload: bytes) -> ModelVersion:
    return of_topic(of_topic(ModelVersion.decode(payload), "model", model), "version", version)
