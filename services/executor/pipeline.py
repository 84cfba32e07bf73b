"""Way of a request through this device: admit, compute, then send on or deliver the outcome."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Final

import numpy as np

from services.executor.admission import Admission
from services.executor.errors import BadInput, CannotPrepare, ExecutionFailed, TransferDamaged
from services.executor.feature_maps import FeatureMap, encode_tensors
from services.executor.lane_sender import LaneSender
from services.executor.observations import ObservationFeed
from services.executor.outbox import Outbox
from services.executor.outcome_delivery import OutcomeDelivery
from services.executor.peer_clocks import PeerClocks
from services.executor.results import MSGPACK_MESSAGE_OUTPUT_BYTES, ModelResult, make_error_outcome, make_outcome
from services.executor.row_inputs import NO_ROOM, RowInputs, RowPart
from services.executor.segments.segment_events import EpochKey
from services.executor.segments.shadow_check import SentStage, ShadowCheck
from services.executor.sender import AttemptTracker, Sender
from services.executor.stage_runner import FinishedStage, OutgoingRows, StageRunner
from shared.bus import topics
from shared.codecs import RAW, CodecError
from shared.lane.input_assembly import InputAssembler
from shared.messages.devices import DamageReport, Receipt
from shared.messages.events import EventKind
from shared.messages.requests import MSGPACK_CONTENT, ErrorCause, FeatureMapHeader, StageTrace
from shared.messages.streams import comes_in_parts

_LOGGER = logging.getLogger(__name__)

# Requests with large outputs that are computed or sent at the same time: one is computed while another is sent. Their
# outputs lie in memory until they are sent.
_MAX_LARGE_RESULTS: Final = 2


class Pipeline:
    """Takes feature maps through this device; computing and sending of different requests overlap.

    The caller of `admit` waits for admission. For feature maps of other devices the caller is the receiving task: it
    stops reading, so by flow control the broker stops delivering.
    """

    def __init__(
        self,
        device: str,
        *,
        stages: StageRunner,
        sender: Sender,
        lane: LaneSender,
        inputs: InputAssembler,
        attempts: AttemptTracker,
        admission: Admission,
        row_admission: Admission,
        shadow: ShadowCheck,
        outbox: Outbox,
        outcomes: OutcomeDelivery,
        observations: ObservationFeed,
        clocks: PeerClocks,
    ) -> None:
        """Create a pipeline that works while `run` does.

        `admission` bounds whole feature maps, `row_admission` the inputs that come in parts. Whole feature maps wait
        for admission, which is why inputs that lack rows must not fill it: those rows may be behind them.
        """
        self.device = device
        self._stages = stages
        self._sender = sender
        self._lane = lane
        self._inputs = inputs
        self._attempts = attempts
        self._admission = admission
        self._row_admission = row_admission
        self._rows = RowInputs(
            InputAssembler(), attempts, row_admission, on_input=self._begin_assembled, refuse=self._refuse_soon
        )
        self._shadow = shadow
        self._outbox = outbox
        self._outcomes = outcomes
        self._observations = observations
        self._clocks = clocks
        self._large_results = asyncio.Semaphore(_MAX_LARGE_RESULTS)
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """Compute and send until cancelled."""
        async with self._group as group:
            group.create_task(self._sender.run(), name="send")
            group.create_task(self._shadow.run(), name="shadow check")

    def admit_now(self, feature_map: FeatureMap) -> bool:
        """Take over a feature map if it need not wait for admission; return whether it is taken."""
        if not self._admission.enter_now(feature_map.size_bytes):
            return False
        self._note(feature_map.header)
        self._begin(feature_map, time.monotonic())
        return True

    async def admit(self, feature_map: FeatureMap) -> None:
        """Take over a feature map; waits for admission, and returns before it is computed."""
        received_s = time.monotonic()
        # Before admission, so that older attempts that wait for it are stale from now on.
        self._note(feature_map.header)
        await self._admission.enter(feature_map.size_bytes)
        self._begin(feature_map, received_s)

    async def dispatch(self, feature_map: FeatureMap) -> None:
        """Begin a request of this device's sources: send it to the device of its first stage, or compute it here."""
        header = feature_map.header
        if header.target == self.device:
            await self.admit(feature_map)
            return
        self._note(header)
        coder = self._stages.coder
        await self._sender.put(header, encode_tensors(feature_map.arrays(coder), RAW, coder))

    def cancel(self, stream: str, request_id: str) -> None:
        """Send nothing more of a request that has its outcome, and wait for no more rows of it."""
        self._sender.cancel(stream, request_id)
        for each in self._inputs.give_up(stream, request_id):
            self._admission.leave(each.size_bytes)
        self._rows.give_up(stream, request_id)

    def tick(self, now_s: float) -> None:
        """Give up inputs whose rows have not come; their sources try again."""
        self._rows.tick(now_s)

    def take_rows(self, feature_map: FeatureMap) -> None:
        """Take over rows of an input that comes in parts. They never wait for admission.

        Raises:
            DecodeError: they are malformed, or do not fit those that came before.
        """
        received_s = time.monotonic()
        self._rows.take(self._on_own_clock(feature_map, received_s), received_s)

    async def drain(self) -> None:
        """Wait until no feature map is here and nothing is left to send. Inputs that lack rows are given up."""
        self._rows.close()
        await self._row_admission.drain()
        await self._admission.drain()
        await self._sender.drain()

    # What the lane leaves to a task: a stage that has to wait, the end of a request, and what is not its own.

    def begin(self, feature_map: FeatureMap, size_bytes: int, received_s: float) -> None:
        """Compute a feature map that was admitted with this size, and whose times are on this device's clock."""
        self._spawn(feature_map.header, size_bytes, self._process(feature_map, received_s))

    def _begin_assembled(self, feature_map: FeatureMap, size_bytes: int, received_s: float) -> None:
        work = self._process(feature_map, received_s)
        self._spawn(feature_map.header, size_bytes, work, self._row_admission)

    def send_on(self, header: FeatureMapHeader, tensors: Mapping[str, np.ndarray], size_bytes: int) -> None:
        """Send a feature map that was admitted with this size to the device of its stage, in a frame."""
        encoded = encode_tensors(tensors, RAW, self._stages.coder)
        self._spawn(header, size_bytes, self._sender.put(header, encoded))

    def conclude(self, header: FeatureMapHeader, result: ModelResult, size_bytes: int) -> None:
        """Deliver the result of a request that was admitted with this size; its trace is in the header."""
        outcome = make_outcome(header, result, header.trace, time.monotonic())
        self._spawn(header, size_bytes, self._outcomes.deliver(header, outcome, result.outputs))

    def fail(self, header: FeatureMapHeader, error: BaseException, size_bytes: int) -> None:
        """Settle the failure of a request that was admitted with this size."""
        self._spawn(header, size_bytes, self._settle_failure(header, error))

    def ends_large(self, header: FeatureMapHeader) -> bool:
        """Return whether this is the last stage of a request whose outputs may be too large for one message.

        Few of these may run at the same time, so they need a task that waits.
        """
        if header.accept != MSGPACK_CONTENT or header.stage + 1 < len(header.stages):
            return False
        manifest = self._stages.pool.manifest_of(EpochKey(header.stream, header.epoch), header.model)
        # Zero stands for a size that only a run tells.
        size_bytes = manifest.blocks[-1].output_bytes if manifest is not None and manifest.blocks else 0
        return size_bytes == 0 or size_bytes > MSGPACK_MESSAGE_OUTPUT_BYTES

    def _note(self, header: FeatureMapHeader) -> None:
        self._attempts.note(header.stream, header.request_id, header.attempt)

    def _begin(self, feature_map: FeatureMap, received_s: float) -> None:
        self.begin(self._on_own_clock(feature_map, received_s), feature_map.size_bytes, received_s)

    def _on_own_clock(self, feature_map: FeatureMap, received_s: float) -> FeatureMap:
        """Return a feature map whose acceptance is on this device's clock, so that it can be compared with it."""
        header = feature_map.header
        accepted_s = self._clocks.accepted_s(header.sender, header.accepted_s, header.sent_s, received_s)
        return replace(feature_map, header=header.model_copy(update={"accepted_s": accepted_s}))

    def _spawn(
        self, header: FeatureMapHeader, size_bytes: int, work: Awaitable[None], admission: Admission | None = None
    ) -> None:
        name = f"request {header.request_id} stage {header.stage}"
        self._group.create_task(
            self._admitted(header.sender, size_bytes, work, admission or self._admission), name=name
        )

    async def _admitted(self, sender: str, size_bytes: int, work: Awaitable[None], admission: Admission) -> None:
        try:
            await work
            # Last, for the next request: this one has been converted already.
            await self._clocks.refresh(sender)
        finally:
            admission.leave(size_bytes)

    async def _process(self, feature_map: FeatureMap, received_s: float) -> None:
        """Compute and pass on a feature map; every failure ends here.

        The request's own faults become an error outcome. Faults of this device or of a transfer leave the request
        without an outcome. Then its source tries again: immediately after a damage report, else after a timeout.
        """
        header = feature_map.header
        if self._attempts.is_stale(header.stream, header.request_id, header.attempt):
            return
        try:
            await self._run_stage(feature_map, received_s)
        except Exception as error:  # One request must not end the device.
            await self._settle_failure(header, error)

    async def _settle_failure(self, header: FeatureMapHeader, error: BaseException) -> None:
        match error:
            case BadInput():
                await self._publish_error(header, ErrorCause.BAD_INPUT, str(error))
            case TransferDamaged():
                await self._refuse(header, str(error))
            case ExecutionFailed() | CodecError():
                _LOGGER.warning("request %s failed: %s", header.request_id, error)
                await self._publish_error(header, ErrorCause.EXECUTION, str(error))
            case CannotPrepare() | MemoryError():
                # Not the request's fault: another device may succeed.
                text = f"request {header.request_id} cannot go on here: {error}"
                _LOGGER.warning("%s", text)
                await self._outbox.report(EventKind.FAILURE, text, stream=header.stream, device=self.device)
            case _:
                _LOGGER.error("request %s failed", header.request_id, exc_info=error)
                await self._publish_error(header, ErrorCause.EXECUTION, f"{type(error).__name__}: {error}")

    async def _run_stage(self, feature_map: FeatureMap, received_s: float) -> None:
        header = feature_map.header
        # Of rows there is no check: no device has the whole output, which the rest of the model would need.
        is_last = header.stage + 1 == len(header.stages)
        in_parts = header.comes_in_parts or (not is_last and comes_in_parts(header.stages, header.stage + 1))
        keeps_arrays = not in_parts and self._shadow.is_due(header.stages[header.stage].codec)
        async with self._large_results if self.ends_large(header) else nullcontext():
            finished = await self._stages.run(feature_map, received_s=received_s, keeps_arrays=keeps_arrays)
            # Before the outcome, with which a source of this device begins its next request.
            if finished.observation is not None:
                await self._observations.tell_sources(finished.observation)
            await self._pass_on(header, finished)
        # Last: the request does not wait for it, and the work of broker and monitor would compete with its own.
        if finished.observation is not None:
            await self._observations.tell_monitor(finished.observation)

    async def _pass_on(self, header: FeatureMapHeader, finished: FinishedStage) -> None:
        output, trace = finished.output, finished.trace
        if output.result is not None:
            outcome = make_outcome(header, output.result, (*header.trace, trace), time.monotonic())
            await self._outcomes.deliver(header, outcome, output.result.outputs)
            return
        if output.rows:
            await self._send_rows(header, output.rows, trace)
            return
        if header.stages[header.stage + 1].device == self.device:
            # The next stage queues for the processor like any other job, under the admission of this feature map.
            onward = _onward(header, trace)
            await self._process(FeatureMap(onward, output.arrays), time.monotonic())
            return
        output_bytes = sum(tensor.size_bytes for tensor in output.encoded.values())
        codecs = {tensor.codec for tensor in output.encoded.values()}
        trace = trace.model_copy(update={"output_bytes": output_bytes, "codec": "+".join(sorted(codecs))})
        onward = _onward(header, trace)
        if codecs == {RAW} and self._lane.send(onward, output.arrays):
            return
        await self._sender.put(onward, output.encoded)
        if output.arrays:
            self._shadow.offer(SentStage(header, output.arrays, output.encoded))

    async def _send_rows(self, header: FeatureMapHeader, rows: Sequence[OutgoingRows], trace: StageTrace) -> None:
        """Pass rows on to the devices of the next stage, first to this one."""
        output_bytes = sum(part.size_bytes for part in rows if part.device != self.device)
        codecs = {tensor.codec for part in rows for tensor in part.encoded.values() if tensor.size_bytes} or {RAW}
        trace = trace.model_copy(update={"output_bytes": output_bytes, "codec": "+".join(sorted(codecs))})
        for part in sorted(rows, key=lambda part: part.device != self.device):
            onward = _onward(header, trace, part.tile)
            if part.device == self.device:
                kept = {name: RowPart(array, part.places[name]) for name, array in part.arrays.items()}
                self._rows.put(onward, kept, time.monotonic())
            else:
                await self._sender.put(onward, part.encoded, part.places)

    def _refuse_soon(self, header: FeatureMapHeader) -> None:
        """Tell the source of an attempt that its rows have no room here."""
        self._group.create_task(self._refuse(header, NO_ROOM, has_no_room=True), name="refuse rows")

    async def _refuse(self, header: FeatureMapHeader, reason: str, *, has_no_room: bool = False) -> None:
        """Ask the source of a feature map that cannot be used to send the request again; count it if it is damaged."""
        if not has_no_room:
            await self._outbox.note_bad_message(topics.inbox(self.device), reason)
        refused = DamageReport(
            stream=header.stream,
            request_id=header.request_id,
            attempt=header.attempt,
            reason=reason,
            has_no_room=has_no_room,
        )
        receipt = Receipt(transfer_id=header.transfer_id, receiver=self.device, refused=refused)
        await self._outbox.publish_best_effort(topics.receipts(header.source), receipt.encode())

    async def _publish_error(self, header: FeatureMapHeader, cause: ErrorCause, text: str) -> None:
        await self._outcomes.deliver(header, make_error_outcome(header, cause, text, header.trace, time.monotonic()))


def _onward(header: FeatureMapHeader, trace: StageTrace, tile: int = 0) -> FeatureMapHeader:
    """Return the header for the next stage."""
    return header.model_copy(update={"stage": header.stage + 1, "tile": tile, "trace": (*header.trace, trace)})
