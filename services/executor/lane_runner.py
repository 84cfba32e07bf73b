"""Receives the messages of the lane and runs the stages that they feed, without a task, model or receipt per message.

A stage whose input is complete is computed at once, on the event loop or the compute thread, and its output goes on
with the lane. The pipeline does the rest: a segment that is not loaded, an output that is encoded, a receiver without
the lane, and the end of a request.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np

from services.executor.errors import ExecutionFailed
from services.executor.feature_maps import FeatureMap
from services.executor.lane_sender import LaneSender, transfer_id_of
from services.executor.observations import OBSERVATION_INTERVAL_S, ObservationFeed
from services.executor.outbox import Outbox
from services.executor.peer_clocks import PeerClocks, deadline_s, source_time_s
from services.executor.pipeline import Admission, Pipeline
from services.executor.segments.processor import ProcessorResult
from services.executor.segments.segment_events import EpochKey, SegmentKey
from services.executor.sender import AttemptTracker
from services.executor.stage_runner import StageJob, StageOutput, StageResult, StageRunner
from shared.bus import topics
from shared.bus.errors import DecodeError
from shared.bus.transport import Delivery
from shared.codecs import RAW
from shared.lane.input_assembly import CompleteInput, GivenUp, InputAssembler, InputKey
from shared.lane.lane_messages import RequestFacts, RowsMessage, TableMessage, decode_lane_message, is_lane_message
from shared.lane.lane_requests import header_of
from shared.lane.lane_tables import ReceivedTable, ReceivedTables
from shared.lane.stage_records import StageRecord
from shared.messages.base import MessageError
from shared.messages.devices import Receipt
from shared.messages.requests import FeatureMapHeader
from shared.processing_clock import UNREAD_S, ProcessingClock

_LOGGER = logging.getLogger(__name__)

_MAX_OBSERVED: Final = 256


@dataclass(frozen=True, slots=True)
class _Run:
    """A stage of a request on this device; its memory is admitted.

    Attributes:
        header: what is common to the stream's epoch, with the stage to compute.
        facts: the request, its times on this device's clock.
        records: of the stages before.
        tensors: input of the stage.
        received_s: arrival of its first rows, monotonic seconds.
        size_bytes: size with which it was admitted.
    """

    header: FeatureMapHeader
    facts: RequestFacts
    records: bytes
    tensors: Mapping[str, np.ndarray]
    received_s: float
    size_bytes: int

    @property
    def next_device(self) -> str | None:
        """Device of the stage behind; None after the last."""
        stages, after = self.header.stages, self.header.stage + 1
        return stages[after].device if after < len(stages) else None


@dataclass(frozen=True, slots=True)
class _Arrival:
    """Rows that were checked against their table."""

    table: ReceivedTable
    key: InputKey
    message: RowsMessage
    delivery: Delivery


class LaneRunner:
    """The receiving end of the lane, and the way of its requests through this device.

    Invariant: the admission holds the memory of every partial input and of every stage that runs. A message of a
    partial input never waits for admission.
    """

    def __init__(
        self,
        device: str,
        *,
        pipeline: Pipeline,
        stages: StageRunner,
        lane: LaneSender,
        inputs: InputAssembler,
        attempts: AttemptTracker,
        admission: Admission,
        outbox: Outbox,
        observations: ObservationFeed,
        clocks: PeerClocks,
        processing: ProcessingClock,
        group: asyncio.TaskGroup,
    ) -> None:
        """Begin without inputs.

        The parts are those of the device's pipeline. Receipts and measurements are published in `group`.
        """
        self._group = group
        self._device = device
        self._pipeline = pipeline
        self._stages = stages
        self._lane = lane
        self._attempts = attempts
        self._admission = admission
        self._outbox = outbox
        self._observations = observations
        self._clocks = clocks
        self._processing = processing
        self._loop = asyncio.get_running_loop()
        self._tables = ReceivedTables(device)
        self._inputs = inputs
        self._observed_s: dict[SegmentKey, float] = {}

    def take_now(self, delivery: Delivery) -> bool:
        """Take a message over and return True; False for a frame, and for a message that `take` has to judge.

        Called by a transport for everything that arrives.
        """
        if not is_lane_message(delivery.buffer):
            return False
        try:
            arrival = self._arrival(delivery)
            if arrival is None:
                return True
            new_bytes = self._inputs.new_bytes(arrival.key, arrival.table.layout)
            if new_bytes and not self._admission.enter_now(new_bytes):
                return False
            self._add(arrival, new_bytes)
        except (DecodeError, MessageError):
            return False
        return True

    async def take(self, delivery: Delivery) -> None:
        """Take a message over; wait while the admission is full.

        Raises:
            MessageError, DecodeError: it is not for this device, or malformed.
        """
        arrival = self._arrival(delivery)
        if arrival is None:
            return
        new_bytes = self._inputs.new_bytes(arrival.key, arrival.table.layout)
        if new_bytes:
            await self._admission.enter(new_bytes)
            if not self._inputs.new_bytes(arrival.key, arrival.table.layout):
                # Other rows have begun the input meanwhile.
                self._admission.leave(new_bytes)
                new_bytes = 0
        self._add(arrival, new_bytes)

    def tick(self, now_s: float) -> None:
        """Give up inputs whose rows have not come; their sources try again."""
        self._leave(self._inputs.expire(now_s))

    def _leave(self, given_up: list[GivenUp]) -> None:
        for each in given_up:
            _LOGGER.info("gave up %s of request %s: rows are missing", f"stage {each.key.stage}", each.key.request_id)
            self._admission.leave(each.size_bytes)

    # Arrival.

    def _arrival(self, delivery: Delivery) -> _Arrival | None:
        """Decode a message; None for a table, and for rows of a stale attempt.

        Raises:
            MessageError, DecodeError: it is not for this device, or malformed.
        """
        message = decode_lane_message(delivery.buffer)
        if isinstance(message, TableMessage):
            self._tables.learn(delivery.sender, message)
            return None
        table = self._tables.find(delivery.sender, message.table)
        header, facts = table.header, message.facts
        if self._attempts.is_stale(header.stream, facts.request_id, facts.attempt):
            return None
        # Before admission, so that older attempts that wait for it are stale from now on.
        if self._attempts.note(header.stream, facts.request_id, facts.attempt):
            self._leave(self._inputs.give_up(header.stream, facts.request_id, facts.attempt))
        key = InputKey(header.stream, facts.request_id, facts.attempt, header.stage)
        return _Arrival(table, key, message, delivery)

    def _add(self, arrival: _Arrival, new_bytes: int) -> None:
        """Add rows, for which `new_bytes` were admitted, to their input; compute its stage with the last of them.

        Raises:
            DecodeError: the rows do not fit.
        """
        table, message, delivery = arrival.table, arrival.message, arrival.delivery
        try:
            complete = self._inputs.take(arrival.key, table.layout, message, delivery.first_chunk_at_s)
        except DecodeError:
            if new_bytes:
                self._admission.leave(new_bytes)
            raise
        if message.measurement:
            self._acknowledge(message.measurement, delivery)
        if complete is not None:
            self._begin(self._run_of(table, message, complete))

    def _run_of(self, table: ReceivedTable, message: RowsMessage, complete: CompleteInput) -> _Run:
        facts, received_s = message.facts, complete.first_at_s
        # From here on the acceptance is on this device's clock, so that it can be compared with it.
        accepted_s = self._clocks.accepted_s(table.header.sender, facts.accepted_s, message.sent_s, received_s)
        own = replace(facts, accepted_s=accepted_s)
        return _Run(table.header, own, complete.records, complete.tensors, received_s, table.layout.size_bytes)

    def _acknowledge(self, measurement: int, delivery: Delivery) -> None:
        since_s = delivery.first_chunk_at_s - UNREAD_S
        processing_ms = self._processing.since_ms(since_s, time.monotonic())
        transfer_id = transfer_id_of(measurement)
        if delivery.acknowledge is not None:
            delivery.acknowledge(transfer_id, processing_ms)
        elif topics.is_name(delivery.sender):
            receipt = Receipt(transfer_id=transfer_id, receiver=self._device, processing_ms=processing_ms)
            topic = topics.receipts(delivery.sender)
            self._group.create_task(
                self._outbox.publish_best_effort(topic, receipt.encode()), name="receipt of the lane"
            )

    # Computing.

    def _begin(self, run: _Run) -> None:
        header, next_device = run.header, run.next_device
        stage = header.stages[header.stage]
        stays_plain = next_device in (None, self._device) or stage.codec == RAW
        key = SegmentKey(header.model, stage.start, stage.stop)
        epoch = EpochKey(header.stream, header.epoch)
        segment = self._stages.pool.lend(epoch, key) if stays_plain else None
        if segment is None or segment.is_last != (next_device is None):
            # It has to wait, or fails. Both is the business of a task.
            if segment is not None:
                self._stages.pool.give_back(epoch)
            if (full := self._full_header(run)) is not None:
                self._pipeline.begin(FeatureMap(full, run.tensors), run.size_bytes, run.received_s)
            return
        # The job of the last stage makes the result, for which it reads what the request asks for.
        known = self._full_header(run) if next_device is None else header
        if known is None:
            self._stages.pool.give_back(epoch)
            return
        # To this device, so that nothing is encoded: the lane sends arrays.
        target = None if next_device is None else self._device
        job = StageJob(segment, FeatureMap(known, run.tensors), self._stages.coder, target, self._device)
        self._stages.submit(job, deadline_s(run.facts), partial(self._computed, run, job, epoch))

    def _computed(self, run: _Run, job: StageJob, epoch: EpochKey, result: StageResult) -> None:
        self._stages.pool.give_back(epoch)
        done = result.done
        if done is None:
            if (full := self._full_header(run)) is not None:
                self._pipeline.fail(full, result.error or ExecutionFailed("no result"), run.size_bytes)
            return
        now_s = time.monotonic()
        record = StageRecord(
            run.header.stage,
            source_time_s(run.facts, run.received_s),
            max(0.0, 1000 * (now_s - run.received_s) - done.compute_ms),
            done.compute_ms,
        )
        self._pass_on(run, record, done.value)
        self._observe(job.segment.key, done, now_s)
        if self._clocks.is_due(run.header.sender, now_s):
            self._group.create_task(self._clocks.refresh(run.header.sender), name="clock of a sender")

    def _pass_on(self, run: _Run, record: StageRecord, output: StageOutput) -> None:
        if output.result is not None:
            ended = replace(run, records=run.records + record.pack())
            if (full := self._full_header(ended)) is not None:
                self._pipeline.conclude(full, output.result, run.size_bytes)
            return
        onward = run.header.model_copy(update={"stage": run.header.stage + 1})
        if run.next_device == self._device:
            after = replace(
                run,
                header=onward,
                records=run.records + record.pack(),
                tensors=output.arrays,
                received_s=time.monotonic(),
            )
            # Not from here: a route may have many stages on this device.
            self._loop.call_soon(self._begin, after)
        elif self._lane.send_rows(onward, run.facts, run.records, record, output.arrays):
            self._admission.leave(run.size_bytes)
        elif (full := self._full_header(replace(run, header=onward, records=run.records + record.pack()))) is not None:
            self._pipeline.send_on(full, output.arrays, run.size_bytes)

    def _full_header(self, run: _Run) -> FeatureMapHeader | None:
        """Return the header as a frame would have brought it; None, and the request ends here, if that is no header."""
        try:
            return header_of(run.header, run.facts, run.records, run.received_s)
        except (MessageError, DecodeError) as error:
            self._admission.leave(run.size_bytes)
            noted = self._outbox.note_bad_message(topics.inbox(self._device), str(error))
            self._group.create_task(noted, name="bad message of the lane")
            return None

    def _observe(self, key: SegmentKey, done: ProcessorResult[StageOutput], now_s: float) -> None:
        """Publish the computing time of a segment, but not of every message: most would be dropped as too many."""
        if now_s - self._observed_s.get(key, float("-inf")) < OBSERVATION_INTERVAL_S:
            return
        if len(self._observed_s) >= _MAX_OBSERVED:
            self._observed_s.clear()
        self._observed_s[key] = now_s
        observation = self._stages.observation(key, done.compute_ms, done.cpu_ms)
        if observation is not None:
            self._group.create_task(self._observations.publish(observation), name="observation of the lane")
