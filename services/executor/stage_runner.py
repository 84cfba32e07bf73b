"""Computation of one stage of a request: decode, run the segment, encode for the next device or read the result."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypedDict

import numpy as np

from services.executor.errors import ExecutionFailed, TransferDamaged
from services.executor.feature_maps import FeatureMap, RowPlace, encode_tensors, rows_for
from services.executor.peer_clocks import deadline_s, source_time_s
from services.executor.results import ModelResult, make_result
from services.executor.segments.coding import Coder
from services.executor.segments.compute_queue import Ticket, discipline_called
from services.executor.segments.device_speed import DeviceSpeed
from services.executor.segments.processor import Processor, ProcessorResult
from services.executor.segments.segment import Segment
from services.executor.segments.segment_events import EpochKey, SegmentKey, tiling_at
from services.executor.segments.segment_pool import SegmentPool
from services.executor.segments.segment_rows import SegmentRows
from services.executor.segments.slow_inputs import ClockReference, is_suspect, without_slow_input
from shared.codecs import RAW, CodecError, EncodedTensor
from shared.messages.devices import ComputeObservation
from shared.messages.requests import StageTrace
from shared.policy import QueueDiscipline

# Below it, the two changes of thread take longer than the computation (0.3 ms on a laptop processor).
_BRIEF_MS: Final = 0.3
# Segments whose last computing time is remembered. Executors hold far fewer.
_REMEMBERED_SEGMENTS: Final = 256


@dataclass(frozen=True, slots=True)
class OutgoingRows:
    """Rows for one device of the next stage.

    Attributes:
        tile: index of its tile.
        device: the device.
        arrays: the rows as computed, by tensor.
        places: where they belong in its input.
        encoded: the rows for another device; empty for this one.
    """

    tile: int
    device: str
    arrays: Mapping[str, np.ndarray]
    places: Mapping[str, RowPlace]
    encoded: Mapping[str, EncodedTensor] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Size on the wire."""
        return sum(tensor.size_bytes for tensor in self.encoded.values())


@dataclass(frozen=True, slots=True)
class StageOutput:
    """Output of a stage: the model's result after the last one, else the tensors that cross the cut, or rows of them.

    Attributes:
        encoded: tensors for another device; empty if the next stage runs here.
        arrays: tensors as computed, for the next stage here or for a shadow check.
        result: result of the model.
        rows: of the output, if it comes from tiles or goes to tiles.
    """

    encoded: Mapping[str, EncodedTensor] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    result: ModelResult | None = None
    rows: tuple[OutgoingRows, ...] = ()


