"""Runs the stages that the lane feeds, without a task, model or receipt per message.

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

from services.executor.admission import Admission
from services.executor.errors import ExecutionFailed
from services.executor.feature_maps import FeatureMap
from services.executor.lane_sender import LaneSender
from services.executor.observations import OBSERVATION_INTERVAL_S, ObservationFeed
from services.executor.outbox import Outbox
from services.executor.peer_clocks import PeerClocks, deadline_s, source_time_s
from services.executor.pipeline import Pipeline
from services.executor.segments.processor import ProcessorResult
from services.executor.segments.segment_events import EpochKey, SegmentKey
from services.executor.stage_runner import StageJob, StageOutput, StageResult, StageRunner
from shared.bus import topics
from shared.bus.errors import DecodeError
from shared.codecs import RAW
from shared.lane.input_assembly import CompleteInput
from shared.lane.lane_messages import RequestFacts, RowsMessage
from shared.lane.lane_requests import header_of
from shared.lane.lane_tables import ReceivedTable
from shared.lane.stage_records import StageRecord
from shared.messages.base import MessageError
from shared.messages.requests import FeatureMapHeader
from shared.messages.streams import comes_in_parts

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


class LaneRunner:
    """The way of requests on the lane through this device.

    Invariant: the admission holds the memory of every stage that runs.
    """

    def __init__(
        self,
        device: str,
        *,
        pipeline: Pipeline,
        stages: StageRunner,
        lane: LaneSender,
        admission: Admission,
        outbox: Outbox,
        observations: ObservationFeed,
        clocks: PeerClocks,
        group: asyncio.TaskGroup,
    ) -> None:
        """Begin without requests; the parts are those of the pipeline. Measurements are published in `group`."""
        self._device = device
        self._pipeline = pipeline
        self._stages = stages
        self._lane = lane
        self._admission = admission
        self._outbox = outbox
        self._observations = observations
        self._clocks = clocks
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._observed_s: dict[SegmentKey, float] = {}

    def run(self, table: ReceivedTable, message: RowsMessage, complete: CompleteInput) -> None:
        """Compute the stage of an input that is complete, and whose memory is admitted."""
        facts, received_s = message.facts, complete.first_at_s
        # From here on the acceptance is on this device's clock, so that it can be compared with it.
        accepted_s = self._clocks.accepted_s(table.header.sender, facts.accepted_s, message.sent_s, received_s)
        own = replace(facts, accepted_s=accepted_s)
        self._begin(_Run(table.header, own, complete.records, complete.tensors, received_s, table.layout.size_bytes))

    def _begin(self, run: _Run) -> None:
        header, next_device = run.header, run.next_device
        stage = header.stages[header.stage]
        is_divided = next_device is not None and comes_in_parts(header.stages, header.stage + 1)
        stays_plain = next_device in (None, self._device) or stage.codec == RAW
        key = SegmentKey(header.model, stage.start, stage.stop)
        epoch = EpochKey(header.stream, header.epoch)
        segment = self._stages.pool.lend(epoch, key) if stays_plain and not is_divided else None
        if segment is None or segment.is_last != (next_device is None):
            # It has to wait, or fails, or its output goes to tiles. All this is the business of a task.
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
        if self._pipeline.ends_large(known):
            self._stages.pool.give_back(epoch)
            self._pipeline.begin(FeatureMap(known, run.tensors), run.size_bytes, run.received_s)
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
        elif self._lane.send_whole(onward, run.facts, run.records, record, output.arrays):
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
