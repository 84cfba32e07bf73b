"""A request's way through a device: admit, compute, send on or publish; these overlap, each is bounded."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from services.executor.errors import BadInput, CannotPrepare, ExecutionFailed, TransferDamaged
from services.executor.feature_maps import FeatureMap, encode_tensors
from services.executor.outbox import Outbox, Publication
from services.executor.results import ModelResult, encode_outcome, error_of, make_result, outcome_of
from services.executor.segments.coding import Coder
from services.executor.segments.compute_queue import Ticket, discipline_called
from services.executor.segments.device_speed import DeviceSpeed
from services.executor.segments.lifecycle import EpochKey, SegmentKey
from services.executor.segments.processor import Processor, ProcessorResult
from services.executor.segments.segment import Segment
from services.executor.segments.segment_pool import SegmentPool
from services.executor.segments.shadow_check import SentStage, ShadowCheck
from services.executor.sender import AttemptTracker, Sender
from services.executor.transfers import TransferLedger
from shared.bus import topics
from shared.bus.properties import Properties
from shared.bus.transport import FeatureMapTransport
from shared.codecs import RAW, CodecError, EncodedTensor
from shared.messages.devices import ComputeObservation, DamageReport, Receipt
from shared.messages.events import EventKind
from shared.messages.requests import (
    REQUEST_ID_PROPERTY,
    ErrorCause,
    FeatureMapHeader,
    Outcome,
    StageTrace,
)
from shared.messages.streams import PlanStage

_LOGGER = logging.getLogger(__name__)

TRACEPARENT_PROPERTY = "traceparent"


@dataclass(frozen=True, slots=True)
class StageOutput:
    """What one stage made: arrays, encoded as well if another device is next, or a result."""

    encoded: Mapping[str, EncodedTensor] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    result: ModelResult | None = None


@dataclass(slots=True)
class StageJob:
    """The work of one stage, run by the compute thread; `codec_ms` is what encoding and decoding took of it.

    Raw tensors are not encoded: the few microseconds that handing them on takes are not counted, because an emulated
    device would stretch whatever disturbed them.
    """

    segment: Segment
    feature_map: FeatureMap
    coder: Coder
    next_device: str | None
    device: str
    keeps_arrays: bool = False
    """Whether what is sent encoded is wanted as it was computed, too."""
    codec_ms: float = 0.0

    def __call__(self) -> StageOutput:
        started_s = time.monotonic()
        try:
            arrays = self.feature_map.arrays(self.coder, limit_bytes=self.segment.largest_input_bytes)
        except CodecError as error:
            raise TransferDamaged(str(error)) from error
        if self.feature_map.is_encoded:
            self.codec_ms = 1000 * (time.monotonic() - started_s)
        header = self.feature_map.header
        if self.next_device is None:
            return StageOutput(result=make_result(self.segment.run(arrays), self.segment.manifest, header.accept))
        if self.next_device == self.device:
            return StageOutput(arrays=self.segment.run(arrays))
        codec = header.stages[header.stage].codec
        return self._encoded_inside(arrays, codec) or self._encoded_outside(arrays, codec)

    def _encoded_inside(self, arrays: Mapping[str, np.ndarray], codec: str) -> StageOutput | None:
        """Let the segment's graph encode; none if it does not, or if a tensor cannot be encoded and travels raw."""
        encoder = self.segment.encoder_for(codec)
        if encoder is None:
            return None
        made = self.segment.run(arrays, encoded=True, plain=self.keeps_arrays)
        computed_s = time.monotonic()
        try:
            encoded = {name: self.coder.pack(made, name, spec, codec) for name, spec in encoder.outputs.items()}
        except CodecError:
            return None
        self.codec_ms += encoder.operators_ms + 1000 * (time.monotonic() - computed_s)
        return StageOutput(encoded, {name: made[name] for name in encoder.outputs} if self.keeps_arrays else {})

    def _encoded_outside(self, arrays: Mapping[str, np.ndarray], codec: str) -> StageOutput:
        outputs = self.segment.run(arrays)
        computed_s = time.monotonic()
        encoded = encode_tensors(outputs, codec, self.coder)
        if any(tensor.codec != RAW for tensor in encoded.values()):
            self.codec_ms += 1000 * (time.monotonic() - computed_s)
        return StageOutput(encoded, outputs)