@dataclass(slots=True)
class StageJob:
    """The work of one stage on the compute thread.

    Raw tensors are handed on without a copy. The few microseconds that takes are not counted as codec time, because an
    emulated device would stretch their noise.

    Attributes:
        segment: the blocks to run, of which it may be a tile.
        feature_map: input of the stage.
        coder: decodes the input and encodes the output.
        next_device: device of the next stage; None after the last.
        device: this device.
        keeps_arrays: whether an encoded output is kept as computed, too.
        codec_ms: time that decoding and encoding took, known after the call.
    """

    segment: Segment
    feature_map: FeatureMap
    coder: Coder
    next_device: str | None
    device: str
    keeps_arrays: bool = False
    codec_ms: float = 0.0

    def __call__(self) -> StageOutput:
        """Run the stage. Takes the processor.

        Raises:
            TransferDamaged: a tensor of the input does not decode.
            BadInput: the request is no input of the model.
            ExecutionFailed: the engine fails.
        """
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
        if self.segment.rows is not None:
            return StageOutput(rows=self._rows(self.segment.run(arrays), self.segment.rows))
        if self.next_device == self.device:
            # The next stage takes the arrays from memory: no codec runs, so a lossy one changes nothing.
            return StageOutput(arrays=self.segment.run(arrays))
        codec = header.stages[header.stage].codec
        return self._encoded_inside(arrays, codec) or self._encoded_outside(arrays, codec)

    def _rows(self, outputs: Mapping[str, np.ndarray], passing: SegmentRows) -> tuple[OutgoingRows, ...]:
        """Divide outputs among the devices of the next stage, each of which gets the rows that it needs."""
        header = self.feature_map.header
        stage, following = header.stages[header.stage], header.stages[header.stage + 1]
        divided: list[OutgoingRows] = []
        for tile, (device, reader) in enumerate(zip(following.devices, passing.readers, strict=True)):
            rows = rows_for(outputs, passing.made, reader)
            if not rows.arrays:
                continue
            started_s = time.monotonic()
            encoded: dict[str, EncodedTensor] = {}
            if device != self.device:
                for name, array in rows.arrays.items():
                    # Of no rows there is nothing to encode.
                    encoded |= encode_tensors({name: array}, stage.codec if array.size else RAW, self.coder)
            if any(tensor.codec != RAW for tensor in encoded.values()):
                self.codec_ms += 1000 * (time.monotonic() - started_s)
            divided.append(OutgoingRows(tile, device, rows.arrays, rows.places, encoded))
        return tuple(divided)

    def _encoded_inside(self, arrays: Mapping[str, np.ndarray], codec: str) -> StageOutput | None:
        """Let the segment's graph encode; None if it has no such encoder, or a tensor has to travel raw."""
        encoder = self.segment.encoder_for(codec)
        if encoder is None:
            return None
        made = self.segment.run(arrays, encoded=True, plain=self.keeps_arrays)
        computed_s = time.monotonic()
        try:
            # If one tensor cannot be represented, all are encoded outside the graph, where each may stay raw.
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


@dataclass(frozen=True, slots=True)
class FinishedStage:
    """A stage that was computed.

    Attributes:
        output: its output.
        trace: its times, for the outcome.
        observation: its time without codecs beside the idle time; None for a model without a profile.
    """

    output: StageOutput
    trace: StageTrace
    observation: ComputeObservation | None


@dataclass(frozen=True, slots=True)
class StageResult:
    """What came of the job of a stage: `done`, or `error`."""

    done: ProcessorResult[StageOutput] | None
    error: BaseException | None


class _Terms(TypedDict):
    """How the processor runs a job."""

    discipline: QueueDiscipline | None
    nominal_ms: Callable[[float], float] | None
    is_brief: bool
    limit_s: float


