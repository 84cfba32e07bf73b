"""Sources of the streams that begin on this device, and the distribution of events to them."""

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path

from services.executor.observations import ObservationFeed
from services.executor.outbox import Outbox
from services.executor.outcome_delivery import OutcomeDelivery
from services.executor.output_sender import OutputSender
from services.executor.results import without_outputs
from services.executor.source.directory_watch import watch_directory
from services.executor.source.journal_thread import JournalThread
from services.executor.source.output_receiver import OutputReceiver
from services.executor.source.request_pipeline import RequestPipeline
from services.executor.source.source_events import (
    AlternativesKnown,
    AttemptRefused,
    BusChanged,
    CollectorsChanged,
    Confirmed,
    DeviceSeen,
    Observed,
    OutcomeSeen,
    OutputsArriving,
    PlanCommitted,
    PlanRevoked,
    SourceEvent,
    SourceLimits,
    StreamWithdrawn,
)
from services.executor.source.state import SourceState
from services.executor.source.stream_source import StreamSource
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.errors import BusError
from shared.bus.mqtt.properties import Properties
from shared.bus.settings import BusSettings
from shared.large_outcomes import LARGE_OUTCOME_CONTENT, AssembledOutcome
from shared.messages.alternatives import Alternatives
from shared.messages.devices import DamageReport, Observation, Presence, ServicePresence, State
from shared.messages.requests import (
    MSGPACK_CONTENT,
    REQUEST_ID_PROPERTY,
    Confirmation,
    Outcome,
    OutcomeStatus,
    OutputTransfer,
)
from shared.messages.streams import CommittedPlan, StreamDeclaration, StreamUsage

_LOGGER = logging.getLogger(__name__)

_COLLECTOR_ROLE = "collector"


