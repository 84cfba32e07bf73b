"""Messages of the lane on a device with real segments and a real processor; the test plays the sending devices."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cached_property

import msgpack
import numpy as np
import pytest

from broker.embedded import EmbeddedBroker
from services.executor.admission import Admission
from services.executor.lane_receiver import LaneReceiver
from services.executor.lane_runner import LaneRunner
from services.executor.lane_sender import LANE_BYTES, LaneSender
from services.executor.observations import ObservationFeed
from services.executor.outbox import Outbox, Publication
from services.executor.peer_clocks import PeerClocks
from services.executor.pipeline import Pipeline
from services.executor.segments.coding import Coder
from services.executor.segments.device_speed import DeviceSpeed
from services.executor.segments.engine import EngineSettings
from services.executor.segments.lifecycle import SegmentLifecycle
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.processor import Processor
from services.executor.segments.profiler import sample_request
from services.executor.segments.segment import REQUEST_TENSOR, build_segments
from services.executor.segments.segment_events import SegmentKey
from services.executor.segments.segment_pool import SegmentPool
from services.executor.segments.shadow_check import ShadowCheck
from services.executor.sender import AttemptTracker, Sender
from services.executor.stage_runner import StageRunner
from services.executor.transfers import TransferLedger
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.feature_maps.transport import BrokerTransport, Delivery
from shared.codecs import load_registry
from shared.codecs.spec import as_bytes
from shared.lane.input_assembly import InputAssembler, row_count
from shared.lane.lane_messages import Piece, RequestFacts, encode_rows
from shared.lane.lane_tables import SentTables, tensors_of
from shared.lane.stage_records import StageRecord
from shared.messages.control import Ready, Rejected
from shared.messages.models import Manifest
from shared.messages.requests import MSGPACK_CONTENT, ErrorCause, FeatureMapHeader, Outcome, OutcomeStatus
from shared.messages.streams import PlanStage
from shared.processing_clock import ProcessingClock
from tests.support.large_outputs import outcome_delivery
from tests.support.short_stages import joined

CUT = 2
ACCEPTS_MSGPACK = msgpack.packb({"accept": MSGPACK_CONTENT})


@dataclass
class Bench:
    """The device `me`, whose last stage gets its input on the lane from `peer`."""

    receiver: LaneReceiver
    pipeline: Pipeline
    manifest: Manifest
    inputs: dict[str, np.ndarray]
    ear: Connection
    tables: SentTables = field(default_factory=lambda: SentTables("peer", 0))

    @cached_property
    def stages(self) -> tuple[PlanStage, ...]:
        last = len(self.manifest.blocks)
        return PlanStage(start=0, stop=CUT, device="peer"), PlanStage(start=CUT, stop=last, device="me")

    def send(self, request_id: str, context: bytes = b"") -> None:
        """Deliver a table and the whole input as a transport does."""
        header = FeatureMapHeader(
            transfer_id="",
            sender="peer",
            request_id="of-the-table",
            stream="s",
            model=self.manifest.model,
            epoch=1,
            attempt=1,
            stages=self.stages,
            stage=1,
            tensors=(),
            source="peer",
            accepted_at_s=100.0,
            dispatched_at_s=100.0,
        )
        table = self.tables.table(header, tensors_of(self.inputs))
        now_s = time.monotonic()
        facts = RequestFacts(request_id, 1, 10, 100.0, 100.0, None, now_s, context or ACCEPTS_MSGPACK)
        record = StageRecord(0, 100.0, 0.0, 1.0, sent_at_s=100.5).pack()
        pieces = [
            (Piece(index, 0, row_count(array.shape)), as_bytes(array))
            for index, array in enumerate(self.inputs.values())
        ]
        for data in (memoryview(table.message), joined(encode_rows(table.number, facts, now_s, record, pieces))):
            assert self.receiver.take_now(Delivery(data, "peer", now_s, now_s, len(data), len(data)))

    async def outcome(self) -> Outcome:
        async with asyncio.timeout(30):
            return Outcome.decode(bytes((await anext(self.ear)).payload))

    async def is_empty(self) -> bool:
        """Wait until nothing is admitted any more."""
        async with asyncio.timeout(30):
            await self.pipeline.drain()
        return True


@pytest.fixture
async def bench(manifest: Manifest, store: ModelCache) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        settings = (await stack.enter_async_context(EmbeddedBroker())).settings
        ear = await stack.enter_async_context(Connection.open(settings))
        control = await stack.enter_async_context(Connection.open(settings))
        await ear.subscribe(topics.results("s"))
        processor = await stack.enter_async_context(Processor.open())
        transport = await stack.enter_async_context(BrokerTransport.open(settings, "me"))
        processing = stack.enter_context(ProcessingClock())
        processing.sample(time.monotonic())
        outbox, ledger, attempts = Outbox("me", control), TransferLedger("me"), AttemptTracker()

        async def answer(report: Ready | Rejected) -> None:
            await outbox.put(Publication(topics.reports("me"), report.encode()))

        pool = SegmentPool("me", store, EngineSettings(), SegmentLifecycle(), answer)
        pool.know(manifest)
        speed, coder = DeviceSpeed(), Coder(load_registry(), EngineSettings())
        stages = StageRunner("me", pool, processor, speed, coder)
        lane = LaneSender("me", transport, ledger, LANE_BYTES)
        admission = Admission(2, 10**6)
        inputs = InputAssembler()
        observations, clocks = ObservationFeed(outbox), PeerClocks("me", outbox)
        pipeline = Pipeline(
            "me",
            stages=stages,
            sender=Sender("me", transport, ledger, outbox, attempts),
            lane=lane,
            inputs=inputs,
            attempts=attempts,
            admission=admission,
            row_admission=Admission(2, 10**6),
            shadow=ShadowCheck("me", 0.0, pool=pool, processor=processor, coder=coder, speed=speed, outbox=outbox),
            outcomes=outcome_delivery(outbox),
            outbox=outbox,
            observations=observations,
            clocks=clocks,
        )
        async with asyncio.timeout(100), asyncio.TaskGroup() as group:
            runner = LaneRunner(
                "me",
                pipeline=pipeline,
                stages=stages,
                lane=lane,
                admission=admission,
                outbox=outbox,
                observations=observations,
                clocks=clocks,
                group=group,
            )
            receiver = LaneReceiver(
                "me",
                inputs=inputs,
                attempts=attempts,
                admission=admission,
                outbox=outbox,
                processing=processing,
                group=group,
                on_complete=runner.run,
            )
            tasks = [group.create_task(part.run()) for part in (outbox, pool, pipeline)]
            await asyncio.sleep(0)
            yield Bench(receiver, pipeline, manifest, _input(store, manifest), ear)
            for task in tasks:
                task.cancel()


def _input(store: ModelCache, manifest: Manifest) -> dict[str, np.ndarray]:
    """The tensors that cross the cut for some request."""
    first = SegmentKey(manifest.model, 0, CUT)
    path = store.folder / f"{manifest.model}.onnx"
    segment = build_segments(path, manifest, (first,), EngineSettings())[first]
    return segment.run({REQUEST_TENSOR: np.frombuffer(sample_request(manifest), np.uint8)})


async def test_a_stage_is_computed_from_the_lane_before_and_after_its_segment_is_loaded(bench: Bench) -> None:
    bench.send("r1")
    first = await bench.outcome()
    bench.send("r2")
    second = await bench.outcome()
    for outcome, name in ((first, "r1"), (second, "r2")):
        assert (outcome.status, outcome.request_id, outcome.attempt) == (OutcomeStatus.OK, name, 1)
        assert [(entry.device, entry.start) for entry in outcome.trace] == [("peer", 0), ("me", CUT)]
        assert outcome.trace[0].sent_at_s == 100.5
        assert outcome.trace[1].received_at_s >= 100.0
        assert outcome.trace[1].compute_ms > 0
    assert first.outputs == second.outputs
    assert await bench.is_empty()


async def test_a_request_whose_context_is_hostile_ends_here_and_nothing_else_does(bench: Bench) -> None:
    bench.send("warm")
    await bench.outcome()
    bench.send("bad", context=b"\xff\xff\xff")
    assert await bench.is_empty()
    bench.send("good")
    assert (await bench.outcome()).request_id == "good"


async def test_tensors_that_the_model_does_not_take_are_an_error_of_the_request(bench: Bench) -> None:
    bench.send("warm")
    await bench.outcome()
    bench.inputs = {name: array.astype(np.float64) for name, array in bench.inputs.items()}
    bench.send("r")
    outcome = await bench.outcome()
    assert (outcome.request_id, outcome.status, outcome.cause) == ("r", OutcomeStatus.ERROR, ErrorCause.EXECUTION)
    assert await bench.is_empty()
