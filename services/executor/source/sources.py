"""Which streams have their source on this device; tells each what concerns it."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from services.executor.outbox import Outbox
from services.executor.source.journal_thread import JournalThread
from services.executor.source.source_events import (
    AlternativesKnown,
    AttemptRefused,
    BusChanged,
    CollectorsChanged,
    Confirmed,
    DeviceSeen,
    Event,
    Observed,
    OutcomeSeen,
    PlanCommitted,
    PlanRevoked,
    SourceLimits,
    StreamWithdrawn,
)
from services.executor.source.state import SourceState
from services.executor.source.stream_source import Forward, StreamSource
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.errors import BusError
from shared.bus.settings import BusSettings
from shared.messages.alternatives import Alternatives
from shared.messages.devices import (
    ComputeObservation,
    DamageReport,
    Presence,
    ServicePresence,
    State,
    TransferObservation,
)
from shared.messages.requests import Confirmation, Outcome, OutcomeStatus
from shared.messages.streams import CommittedPlan, StreamDeclaration, StreamUsage

_LOGGER = logging.getLogger(__name__)

COLLECTOR_ROLE = "collector"


@dataclass(slots=True)
class Sources:
    """The streams of this device, each begun when its declaration, its plan, or the journal names it."""

    device: str
    settings: BusSettings
    limits: SourceLimits
    journal: JournalThread
    outbox: Outbox
    forward: Forward
    answered: Callable[[str, str], None]
    group: asyncio.TaskGroup
    _streams: dict[str, StreamSource] = field(default_factory=dict, init=False)
    _plans: dict[str, CommittedPlan] = field(default_factory=dict, init=False)
    _alternatives: dict[str, Alternatives] = field(default_factory=dict, init=False)
    _boots: dict[str, str | None] = field(default_factory=dict, init=False)
    _collectors: set[str] = field(default_factory=set, init=False)
    _online: bool = field(default=True, init=False)

    async def resume(self) -> None:
        """Go on with the streams that the journal knows."""
        for stream in await self.journal.read(lambda journal: journal.streams()) or ():
            await self.begin(stream)

    async def begin(self, stream: str) -> StreamSource:
        """Return the source of a stream, made if it is not there."""
        source = self._streams.get(stream)
        if source is not None:
            return source
        source = StreamSource(
            stream,
            state=SourceState(self.device, self.limits),
            settings=self.settings,
            journal=self.journal,
            outbox=self.outbox,
            forward=self.forward,
        )
        self._streams[stream] = source
        await self._listen(self.outbox.connection, stream)
        for device, boot_id in self._boots.items():
            await source.tell(DeviceSeen(device, boot_id))
        await source.tell(BusChanged(self._online))
        await source.tell(CollectorsChanged(bool(self._collectors)))
        if stream in self._plans:
            await source.tell(PlanCommitted(self._plans[stream]))
        if stream in self._alternatives:
            await source.tell(AlternativesKnown(self._alternatives[stream]))
        self.group.create_task(source.run(), name=f"stream {stream}")
        return source

    async def declared(self, stream: str, declaration: StreamDeclaration | None) -> None:
        """A stream was declared, or (none, or no model) withdrawn."""
        if declaration is not None and declaration.model and declaration.source == self.device:
            source = await self.begin(stream)
            source.want_intake(True)
        elif stream in self._streams:
            self._streams[stream].want_intake(False)
            if declaration is None or not declaration.model:
                await self._streams[stream].tell(StreamWithdrawn())

    async def planned(self, stream: str, plan: CommittedPlan | None) -> None:
        """A plan was committed, or (none) revoked."""
        if plan is None:
            self._plans.pop(stream, None)
            self._alternatives.pop(stream, None)
            if stream in self._streams:
                await self._streams[stream].tell(PlanRevoked())
            return
        self._plans[stream] = plan
        if stream in self._streams:
            await self._streams[stream].tell(PlanCommitted(plan))
        elif plan.source == self.device:
            source = await self.begin(stream)
            source.want_intake(True)

    async def alternatives_known(self, alternatives: Alternatives) -> None:
        """The planner says when a stream's source may switch by itself."""
        self._alternatives[alternatives.stream] = alternatives
        if alternatives.stream in self._streams:
            await self._streams[alternatives.stream].tell(AlternativesKnown(alternatives))

    async def observed(self, observation: TransferObservation | ComputeObservation) -> None:
        """This device has computed a segment, or a transfer of it has arrived or is overdue."""
        await self._tell_all(Observed(observation))

    async def device_seen(self, presence: Presence) -> None:
        """A device's executor came or went."""
        boot_id = presence.boot_id if presence.state is State.ONLINE else None
        self._boots[presence.device] = boot_id
        await self._tell_all(DeviceSeen(presence.device, boot_id))

    async def attempt_refused(self, receiver: str, refused: DamageReport) -> None:
        """A device could not use what came to it of a request."""
        source = self._streams.get(refused.stream)
        if source is not None:
            reason = f"{receiver} could not use what came: {refused.reason}"
            await source.tell(AttemptRefused(refused.request_id, refused.attempt, reason))

    async def service_seen(self, presence: ServicePresence) -> None:
        """A service came or went; collectors matter here."""
        if presence.role != COLLECTOR_ROLE:
            return
        if presence.state is State.ONLINE:
            self._collectors.add(presence.name)
        else:
            self._collectors.discard(presence.name)
        await self._tell_all(CollectorsChanged(bool(self._collectors)))

    async def confirmed(self, confirmation: Confirmation) -> None:
        """A collector has stored outcomes."""
        await self._tell_all(Confirmed(confirmation.request_ids))

    async def outcome_seen(self, outcome: Outcome, payload: bytes, content_type: str) -> None:
        """An outcome was published on a results topic: nothing more of its request is sent from here."""
        self.answered(outcome.stream, outcome.request_id)
        source = self._streams.get(outcome.stream)
        if source is not None:
            ok = outcome.status is OutcomeStatus.OK
            await source.tell(OutcomeSeen(outcome.request_id, outcome.attempt, ok, payload, content_type))

    async def bus_changed(self, online: bool) -> None:
        """The broker came back or was lost."""
        if online != self._online:
            self._online = online
            await self._tell_all(BusChanged(online))

    async def pause(self) -> None:
        """Take no more requests and send none off: the device is about to leave."""
        for source in self._streams.values():
            source.want_intake(False)
        await self._tell_all(BusChanged(False))

    def usages(self, now_s: float, *, changed_only: bool) -> list[StreamUsage]:
        """Return what the sources see of their streams."""
        found = (
            source.usage.change(now_s) if changed_only else source.usage.usage(now_s)
            for source in self._streams.values()
        )
        return [usage for usage in found if usage is not None]

    async def _listen(self, connection: Connection, stream: str) -> None:
        for topic in (topics.results(stream), topics.confirmations()):
            try:
                await connection.subscribe(topic)
            except BusError as error:
                _LOGGER.warning("%s", error)

    async def _tell_all(self, event: Event) -> None:
        for source in tuple(self._streams.values()):
            await source.tell(event)
