"""What each control message does: decoded once, here, and handed to whom it concerns."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.executor.outbox import Outbox, Publication
from services.executor.segments.device_speed import DeviceSpeed
from services.executor.segments.profile_publisher import ProfilePublisher
from services.executor.segments.segment_pool import SegmentPool
from services.executor.source.sources import Sources
from services.executor.transfers import TransferLedger
from shared.bus import topics
from shared.bus.connection import Connection, Received
from shared.messages.alternatives import Alternatives
from shared.messages.base import MessageError
from shared.messages.control import COMMANDS, Prepare, Preparing, ProfileModel, Release, ranges_of
from shared.messages.devices import Emulation, Links, Presence, Receipt, ServicePresence, State
from shared.messages.models import Manifest
from shared.messages.requests import JSON_CONTENT, Confirmation, Outcome
from shared.messages.streams import CommittedPlan, StreamDeclaration

_LOGGER = logging.getLogger(__name__)


@dataclass(slots=True)
class ControlHandler:
    """Reads the control connection of a device.

    Attributes:
        presence: this device as it is online.
        emulate: what an emulation changes in the transport.
    """

    presence: Presence
    sources: Sources
    holder: SegmentPool
    profiles: ProfilePublisher
    pace: DeviceSpeed
    ledger: TransferLedger
    outbox: Outbox
    emulate: Callable[[Emulation], None]

    async def subscribe(self, connection: Connection) -> None:
        """Ask for everything that concerns a device."""
        device = self.presence.device
        mine = (topics.commands, topics.receipts, topics.links, topics.emulation)
        everybody = (
            topics.presence.any,
            topics.service_presence.any,
            topics.manifest.any,
            topics.plan.any,
            topics.stream.any,
            topics.alternatives.any,
        )
        for topic in (*(of(device) for of in mine), topics.profiles(device, "+"), *everybody):
            await connection.subscribe(topic)

    async def run(self, connection: Connection) -> None:
        """Handle messages for ever; what does not decode is counted and dropped."""
        async for received in connection:
            try:
                await self._handle(received)
            except MessageError as error:
                await self.outbox.note_bad_message(received.topic, str(error))

    async def _handle(self, received: Received) -> None:
        device = self.presence.device
        payload = bytes(received.payload)
        match received.topic.split("/"):
            case ["devices", name, "presence"]:
                await self._presence(name, payload)
            case ["devices", name, "commands"] if name == device:
                await self._command(COMMANDS.decode(payload))
            case ["devices", name, "receipts"] if name == device:
                await self._receipt(Receipt.decode(payload))
            case ["devices", name, "links"] if name == device and payload:
                self.ledger.learn(Links.decode(payload).links)
            case ["devices", name, "emulation"] if name == device and payload:
                await self._emulation(Emulation.decode(payload))
            case ["devices", name, "profiles", model] if name == device and payload:
                await self.profiles.found(model)
            case ["models", _] if payload:
                manifest = Manifest.decode(payload)
                self.holder.know(manifest)
                await self.profiles.recall(manifest)
            case ["streams", stream]:
                declaration = StreamDeclaration.decode(payload) if payload else None
                await self.sources.declared(stream, declaration)
            case ["streams", stream, "plan"]:
                await self._plan(stream, CommittedPlan.decode(payload) if payload else None)
            case ["streams", _, "alternatives"] if payload:
                await self.sources.alternatives_known(Alternatives.decode(payload))
            case ["streams", _, "results"]:
                outcome = Outcome.decode(payload)
                content_type = received.properties.content_type or JSON_CONTENT
                await self.sources.outcome_seen(outcome, payload, content_type)
            case ["services", _, "presence"] if payload:
                await self.sources.service_seen(ServicePresence.decode(payload))
            case ["collector", "confirmations"]:
                await self.sources.confirmed(Confirmation.decode(payload))

    async def _command(self, command: ProfileModel | Prepare | Release) -> None:
        match command:
            case ProfileModel(manifest=manifest):
                self.holder.know(manifest)
                await self.profiles.measure(manifest)
            case Prepare(stream=stream, epoch=epoch):
                heard = Preparing(device=self.presence.device, stream=stream, epoch=epoch)
                await self.outbox.put(Publication(topics.reports(heard.device), heard.encode()))
                await self.holder.prepare(command)
            case Release(stream=stream, through_epoch=through_epoch):
                await self.holder.release(stream, through_epoch)

    async def _presence(self, name: str, payload: bytes) -> None:
        if not payload:
            await self.sources.device_seen(Presence(device=name, state=State.OFFLINE))
            return
        presence = Presence.decode(payload)
        if presence.device != name:
            raise MessageError(f"the presence of {presence.device} on the topic of {name}")
        if name != self.presence.device:
            await self.sources.device_seen(presence)
        elif presence.state is State.OFFLINE:
            # The last will of a connection that this process has replaced: it is here.
            await self.outbox.put(Publication(topics.presence(name), self.presence.encode(), retain=True))
        elif presence.boot_id != self.presence.boot_id:
            _LOGGER.warning("another executor calls itself %s too", name)

    async def _receipt(self, receipt: Receipt) -> None:
        if receipt.refused is not None:
            await self.sources.attempt_refused(receipt.receiver, receipt.refused)
            return
        observation = self.ledger.received(receipt.transfer_id, receipt.receiver, time.monotonic())
        if observation is not None:
            await self.sources.observed(observation)
            await self.outbox.observe(observation)

    async def _emulation(self, emulation: Emulation) -> None:
        if emulation.device != self.presence.device or not self.presence.capabilities.emulated:
            return
        self.emulate(emulation)
        if self.pace.emulate(emulation):
            await self.profiles.publish_all()

    async def _plan(self, stream: str, plan: CommittedPlan | None) -> None:
        await self.sources.planned(stream, plan)
        await self.holder.release(stream, plan.epoch - 1 if plan else None)
        if plan is None:
            return
        device = self.presence.device
        stages = [stage for route in plan.routes for stage in route.stages if stage.device == device]
        manifest = self.holder.manifest(plan.model)
        if stages and manifest is not None and not self.holder.is_prepared(stream, plan.epoch):
            # This process was started after the epoch was prepared.
            asked = Prepare(stream=stream, epoch=plan.epoch, manifest=manifest, segments=ranges_of(stages))
            await self.holder.prepare(asked)
