"""Source of one stream: performs the commands of its state machine with journal, pipeline and outbox.

Durability rests on one order, kept by `source_steps.perform` for every batch of commands: changes are durable before
the actions that others see. All changes of a batch are one transaction of the journal.

So a request is acknowledged only after it is safe from a crash, and an outcome is durable before it is published. A
crash between the two repeats work but loses nothing. The broker delivers an unacknowledged request again, and the
journal has its id. The journal also knows the outcomes that the broker has not acknowledged, which are published after
the restart.

Attempts are numbered durably before they are sent, with one exception: the first attempt of a request goes out while
the journal is written, unless the request may have been here before a crash. A crash then repeats the first attempt.

No other device publishes outcomes. So a request has one outcome, even if an attempt ends after the source gave it up.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import assert_never

import numpy as np

from services.executor.feature_maps import FeatureMap
from services.executor.outbox import Outbox
from services.executor.output_sender import OutputSender
from services.executor.segments.segment import REQUEST_TENSOR
from services.executor.source.arrival_stats import ArrivalStats
from services.executor.source.intake import MAX_UNACKNOWLEDGED, RequestIntake, request_from_message
from services.executor.source.journal import StoredOutcome, pack_request
from services.executor.source.journal_thread import JournalThread
from services.executor.source.outcome_log import MAX_LOGGED_BYTES, LoggedOutcome
from services.executor.source.outcome_publisher import OutcomePublisher
from services.executor.source.payload_cache import PayloadCache
from services.executor.source.pending_requests import RequestPhase
from services.executor.source.request_limit import request_limit_bytes
from services.executor.source.request_pipeline import RequestPipeline
from services.executor.source.source_events import (
    Accept,
    Acknowledge,
    Confirm,
    ContextEvent,
    DeleteOutcomes,
    Dispatch,
    Fail,
    JournalRestored,
    NotePublished,
    OutcomesPublished,
    ReportRetry,
    ReportSwitch,
    Republish,
    RequestArrived,
    RetryTick,
    SourceCommand,
    SourceEvent,
    StoreOutcome,
    TimeSkipped,
    Undispatchable,
)
from services.executor.source.source_messages import confined, error_outcome, first_header
from services.executor.source.source_steps import SourceStep, perform
from services.executor.source.state import SourceState
from shared.bus import topics
from shared.bus.mqtt.properties import Properties
from shared.bus.settings import BusSettings
from shared.messages.events import EventKind
from shared.messages.requests import ErrorCause
from shared.messages.streams import StreamUsage

_LOGGER = logging.getLogger(__name__)

_TICK_S = 0.1
# While no request is left, only outcomes may be published again or deleted.
_IDLE_TICK_S = 0.5
# The events are handled at every tick. After a longer pause this process was stopped, or its disk was full.
_PAUSE_S = 2.0
# Bound of the event queue; when it is full, senders of events wait.
_MAX_EVENTS = 1024
# Events handled together, so that their journal changes share one transaction.
_MAX_BATCH = 64
# More requests than a broker delivers again after a restart: it has `MAX_UNACKNOWLEDGED`, or rumqttd 100.
_MAY_COME_AGAIN = 128


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A request's payload, and the call that acknowledges its delivery."""

    payload: bytes
    acknowledge: Callable[[], None]