class Pipeline:
    """Takes feature maps through this device.

    At most `max_tasks` of them, and `max_task_bytes` of tensors (one always fits), are here at a time; whoever brings
    another waits, and so does the broker in the end.
    """

    def __init__(
        self,
        device: str,
        *,
        holder: SegmentPool,
        processor: Processor,
        transport: FeatureMapTransport,
        outbox: Outbox,
        ledger: TransferLedger,
        pace: DeviceSpeed,
        coder: Coder,
        max_tasks: int,
        max_task_bytes: int,
        shadow: ShadowCheck | None = None,
    ) -> None:
        """Put the parts together; `run` makes them work."""
        self.device = device
        self._holder = holder
        self._processor = processor
        self._outbox = outbox
        self._pace = pace
        self._coder = coder
        self._shadow = shadow
        self._max_tasks = max_tasks
        self._max_task_bytes = max_task_bytes
        self._tasks = 0
        self._task_bytes = 0
        self._room = asyncio.Condition()
        self._attempts = AttemptTracker()
        self._sender = Sender(device, transport, ledger, outbox, self._attempts)
        self._group = asyncio.TaskGroup()
        self.on_computed: Callable[[ComputeObservation], Awaitable[None]] | None = None

    async def run(self) -> None:
        """Work for ever."""
        async with self._group as group:
            group.create_task(self._sender.run(), name="send")
            if self._shadow is not None:
                group.create_task(self._shadow.run(), name="shadow check")

    async def admit(self, feature_map: FeatureMap) -> None:
        """Take a feature map over as soon as there is room; returns before it is computed."""
        received_at_s, received_s = time.time(), time.monotonic()
        header = feature_map.header
        self._attempts.note(header)
        size_bytes = feature_map.size_bytes
        async with self._room:
            await self._room.wait_for(lambda: self._has_room(size_bytes))
            self._tasks += 1
            self._task_bytes += size_bytes
        self._group.create_task(
            self._process(feature_map, size_bytes, received_at_s, received_s),
            name=f"request {header.request_id} stage {header.stage}",
        )

    async def idle(self) -> None:
        """Wait until no feature map is here."""
        async with self._room:
            await self._room.wait_for(lambda: self._tasks == 0)
        await self._sender.sent()

    def answered(self, stream: str, request_id: str) -> None:
        """A request that began here has its outcome: nothing more of it is sent."""
        self._sender.answered(stream, request_id)

    def _has_room(self, size_bytes: int) -> bool:
        if self._tasks == 0:
            return True
        return self._tasks < self._max_tasks and self._task_bytes + size_bytes <= self._max_task_bytes

    async def _process(self, feature_map: FeatureMap, size_bytes: int, received_at_s: float, received_s: float) -> None:
        try:
            await self._take_through(feature_map, received_at_s, received_s)
        finally:
            async with self._room:
                self._tasks -= 1
                self._task_bytes -= size_bytes
                self._room.notify_all()

    async def _take_through(self, feature_map: FeatureMap, received_at_s: float, received_s: float) -> None:
        header = feature_map.header
        if self._attempts.is_stale(header):
            return
        try:
            await self._stage(feature_map, received_at_s, received_s)
        except BadInput as error:
            await self._publish(header, error_of(header, ErrorCause.BAD_INPUT, str(error), header.trace, time.time()))
        except TransferDamaged as error:
            await self._refuse(header, str(error))
        except (ExecutionFailed, CodecError) as error:
            _LOGGER.warning("request %s failed: %s", header.request_id, error)
            await self._publish(header, error_of(header, ErrorCause.EXECUTION, str(error), header.trace, time.time()))
        except (CannotPrepare, MemoryError) as error:
            # Not the request's fault: another device may do better, so its source tries again.
            text = f"request {header.request_id} cannot go on here: {error}"
            _LOGGER.warning("%s", text)
            await self._outbox.report(EventKind.FAILURE, text, stream=header.stream, device=self.device)
        except Exception as error:  # Whatever one request does must not end the device.
            _LOGGER.exception("request %s failed", header.request_id)
            text = f"{type(error).__name__}: {error}"
            await self._publish(header, error_of(header, ErrorCause.EXECUTION, text, header.trace, time.time()))

    async def _refuse(self, header: FeatureMapHeader, reason: str) -> None:
        """Count a transfer that does not decode, and have its request sent again."""
        await self._outbox.note_bad_message(topics.inbox(self.device), reason)
        refused = DamageReport(
            stream=header.stream, request_id=header.request_id, attempt=header.attempt, reason=reason
        )
        receipt = Receipt(transfer_id=header.transfer_id, receiver=self.device, refused=refused)
        await self._outbox.mention(topics.receipts(header.source), receipt.encode())

    async def _stage(self, feature_map: FeatureMap, received_at_s: float, received_s: float) -> None:
        header = feature_map.header
        stage = header.stages[header.stage]
        following = header.stages[header.stage + 1] if header.stage + 1 < len(header.stages) else None
        key = SegmentKey(header.model, stage.start, stage.stop)
        async with self._holder.borrow(EpochKey(header.stream, header.epoch), key) as segment:
            if segment.is_last != (following is None):
                raise ExecutionFailed(f"the route's stage {header.stage} does not end where the model does")
            done, codec_ms = await self._compute(feature_map, segment, stage, following)
        queue_ms = max(0.0, 1000 * (time.monotonic() - received_s) - done.compute_ms)
        trace = StageTrace(
            device=self.device,
            start=stage.start,
            stop=stage.stop,
            received_at_s=received_at_s,
            queue_ms=queue_ms,
            compute_ms=done.compute_ms,
        )
        await self._pass_on(header, done.value, trace, following)
        # Last, because the request need not wait for it: the broker and the monitor would take the processor first.
        await self._observe(key, done.compute_ms - codec_ms)

    async def _compute(
        self, feature_map: FeatureMap, segment: Segment, stage: PlanStage, following: PlanStage | None
    ) -> tuple[ProcessorResult[StageOutput], float]:
        """Run the stage; return what it made and what codecs took of the time."""
        header = feature_map.header
        next_device = following.device if following else None
        checked = self._shadow is not None and self._shadow.is_due(stage.codec)
        job = StageJob(segment, feature_map, self._coder, next_device, self.device, keeps_arrays=checked)
        model, start, stop = segment.key.model, stage.start, stage.stop
        done = await self._processor.run(
            job,
            Ticket(header.stream, self._pace.expected_ms(segment.manifest, start, stop), header.deadline_at_s),
            discipline=discipline_called(header.queue),
            nominal_ms=self._pace.nominal(model, start, stop, lambda: job.codec_ms),
        )
        return done, job.codec_ms * self._pace.factor

    async def _pass_on(
        self, header: FeatureMapHeader, made: StageOutput, trace: StageTrace, following: PlanStage | None
    ) -> None:
        if made.result is not None:
            await self._publish(header, outcome_of(header, made.result, (*header.trace, trace), time.time()))
            return
        if following is not None and following.device == self.device:
            onward = header.model_copy(update={"stage": header.stage + 1, "trace": (*header.trace, trace)})
            await self._take_through(FeatureMap(onward, made.arrays), time.time(), time.monotonic())
            return
        output_bytes = sum(tensor.size_bytes for tensor in made.encoded.values())
        codecs = {tensor.codec for tensor in made.encoded.values()}
        trace = trace.model_copy(update={"output_bytes": output_bytes, "codec": "+".join(sorted(codecs))})
        onward = header.model_copy(update={"stage": header.stage + 1, "trace": (*header.trace, trace)})
        await self._sender.put(onward, made.encoded)
        if self._shadow is not None and made.arrays:
            self._shadow.offer(SentStage(header, made.arrays, made.encoded))

    async def forward(self, feature_map: FeatureMap) -> None:
        """Send a request to its first stage on another device, or begin it here."""
        header = feature_map.header
        if header.stages[header.stage].device == self.device:
            await self.admit(feature_map)
            return
        self._attempts.note(header)
        encoded = encode_tensors(feature_map.arrays(self._coder), RAW, self._coder)
        await self._sender.put(header, encoded)

    async def _publish(self, header: FeatureMapHeader, outcome: Outcome) -> None:
        payload, content_type = encode_outcome(outcome, header.accept)
        await publish_outcome(
            self._outbox,
            header.stream,
            payload,
            Properties(
                correlation_data=header.correlation_data,
                content_type=content_type,
                user=user_properties(header.request_id, header.traceparent),
            ),
            header.response_topic,
        )

    async def _observe(self, key: SegmentKey, measured_ms: float) -> None:
        idle = self._pace.idle(key.model)
        if idle is None:
            return
        observation = ComputeObservation(
            device=self.device,
            model=key.model,
            start=key.start,
            stop=key.stop,
            measured_ms=max(0.0, measured_ms),
            idle_ms=idle.segment_ms(key.start, key.stop),
        )
        if self.on_computed is not None:
            await self.on_computed(observation)
        await self._outbox.observe(observation)


def user_properties(request_id: str, traceparent: str | None) -> dict[str, str]:
    """Return the user properties of an outcome."""
    found = {REQUEST_ID_PROPERTY: request_id}
    return found | {TRACEPARENT_PROPERTY: traceparent} if traceparent else found


async def publish_outcome(
    outbox: Outbox, stream: str, payload: bytes, properties: Properties, response_topic: str | None
) -> None:
    """Publish an outcome for all, and on the requester's own topic if it gave one."""
    await outbox.put(Publication(topics.results(stream), payload, properties))
    if response_topic:
        await outbox.put(Publication(response_topic, payload, properties, absolute=True))
