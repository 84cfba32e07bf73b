"""The source of one stream: takes requests over, sends them off, owns their outcomes. The shell of `state`."""

import asyncio
import itertools
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from services.executor.feature_maps import FeatureMap
from services.executor.outbox import Outbox, Publication
from services.executor.pipeline import TRACEPARENT_PROPERTY, publish_outcome, user_properties
from services.executor.results import encode_outcome
from services.executor.segments.segment import REQUEST_TENSOR
from services.executor.source.arrival_stats import ArrivalStats
from services.executor.source.journal import Journal, StoredOutcome
from services.executor.source.journal_thread import JournalThread
from services.executor.source.payload_cache import PayloadCache
from services.executor.source.source_events import (
    Accept,
    Acknowledge,
    Command,
    Confirm,
    DeleteOutcomes,
    Dispatch,
    Event,
    Fail,
    JournalRestored,
    ReportRetry,
    ReportSwitch,
    Republish,
    Request,
    RequestArrived,
    RetryTick,
    StoreOutcome,
    Undispatchable,
)
from services.executor.source.state import SourceState
from shared.bus import topics
from shared.bus.connection import Connection, Received
from shared.bus.errors import BusError
from shared.bus.properties import Properties
from shared.bus.settings import BusSettings
from shared.messages.events import EventKind
from shared.messages.requests import (
    ACCEPT_PROPERTY,
    JSON_CONTENT,
    MSGPACK_CONTENT,
    ErrorCause,
    FeatureMapHeader,
    Outcome,
    OutcomeStatus,
    given_request_id,
)

_LOGGER = logging.getLogger(__name__)

_TICK_S = 0.1
_MAX_EVENTS = 1024
_MAX_ARRIVING = 64
_MAX_BATCH = 64


class Forward(Protocol):
    """Sends a request to the first stage of its route."""

    async def __call__(self, feature_map: FeatureMap) -> None:
        """Return when it is on its way."""
        ...


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """A request's bytes, and how its bringer is told that it is taken over."""

    payload: bytes
    acknowledge: Callable[[], None]