@dataclass(frozen=True, slots=True)
class StageRunner:
    """Runs stages of requests on this device.

    Attributes:
        device: name of this device.
        pool: lends the segments.
        processor: computes, one job at a time.
        speed: expected and emulated computing times.
        coder: decodes inputs and encodes outputs.
    """

    device: str
    pool: SegmentPool
    processor: Processor
    speed: DeviceSpeed
    coder: Coder
    # Last computing time by segment, codecs and the decoding of pictures included, in ms.
    _last_ms: dict[SegmentKey, float] = field(default_factory=dict, init=False)
    _clock: ClockReference = field(default_factory=ClockReference, init=False)

    async def run(self, feature_map: FeatureMap, *, received_s: float, keeps_arrays: bool) -> FinishedStage:
        """Compute the stage that a feature map has reached.

        Args:
            feature_map: input of the stage.
            received_s: when it arrived here, monotonic seconds.
            keeps_arrays: whether an encoded output is kept as computed, too.

        Raises:
            CannotPrepare: the segment is not here and cannot be built.
            BadInput: the request is no input of the model.
            TransferDamaged: a tensor does not decode.
            ExecutionFailed: the engine fails, or the route does not fit the model.
        """
        header = feature_map.header
        stage = header.stages[header.stage]
        next_device = header.stages[header.stage + 1].device if header.stage + 1 < len(header.stages) else None
        tiling = tiling_at(header.stages, header.stage, header.tile)
        key = SegmentKey(header.model, stage.start, stage.stop, tiling=tiling)
        async with self.pool.borrow(EpochKey(header.stream, header.epoch), key) as segment:
            if segment.is_last != (next_device is None):
                raise ExecutionFailed(f"the route's stage {header.stage} does not end where the model does")
            job = StageJob(segment, feature_map, self.coder, next_device, self.device, keeps_arrays=keeps_arrays)
            done = await self._compute(job)
        trace = StageTrace(
            device=self.device,
            start=stage.start,
            stop=stage.stop,
            rows=tiling.row_range,
            received_at_s=source_time_s(header, received_s),
            wait_ms=feature_map.wait_ms,
            queue_ms=max(0.0, 1000 * (time.monotonic() - received_s) - feature_map.wait_ms - done.compute_ms),
            compute_ms=done.compute_ms,
        )
        # The codec time was stretched by the emulation like the rest, so it is subtracted stretched.
        measured_ms = done.compute_ms - job.codec_ms * self.speed.factor
        observation = self.observation(key, measured_ms, done.cpu_ms, segment.computed_rows)
        return FinishedStage(done.value, trace, observation)

    def submit(self, job: StageJob, deadline_at_s: float | None, settle: Callable[["StageResult"], None]) -> None:
        """Queue the job of a stage; `settle` is called on the event loop with its result, perhaps before this returns.

        Args:
            job: the job. The caller has borrowed its segment.
            deadline_at_s: deadline of the request, on this device's monotonic clock.
            settle: takes the result or the exception.
        """

        def finished(done: ProcessorResult[StageOutput] | None, error: BaseException | None) -> None:
            if done is not None:
                self._remember(job.segment.key, done)
            settle(StageResult(done, error))

        self.processor.submit(job, self._ticket(job, deadline_at_s), finished, **self._terms(job))

    async def _compute(self, job: StageJob) -> ProcessorResult[StageOutput]:
        ticket = self._ticket(job, deadline_s(job.feature_map.header))
        done = await self.processor.run(job, ticket, **self._terms(job))
        self._remember(job.segment.key, done)
        return done

    def _ticket(self, job: StageJob, deadline_at_s: float | None) -> Ticket:
        key = job.segment.key
        rows = job.segment.computed_rows
        expected_ms = self.speed.expected_ms(job.segment.manifest, key.start, key.stop, rows)
        return Ticket(job.feature_map.header.stream, expected_ms, deadline_at_s)

    def _terms(self, job: StageJob) -> _Terms:
        key = job.segment.key
        return {
            "discipline": discipline_called(job.feature_map.header.queue),
            # `codec_ms` is read through the job: it is known only when the job has run.
            "nominal_ms": self.speed.nominal(
                key.model, key.start, key.stop, lambda: job.codec_ms, job.segment.computed_rows
            ),
            "is_brief": self._last_ms.get(key, math.inf) < _BRIEF_MS,
            "limit_s": job.segment.limit_s,
        }

    def _remember(self, key: SegmentKey, done: ProcessorResult[StageOutput]) -> None:
        if len(self._last_ms) >= _REMEMBERED_SEGMENTS:
            self._last_ms.clear()
        self._last_ms[key] = done.compute_ms

    def observation(
        self, key: SegmentKey, measured_ms: float, cpu_ms: float, rows: Sequence[tuple[int, int]] = ()
    ) -> ComputeObservation | None:
        """Return what a segment says about the load of the device, without what a slow input costs.

        None for a model without a profile, and for a tile if the profile has no times by rows.

        Args:
            key: the segment.
            measured_ms: its computing time without codecs.
            cpu_ms: processor time of it.
            rows: of each block of a tile, how many rows it computes, and how many there are.
        """
        idle = self.speed.idle(key.model)
        if idle is None or (rows and idle.row_ms is None):
            return None
        idle_ms = idle.tile_ms(key.start, rows) if rows else idle.segment_ms(key.start, key.stop)
        # The times of an emulated device do not depend on the processor.
        if not self.speed.emulated and is_suspect(cpu_ms, idle_ms):
            measured_ms = without_slow_input(measured_ms, cpu_ms, idle_ms, self._clock.ratio())
        return ComputeObservation(
            device=self.device,
            model=key.model,
            start=key.start,
            stop=key.stop,
            measured_ms=max(0.0, measured_ms),
            idle_ms=idle_ms,
        )