@dataclass(slots=True)
class Sources:
    """The sources of this device, each created when a declaration, a plan or the journal names its stream.

    Retained messages (plans, alternatives, presence) arrive in any order, and often before the stream is known. So the
    newest of each is kept here and given to a source when it is created.

    Attributes:
        device: name of this device.
        settings: address of the broker, for the intakes.
        limits: bounds of each source.
        journal: the journal of all sources.
        outbox: outgoing control messages.
        pipeline: computes and sends requests.
        observations: measurements of this device.
        outcomes: hands over the outcomes of attempts that end on this device.
        outputs: sends large outputs of results.
        receiver: receives large outputs of attempts.
        group: runs the sources.
    """

    device: str
    settings: BusSettings
    limits: SourceLimits
    journal: JournalThread
    outbox: Outbox
    pipeline: RequestPipeline
    observations: ObservationFeed
    outcomes: OutcomeDelivery
    outputs: OutputSender
    receiver: OutputReceiver
    group: asyncio.TaskGroup
    _streams: dict[str, StreamSource] = field(default_factory=dict, init=False)
    _plans: dict[str, CommittedPlan] = field(default_factory=dict, init=False)
    _models: dict[str, str] = field(default_factory=dict, init=False)
    _alternatives: dict[str, Alternatives] = field(default_factory=dict, init=False)
    _boots: dict[str, str | None] = field(default_factory=dict, init=False)
    _collectors: set[str] = field(default_factory=set, init=False)
    _is_online: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        self.observations.subscribe(self._observed)
        self.outcomes.subscribe(self.outcome_seen)

    async def resume(self) -> None:
        """Create the sources of the streams in the journal."""
        for stream in await self.journal.read(lambda journal: journal.streams()) or ():
            await self.begin(stream)

    async def begin(self, stream: str) -> StreamSource:
        """Return the source of a stream, created and started if there is none."""
        source = self._streams.get(stream)
        if source is not None:
            return source
        source = StreamSource(
            stream,
            state=SourceState(self.device, self.limits),
            settings=self.settings,
            journal=self.journal,
            outbox=self.outbox,
            outputs=self.outputs,
            pipeline=self.pipeline,
        )
        # Registered before the first await, so that a concurrent call finds it, and subscribed to its outcomes before
        # it can dispatch anything.
        self._streams[stream] = source
        await self._subscribe(self.outbox.connection, stream)
        for device, boot_id in self._boots.items():
            await source.post(DeviceSeen(device, boot_id))
        await source.post(BusChanged(self._is_online))
        await source.post(CollectorsChanged(bool(self._collectors)))
        if stream in self._plans:
            await source.post(PlanCommitted(self._plans[stream]))
        if stream in self._alternatives:
            await source.post(AlternativesKnown(self._alternatives[stream]))
        self.group.create_task(source.run(), name=f"stream {stream}")
        return source

    async def declared(self, stream: str, declaration: StreamDeclaration | None) -> None:
        """Begin a stream that is declared with this device as its source; end it if it is withdrawn or moved.

        A stream is withdrawn if it has no declaration (None), or one without a model.
        """
        self._models.pop(stream, None)
        if declaration is not None and declaration.model:
            self._models[stream] = declaration.model
        if declaration is not None and declaration.model and declaration.source == self.device:
            source = await self.begin(stream)
            source.set_intake(True)
        elif stream in self._streams:
            self._streams[stream].set_intake(False)
            if declaration is None or not declaration.model:
                await self._streams[stream].post(StreamWithdrawn())

    def declared_model(self, stream: str) -> str:
        """Return the model in a stream's declaration, SHA-256 or alias; empty if it has none."""
        return self._models.get(stream, "")

    async def planned(self, stream: str, plan: CommittedPlan | None) -> None:
        """Put a committed plan in force, or revoke the plan (None)."""
        if plan is None:
            self._plans.pop(stream, None)
            self._alternatives.pop(stream, None)
            if stream in self._streams:
                await self._streams[stream].post(PlanRevoked())
            return
        self._plans[stream] = plan
        if stream in self._streams:
            await self._streams[stream].post(PlanCommitted(plan))
        elif plan.source == self.device:
            source = await self.begin(stream)
            source.set_intake(True)

    async def alternatives_known(self, alternatives: Alternatives) -> None:
        """Store the thresholds beyond which a source may switch routes by itself."""
        self._alternatives[alternatives.stream] = alternatives
        if alternatives.stream in self._streams:
            await self._streams[alternatives.stream].post(AlternativesKnown(alternatives))

    async def device_seen(self, presence: Presence) -> None:
        """Store whether a device's executor is online, and which process it is."""
        boot_id = presence.boot_id if presence.state is State.ONLINE else None
        self._boots[presence.device] = boot_id
        await self._post_to_all(DeviceSeen(presence.device, boot_id))

    async def attempt_refused(self, receiver: str, refused: DamageReport) -> None:
        """Pass on that a device could not decode a feature map of a request, or had no room for its rows."""
        source = self._streams.get(refused.stream)
        if source is not None:
            what = "has" if refused.has_no_room else "could not decode a feature map:"
            reason = f"{receiver} {what} {refused.reason}"
            await source.post(AttemptRefused(refused.request_id, refused.attempt, reason, refused.has_no_room))

    async def service_seen(self, presence: ServicePresence) -> None:
        """Store whether a collector is online; other services are ignored."""
        if presence.role != _COLLECTOR_ROLE:
            return
        if presence.state is State.ONLINE:
            self._collectors.add(presence.name)
        else:
            self._collectors.discard(presence.name)
        await self._post_to_all(CollectorsChanged(bool(self._collectors)))

    async def confirmed(self, confirmation: Confirmation) -> None:
        """Pass on which outcomes a collector has stored; a source ignores those of other streams."""
        await self._post_to_all(Confirmed(confirmation.request_ids))

    def awaits(self, stream: str, request_id: str) -> bool:
        """Return whether a request is accepted here and has no outcome yet."""
        source = self._streams.get(stream)
        return source is not None and source.awaits(request_id)

    async def outputs_arriving(self, stream: str, request_id: str) -> None:
        """Pass on that some of the large outputs of an attempt have arrived."""
        source = self._streams.get(stream)
        if source is not None:
            await source.post(OutputsArriving(request_id))

    async def outputs_arrived(self, assembled: AssembledOutcome) -> None:
        """Take the outcome of an attempt with its large outputs."""
        await self.outcome_seen(assembled.header, assembled.frame, LARGE_OUTCOME_CONTENT)

    async def outputs_sent(self, outcome: Outcome, transfer: OutputTransfer) -> None:
        """Take an outcome whose outputs are sent apart from it. It ends its request if this device cannot have them."""
        obstacle = self.receiver.obstacle(transfer)
        if obstacle:
            plain = without_outputs(outcome, obstacle)
            await self.outcome_seen(plain, plain.encode(), MSGPACK_CONTENT)
        else:
            await self.outputs_arriving(outcome.stream, outcome.request_id)

    async def outcome_seen(
        self, outcome: Outcome, payload: bytes | memoryview, content_type: str, *, is_published: bool = False
    ) -> None:
        """Take the outcome of an attempt; this device sends nothing more of its request.

        The sends are cancelled directly, not through the source's queue, because they occupy a link until then.

        Args:
            outcome: of any attempt.
            payload: its bytes, which are published unchanged.
            content_type: of these bytes.
            is_published: whether a device of an earlier release has published it on the results topic.
        """
        self.pipeline.cancel(outcome.stream, outcome.request_id)
        source = self._streams.get(outcome.stream)
        if source is not None:
            ok = outcome.status is OutcomeStatus.OK
            await source.post(
                OutcomeSeen(outcome.request_id, outcome.attempt, ok, payload, content_type, outcome.trace, is_published)
            )

    @property
    def are_idle(self) -> bool:
        """True if no accepted request is left in any stream."""
        return all(source.is_idle for source in self._streams.values())

    async def bus_changed(self, is_online: bool) -> None:
        """Pass on that the broker connection was lost or restored; repeated calls with one value do nothing."""
        if is_online != self._is_online:
            self._is_online = is_online
            await self._post_to_all(BusChanged(is_online))

    async def watch(self, stream: str, directory: Path) -> None:
        """Submit the files that come into a directory to a stream, until cancelled."""
        source = await self.begin(stream)

        async def submit(request_id: str, payload: bytes) -> None:
            accepted = asyncio.Event()
            await source.submit(payload, Properties(user={REQUEST_ID_PROPERTY: request_id}), accepted.set)
            await accepted.wait()

        await watch_directory(directory, stream, self.journal, submit)

    async def pause(self) -> None:
        """Accept and dispatch no more requests: the device is about to leave."""
        for source in self._streams.values():
            source.pause_intake()
        await self._post_to_all(BusChanged(False))

    async def drain(self) -> None:
        """Wait until all sources have handled the events that are queued."""
        for source in tuple(self._streams.values()):
            await source.drain()

    def usages(self, now_s: float, *, changed_only: bool) -> list[StreamUsage]:
        """Return size and rate of the streams' requests, and the latencies since the last call.

        Args:
            now_s: monotonic seconds.
            changed_only: leave out streams with unchanged figures and without new latencies.
        """
        usages = (source.usage_report(now_s, changed_only=changed_only) for source in self._streams.values())
        return [usage for usage in usages if usage is not None]

    async def _observed(self, observation: Observation) -> None:
        await self._post_to_all(Observed(observation))

    async def _subscribe(self, connection: Connection, stream: str) -> None:
        for topic in (topics.results(stream), topics.confirmations()):
            try:
                await connection.subscribe(topic)
            except BusError as error:
                # Not fatal: the connection subscribes again after its next reconnect.
                _LOGGER.warning("%s", error)

    async def _post_to_all(self, event: SourceEvent) -> None:
        # A copy, because a source may be created while this waits at a full queue.
        for source in tuple(self._streams.values()):
            await source.post(event)