class StreamSource:
    """The source of one stream.

    One task (`_handle_events`) changes the state and performs its commands, so that batches never interleave.
    """

    def __init__(
        self,
        stream: str,
        *,
        state: SourceState,
        settings: BusSettings,
        journal: JournalThread,
        outbox: Outbox,
        outputs: OutputSender,
        pipeline: RequestPipeline,
    ) -> None:
        """Create a source that takes no requests before `run` and `set_intake`."""
        self.stream = stream
        self.usage = ArrivalStats(stream)
        self._root = settings.root
        self._state = state
        self._journal = journal
        self._outbox = outbox
        self._pipeline = pipeline
        self._events: asyncio.Queue[SourceEvent] = asyncio.Queue(_MAX_EVENTS)
        # Submitted requests, by token, until they are acknowledged.
        self._arriving: dict[int, _Delivery] = {}
        self._tokens = itertools.count()
        # Requests that may have ended this process before. Their attempts are counted before they can do it again.
        self._doubtful: set[str] = set()
        self._payloads = PayloadCache()
        self._has_room = asyncio.Event()
        self._intake = RequestIntake(
            stream,
            device=state.device,
            settings=settings,
            outbox=outbox,
            submit=self.submit,
            max_request_bytes=partial(request_limit_bytes, state.limits.max_waiting_bytes),
        )
        self._group = asyncio.TaskGroup()
        self._publisher = OutcomePublisher(stream, outbox, outputs, self._group, self._republish)

    async def run(self) -> None:
        """Restore the requests in the journal, then handle events until cancelled."""
        restored = await self._journal.read(lambda journal: journal.restore(self.stream, self._journal.now_s()))
        requests, outcomes = restored or ((), ())
        if requests:
            _LOGGER.info("%s: resuming %d accepted requests from the journal", self.stream, len(requests))
        self._doubtful.update(restored.request.request_id for restored in requests)
        async with self._group as group:
            await self._perform(self._state.handle(JournalRestored(requests, outcomes), time.monotonic()))
            group.create_task(self._handle_events(), name=f"source {self.stream}")
            group.create_task(self._intake.run(), name=f"intake {self.stream}")

    def set_intake(self, enabled: bool) -> None:
        """Start or stop taking requests from the broker."""
        self._intake.set_enabled(enabled)

    def pause_intake(self) -> None:
        """Take no more requests from the broker, which keeps them until this device is back."""
        self._intake.pause()

    def usage_report(self, now_s: float, *, changed_only: bool) -> StreamUsage | None:
        """Return size and rate of the requests, and the latencies since the last report.

        Args:
            now_s: monotonic seconds.
            changed_only: return None if the figures are as published and no request has ended.
        """
        measured = self._state.latencies.take()
        figures = self.usage.change(now_s) if changed_only else self.usage.usage(now_s)
        if figures is None and measured is not None:
            figures = self.usage.published
        return figures if figures is None or measured is None else figures.model_copy(update={"measured": measured})

    def awaits(self, request_id: str) -> bool:
        """Return whether a request is accepted and has no outcome yet."""
        return self._state.phase(request_id) in (RequestPhase.WAITING, RequestPhase.IN_FLIGHT)

    async def post(self, event: SourceEvent) -> None:
        """Queue an event; waits while the queue is full."""
        await self._events.put(event)

    async def drain(self) -> None:
        """Wait until the events are handled that are queued, acknowledgements of the broker included."""
        await self.post(self._newly_published())
        await self._events.join()

    async def submit(
        self, payload: bytes, properties: Properties, acknowledge: Callable[[], None], *, skipped_bytes: int = 0
    ) -> None:
        """Queue a request; waits while the source is full.

        Args:
            payload: the request's bytes.
            properties: the MQTT properties that describe it.
            acknowledge: called once the request is durable, or was accepted before.
            skipped_bytes: size of a payload that was too large to be read; then `payload` is empty.
        """
        await self._has_room.wait()
        token = next(self._tokens)
        self._arriving[token] = _Delivery(payload, acknowledge)
        self._update_room()
        request = request_from_message(payload, properties, time.time(), skipped_bytes=skipped_bytes)
        fault = ""
        if skipped_bytes:
            fault = f"the request has {skipped_bytes} bytes, more than this device has memory for"
        elif not payload:
            fault = "the request is empty"
        else:
            self.usage.add(len(payload), time.monotonic())
        if token < _MAY_COME_AGAIN:
            self._doubtful.add(request.request_id)
        request, topic_fault = confined(request, self._root, self.stream)
        if topic_fault:
            await self._outbox.note_bad_message(topics.requests(self.stream), topic_fault)
        await self._events.put(RequestArrived(request, token, fault))

    @property
    def is_idle(self) -> bool:
        """True if no accepted request is left."""
        return self._state.is_idle

    async def _handle_events(self) -> None:
        ticked_s = handled_s = time.monotonic()
        while True:
            tick_s = ticked_s + (_IDLE_TICK_S if self.is_idle else _TICK_S)
            queued = await self._next_events(max(0.0, tick_s - time.monotonic()))
            now_s = time.monotonic()
            events = list(queued)
            if now_s - handled_s > _PAUSE_S:
                events.insert(0, TimeSkipped())
            if self._publisher.published:
                events.append(self._newly_published())
            if now_s >= tick_s:
                ticked_s = now_s
                events.append(RetryTick())
            handled_s = now_s
            await self._perform([command for event in events for command in self._handled(event, now_s)])
            for _ in queued:
                self._events.task_done()

    def _newly_published(self) -> OutcomesPublished:
        return OutcomesPublished(self._publisher.take_published())

    def _handled(self, event: SourceEvent, now_s: float) -> Sequence[SourceCommand]:
        try:
            return self._state.handle(event, now_s)
        except Exception:
            # A message about the circumstances must not end the source, nor end it again after every restart. A request
            # has to end by a command, so a fault in its own event does end the process.
            if not isinstance(event, ContextEvent):
                raise
            _LOGGER.exception("stream %s: an event could not be handled", self.stream)
            return ()

    async def _next_events(self, timeout_s: float) -> list[SourceEvent]:
        """Wait for an event and return it with those that are queued, so that one transaction serves them all."""
        events: list[SourceEvent] = []
        if self._events.empty():
            try:
                async with asyncio.timeout(timeout_s):
                    events.append(await self._events.get())
            except TimeoutError:
                return []
        while len(events) < _MAX_BATCH and not self._events.empty():
            events.append(self._events.get_nowait())
        return events

    async def _perform(self, commands: Sequence[SourceCommand]) -> None:
        """Perform commands, with the changes of the journal that they need."""
        steps = [self._step(command) for command in commands]
        dispatches = [step for command, step in zip(commands, steps, strict=True) if isinstance(command, Dispatch)]
        if not all(step.is_early for step in dispatches):
            # No request overtakes one that has to wait.
            steps = [replace(step, is_early=False) for step in steps]
        await perform(steps, self._journal)
        self._update_room()

    def _step(self, command: SourceCommand) -> SourceStep:
        """Return the step of a command. Nothing outside this object is changed before the step is performed."""
        stream, now_s = self.stream, self._journal.now_s()
        match command:
            case Accept(request, token):
                payload = self._arriving[token].payload
                self._payloads.put(request.request_id, payload)
                return SourceStep(
                    lambda journal: journal.accept(stream, request, payload, now_s), partial(self._acknowledge, token)
                )
            case Acknowledge(token):
                return SourceStep(action=partial(self._acknowledge, token))
            case Dispatch(request, attempt):
                used_retries = command.used_retries
                return SourceStep(
                    lambda journal: journal.note_attempt(stream, request.request_id, attempt, used_retries),
                    partial(self._start_dispatch, command),
                    is_early=attempt == 1 and self._may_begin_early(request.request_id),
                )
            case StoreOutcome(request, payload, content_type):
                return self._finish(command, StoredOutcome(payload, content_type))
            case Fail():
                model = self._state.plan.model if self._state.plan else ""
                return self._finish(command, error_outcome(command, stream, model))
            case Republish():
                return SourceStep(action=partial(self._republish, command))
            case NotePublished(request_ids):
                return SourceStep(lambda journal: journal.note_published(stream, request_ids))
            case Confirm(request_ids):
                return SourceStep(lambda journal: journal.confirm(stream, request_ids))
            case DeleteOutcomes(request_ids):
                return SourceStep(lambda journal: journal.forget(stream, request_ids))
            case ReportRetry(request_id, attempt, reason):
                text = f"request {request_id} is tried again after attempt {attempt}: {reason}"
                return SourceStep(action=partial(self._outbox.report, EventKind.REQUEST_RETRIED, text, stream=stream))
            case ReportSwitch(text):
                report = partial(self._outbox.report, EventKind.SWITCHED, f"stream {stream}: {text}", stream=stream)
                return SourceStep(action=report)
            case _ as never:
                assert_never(never)

    def _may_begin_early(self, request_id: str) -> bool:
        # What is not in the cache has to be read from the journal.
        return request_id not in self._doubtful and self._payloads.get(request_id) is not None

    def _finish(self, command: StoreOutcome | Fail, outcome: StoredOutcome) -> SourceStep:
        now_s, request = self._journal.now_s(), command.request
        is_published = isinstance(command, StoreOutcome) and command.is_published
        logged = None
        if not is_published and len(outcome.payload) <= MAX_LOGGED_BYTES:
            packed, payload = pack_request(request), bytes(outcome.payload)
            logged = LoggedOutcome(self.stream, packed, payload, outcome.content_type, now_s)
        return SourceStep(
            lambda journal: journal.finish(self.stream, request, outcome, now_s, is_published=is_published),
            partial(self._end, command, outcome),
            outcome=logged,
        )

    async def _acknowledge(self, token: int) -> None:
        self._arriving.pop(token).acknowledge()

    async def _start_dispatch(self, command: Dispatch) -> None:
        # In a task of its own: a full pipeline must not delay events, one of which may end this request. The plan's
        # `max_in_flight` bounds the number of such tasks.
        self._group.create_task(self._dispatch(command), name=f"dispatch {command.request.request_id}")

    async def _dispatch(self, command: Dispatch) -> None:
        request = command.request
        payload = self._payloads.get(request.request_id)
        if payload is None:
            payload = await self._journal.read(lambda journal: journal.payload(self.stream, request.request_id))
        if payload is None:
            await self.post(Undispatchable(request.request_id, "its bytes were lost with a damaged disk or journal"))
            return
        try:
            header = first_header(command, self.stream, self._state.device, time.monotonic())
        except ValueError as error:
            await self.post(Undispatchable(request.request_id, f"it cannot be described to other devices: {error}"))
            return
        await self._pipeline.dispatch(FeatureMap(header, {REQUEST_TENSOR: np.frombuffer(payload, np.uint8)}))

    async def _end(self, command: StoreOutcome | Fail, outcome: StoredOutcome) -> None:
        """Publish the outcome of a request, which the journal has, and drop what is left of the request."""
        request = command.request
        self._payloads.drop(request.request_id)
        self._doubtful.discard(request.request_id)
        self._pipeline.cancel(self.stream, request.request_id)
        if isinstance(command, Fail) or not command.is_published:
            await self._publisher.publish(
                Republish(request.request_id, request.response_topic, request.correlation_data),
                outcome,
                request.traceparent,
            )
        # A live stream drops older frames by policy, so this is not reported as a failure.
        if isinstance(command, Fail) and command.cause is not ErrorCause.SUPERSEDED:
            text = f"request {request.request_id} failed: {command.text}"
            await self._outbox.report(EventKind.REQUEST_FAILED, text, stream=self.stream)

    async def _republish(self, command: Republish) -> None:
        request_id = command.request_id
        stored = await self._journal.read(lambda journal: journal.outcome(self.stream, request_id))
        if stored is None:
            _LOGGER.debug("the outcome of %s is not in the journal", request_id)
            return
        await self._publisher.publish(command, stored)

    def _update_room(self) -> None:
        if self._state.has_room and len(self._arriving) < MAX_UNACKNOWLEDGED:
            self._has_room.set()
        else:
            self._has_room.clear()