class StreamSource:
    """One stream at its source."""

    def __init__(
        self,
        stream: str,
        *,
        state: SourceState,
        settings: BusSettings,
        journal: JournalThread,
        outbox: Outbox,
        forward: Forward,
    ) -> None:
        """Put the parts together; `run` makes them work."""
        self.stream = stream
        self.usage = ArrivalStats(stream)
        self._state = state
        self._settings = settings
        self._journal = journal
        self._outbox = outbox
        self._forward = forward
        self._events: asyncio.Queue[Event] = asyncio.Queue(_MAX_EVENTS)
        self._arriving: dict[int, ReceivedRequest] = {}
        self._tokens = itertools.count()
        self._payloads = PayloadCache()
        self._has_room = asyncio.Event()
        self._intake_wanted = asyncio.Event()
        self._intake_unwanted = asyncio.Event()
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """Work for ever; first the journal is read."""
        restored = await self._journal.read(lambda journal: journal.restore(self.stream, time.time()))
        requests, outcomes = restored or ((), ())
        if requests:
            _LOGGER.info("%s: %d accepted requests of a former life go on", self.stream, len(requests))
        async with self._group as group:
            await self._perform(self._state.handle(JournalRestored(requests, outcomes), time.monotonic()))
            group.create_task(self._handle_events(), name=f"source {self.stream}")
            group.create_task(self._take_in(), name=f"intake {self.stream}")

    def want_intake(self, wanted: bool) -> None:
        """Take requests from the broker, or stop it."""
        (self._intake_wanted if wanted else self._intake_unwanted).set()
        (self._intake_unwanted if wanted else self._intake_wanted).clear()

    async def tell(self, event: Event) -> None:
        """Let the source know what has happened."""
        await self._events.put(event)

    async def submit(self, payload: bytes, properties: Properties, acknowledge: Callable[[], None]) -> None:
        """Bring a request; waits while the source has no room."""
        await self._has_room.wait()
        token = next(self._tokens)
        self._arriving[token] = ReceivedRequest(payload, acknowledge)
        self._update_room()
        self.usage.add(len(payload), time.monotonic())
        await self._events.put(RequestArrived(parse_request(payload, properties, time.time()), token))

    async def _take_in(self) -> None:
        while True:
            await self._intake_wanted.wait()
            async with Connection.open(
                self._settings,
                client_id=f"segue-intake-{self._state.device}-{self.stream}",
                persistent_session=True,
                manual_ack=True,
                receive_maximum=_MAX_ARRIVING,
                connect_timeout_s=None,
            ) as connection:
                async with asyncio.TaskGroup() as group:
                    # First of all: a broker that resumes a session may send what waits, and want it acknowledged,
                    # before it answers a subscription.
                    reader = group.create_task(self._read(connection), name=f"read {self.stream}")
                    await self._subscribe(connection)
                    await self._intake_unwanted.wait()
                    reader.cancel()
                await connection.unsubscribe(topics.requests(self.stream))

    async def _subscribe(self, connection: Connection) -> None:
        try:
            await connection.subscribe(topics.requests(self.stream))
            _LOGGER.info("taking requests of stream %s", self.stream)
        except BusError as error:
            # If it was only late, it is tried again after the next reconnect.
            _LOGGER.error("%s", error)

    async def _read(self, connection: Connection) -> None:
        async for received in connection:
            await self._take(received)

    async def _take(self, received: Received) -> None:
        if received.retain:
            # A retained request would be computed again after every start of the source.
            received.acknowledge()
            await self._outbox.note_bad_message(received.topic, "a request must not be retained")
            return
        await self.submit(bytes(received.payload), received.properties, received.acknowledge)

    async def _handle_events(self) -> None:
        tick_s = time.monotonic()
        while True:
            events = await self._next_events(max(0.0, tick_s - time.monotonic()))
            now_s = time.monotonic()
            if now_s >= tick_s:
                tick_s = now_s + _TICK_S
                events.append(RetryTick())
            await self._perform([command for event in events for command in self._state.handle(event, now_s)])

    async def _next_events(self, timeout_s: float) -> list[Event]:
        """Wait for an event; take what else is there, so that one transaction serves them all."""
        try:
            async with asyncio.timeout(timeout_s):
                events = [await self._events.get()]
        except TimeoutError:
            return []
        while len(events) < _MAX_BATCH and not self._events.empty():
            events.append(self._events.get_nowait())
        return events

    async def _perform(self, commands: Sequence[Command]) -> None:
        """Write to the journal first what must not be forgotten, then do the rest."""
        failures = {
            command.request.request_id: self._failure(command) for command in commands if isinstance(command, Fail)
        }
        changes = [change for command in commands for change in self._changes(command, failures)]
        if changes:
            await self._journal.write(lambda journal: _apply(journal, changes))
        for command in commands:
            await self._act(command, failures)
        self._update_room()

    def _changes(self, command: Command, failures: dict[str, StoredOutcome]) -> Iterable[Callable[[Journal], None]]:
        stream = self.stream
        match command:
            case Accept(request, token):
                payload = self._arriving[token].payload
                self._payloads.put(request.request_id, payload)
                yield lambda journal: journal.accept(stream, request, payload)
            case Dispatch(request, attempt):
                yield lambda journal: journal.note_attempt(stream, request.request_id, attempt)
            case StoreOutcome(request_id, payload, content_type):
                stored, now_at_s = StoredOutcome(payload, content_type), time.time()
                yield lambda journal: journal.finish(stream, request_id, stored, now_at_s)
            case Fail(request):
                failure, now_at_s = failures[request.request_id], time.time()
                yield lambda journal: journal.finish(stream, request.request_id, failure, now_at_s)
            case Confirm(request_ids):
                yield lambda journal: journal.confirm(stream, request_ids)
            case DeleteOutcomes(request_ids):
                yield lambda journal: journal.forget(stream, request_ids)

    async def _act(self, command: Command, failures: dict[str, StoredOutcome]) -> None:
        match command:
            case Accept(_, token) | Acknowledge(token):
                self._arriving.pop(token).acknowledge()
            case Dispatch():
                self._group.create_task(self._dispatch(command), name=f"dispatch {command.request.request_id}")
            case StoreOutcome(request_id):
                self._payloads.drop(request_id)
            case Fail():
                await self._publish_failure(command, failures[command.request.request_id])
            case Republish():
                await self._republish(command)
            case ReportRetry(request_id, attempt, reason):
                text = f"request {request_id} is tried again after attempt {attempt}: {reason}"
                await self._outbox.report(EventKind.REQUEST_RETRIED, text, stream=self.stream)
            case ReportSwitch(text):
                await self._outbox.report(EventKind.SWITCHED, f"stream {self.stream}: {text}", stream=self.stream)

    async def _dispatch(self, command: Dispatch) -> None:
        request, plan = command.request, command.plan
        payload = self._payloads.get(request.request_id)
        if payload is None:
            payload = await self._journal.read(lambda journal: journal.payload(self.stream, request.request_id))
        if payload is None:
            await self.tell(Undispatchable(request.request_id, "its bytes were lost with a damaged journal"))
            return
        deadline_at_s = None if plan.deadline_ms is None else request.accepted_at_s + plan.deadline_ms / 1000
        header = FeatureMapHeader(
            transfer_id="",
            sender=self._state.device,
            request_id=request.request_id,
            stream=self.stream,
            model=plan.model,
            epoch=plan.epoch,
            attempt=command.attempt,
            stages=command.route.stages,
            stage=0,
            tensors=(),
            source=self._state.device,
            accepted_at_s=request.accepted_at_s,
            dispatched_at_s=time.time(),
            deadline_at_s=deadline_at_s,
            queue=plan.queue,
            accept=request.accept,
            response_topic=request.response_topic,
            correlation_data=request.correlation_data,
            traceparent=request.traceparent,
            input_bytes=request.size_bytes,
        )
        await self._forward(FeatureMap(header, {REQUEST_TENSOR: np.frombuffer(payload, np.uint8)}))

    def _failure(self, command: Fail) -> StoredOutcome:
        request = command.request
        outcome = Outcome(
            request_id=request.request_id,
            stream=self.stream,
            status=OutcomeStatus.ERROR,
            model=self._state.plan.model if self._state.plan else "",
            epoch=command.epoch,
            attempt=command.attempt,
            cause=command.cause,
            error=command.text,
            accepted_at_s=request.accepted_at_s,
            completed_at_s=time.time(),
            input_bytes=request.size_bytes,
        )
        return StoredOutcome(*encode_outcome(outcome, request.accept))

    async def _publish_failure(self, command: Fail, failure: StoredOutcome) -> None:
        request = command.request
        self._payloads.drop(request.request_id)
        properties = Properties(
            correlation_data=request.correlation_data,
            content_type=failure.content_type,
            user=user_properties(request.request_id, request.traceparent),
        )
        await publish_outcome(self._outbox, self.stream, failure.payload, properties, request.response_topic)
        if command.cause is not ErrorCause.SUPERSEDED:
            text = f"request {request.request_id} failed: {command.text}"
            await self._outbox.report(EventKind.REQUEST_FAILED, text, stream=self.stream)

    async def _republish(self, command: Republish) -> None:
        known = command.request_id
        stored = await self._journal.read(lambda journal: journal.outcome(self.stream, known))
        if stored is None:
            _LOGGER.debug("the outcome of %s is not in the journal any more", known)
            return
        properties = Properties(
            correlation_data=command.correlation_data,
            content_type=stored.content_type,
            user=user_properties(known, None),
        )
        await self._outbox.put(Publication(topics.results(self.stream), stored.payload, properties))
        if command.response_topic:
            await self._outbox.put(Publication(command.response_topic, stored.payload, properties, absolute=True))

    def _update_room(self) -> None:
        if self._state.has_room and len(self._arriving) < _MAX_ARRIVING:
            self._has_room.set()
        else:
            self._has_room.clear()


def parse_request(payload: bytes, properties: Properties, now_at_s: float) -> Request:
    """Read what travels beside a request's bytes; without an id (`given_request_id`) it gets one here."""
    accept = properties.user.get(ACCEPT_PROPERTY, JSON_CONTENT)
    return Request(
        request_id=given_request_id(properties.user, properties.correlation_data) or uuid.uuid4().hex,
        size_bytes=len(payload),
        accepted_at_s=now_at_s,
        accept=accept if accept == MSGPACK_CONTENT else JSON_CONTENT,
        response_topic=_usable_topic(properties.response_topic),
        correlation_data=properties.correlation_data,
        traceparent=properties.user.get(TRACEPARENT_PROPERTY),
    )


def _usable_topic(topic: str | None) -> str | None:
    """Return a response topic that can be published to; one with wildcards cannot."""
    return topic if topic and not set(topic) & set("+#\0") else None


def _apply(journal: Journal, changes: Iterable[Callable[[Journal], None]]) -> None:
    for change in changes:
        change(journal)
