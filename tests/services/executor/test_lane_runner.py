"""Messages of the lane on a device with real segments and a real processor; the test plays the sending devices."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest

from broker.embedded import EmbeddedBroker
from services.executor.lane_runner import LaneRunner
from services.executor.lane_sender import LANE_BYTES, LaneSender
from services.executor.observations import ObservationFeed
from services.executor.outbox import Outbox, Publication
from services.executor.outcome_delivery import OutcomeDelivery
from services.executor.peer_clocks import PeerClocks
from services.executor.pipeline import Admission, Pipeline
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
from shared.bus.errors import DecodeError
from shared.bus.transport import BrokerTransport, Delivery
from shared.codecs import load_registry
from shared.codecs.spec import as_bytes
from shared.lane.input_assembly import InputAssembler, row_count
from shared.lane.lane_messages import Piece, RequestFacts, encode_rows
from shared.lane.lane_tables import SentTables, tensors_of
from shared.lane.stage_records import StageRecord
from shared.messages.base import MessageError
from shared.messages.control import Ready, Rejected
from shared.messages.devices import Receipt
from shared.messages.models import Manifest
from shared.messages.requests import MSGPACK_CONTENT, ErrorCause, FeatureMapHeader, Outcome, OutcomeStatus
from shared.messages.streams import PlanStage
from shared.processing_clock import ProcessingClock
from tests.support.short_stages import joined

CUT = 2
MAX_TASKS = 2


@dataclass
class Bench:
    """The device `me`, whose last stage gets its input on the lane from `peer` and `other`."""

    runner: LaneRunner
    pipeline: Pipeline
    admission: Admission
    manifest: Manifest
    inputs: dict[str, np.ndarray]
    ear: Connection
    acknowledged: list[str] = field(default_factory=list)
    _tables: dict[str, SentTables] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return row_count(next(iter(self.inputs.values())).shape)

    @cached_property
    def stages(self) -> tuple[PlanStage, ...]:
        last = len(self.manifest.blocks)
        return PlanStage(start=0, stop=CUT, device="peer"), PlanStage(start=CUT, stop=last, device="me")

    def header(self, **changes: Any) -> FeatureMapHeader:
        return FeatureMapHeader(
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
            accept=MSGPACK_CONTENT,
        ).model_copy(update=changes)

    def delivery(self, data: memoryview, sender: str = "peer") -> Delivery:
        now_s = time.monotonic()
        return Delivery(data, sender, now_s, now_s, len(data), len(data), self._acknowledge)

    def _acknowledge(self, transfer_id: str, processing_ms: float) -> None:
        assert processing_ms >= 0
        self.acknowledged.append(transfer_id)

    def messages(
        self,
        request_id: str = "r",
        rows: tuple[int, int] | None = None,
        *,
        attempt: int = 1,
        sender: str = "peer",
        measurement: int = 0,
        context: bytes = b"",
    ) -> list[Delivery]:
        """A table and rows of the input, all of them by default."""
        tables = self._tables.setdefault(sender, SentTables(sender, 0))
        table = tables.table(self.header(sender=sender), tensors_of(self.inputs))
        facts = RequestFacts(request_id, attempt, 10, 100.0, 100.0, None, time.monotonic(), context)
        top, bottom = rows or (0, self.rows)
        pieces = [
            (Piece(index, top, bottom), as_bytes(array[:, :, top:bottom]))
            for index, array in enumerate(self.inputs.values())
        ]
        record = StageRecord(0, 100.0, 0.0, 1.0, sent_at_s=100.5).pack()
        message = encode_rows(table.number, facts, time.monotonic(), record, pieces, measurement=measurement)
        return [self.delivery(memoryview(table.message), sender), self.delivery(joined(message), sender)]

    def send(self, *args: Any, **settings: Any) -> bool:
        """Deliver a table and rows as a transport does; return whether the rows were taken at once."""
        table, rows = self.messages(*args, **settings)
        assert self.runner.take_now(table)
        return self.runner.take_now(rows)

    async def outcome(self) -> Outcome:
        async with asyncio.timeout(30):
            async for received in self.ear:
                if received.topic == topics.results("s"):
                    return Outcome.decode(bytes(received.payload))
        raise AssertionError("unreachable")

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
        for topic in (topics.results("s"), topics.receipts("peer")):
            await ear.subscribe(topic)
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
        admission = Admission(MAX_TASKS, 10**6)
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
            shadow=ShadowCheck("me", 0.0, pool=pool, processor=processor, coder=coder, speed=speed, outbox=outbox),
            outcomes=OutcomeDelivery(outbox),
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
                inputs=inputs,
                attempts=attempts,
                admission=admission,
                outbox=outbox,
                observations=observations,
                clocks=clocks,
                processing=processing,
                group=group,
            )
            tasks = [group.create_task(part.run()) for part in (outbox, pool, pipeline)]
            await asyncio.sleep(0)
            yield Bench(runner, pipeline, admission, manifest, _input(store, manifest), ear)
            for task in tasks:
                task.cancel()


def _input(store: ModelCache, manifest: Manifest) -> dict[str, np.ndarray]:
    """The tensors that cross the cut for some request."""
    first = SegmentKey(manifest.model, 0, CUT)
    path = store.folder / f"{manifest.model}.onnx"
    segment = build_segments(path, manifest, (first,), EngineSettings())[first]
    return segment.run({REQUEST_TENSOR: np.frombuffer(sample_request(manifest), np.uint8)})


async def test_a_stage_is_computed_from_the_lane_before_and_after_its_segment_is_loaded(bench: Bench) -> None:
    assert bench.send("r1")
    first = await bench.outcome()
    assert bench.send("r2")
    second = await bench.outcome()
    for outcome, name in ((first, "r1"), (second, "r2")):
        assert (outcome.status, outcome.request_id, outcome.attempt) == (OutcomeStatus.OK, name, 1)
        assert [(entry.device, entry.start) for entry in outcome.trace] == [("peer", 0), ("me", CUT)]
        assert outcome.trace[0].sent_at_s == 100.5
        assert outcome.trace[1].received_at_s >= 100.0
        assert outcome.trace[1].compute_ms > 0
    assert first.outputs == second.outputs
    assert await bench.is_empty()


async def test_rows_of_two_senders_make_one_input(bench: Bench) -> None:
    assert bench.send("whole")
    expected = await bench.outcome()
    half = bench.rows // 2
    assert bench.send("r", (0, half))
    assert bench.send("r", (0, half)), "a duplicate"
    assert bench.send("r", (half, bench.rows), sender="other")
    outcome = await bench.outcome()
    assert (outcome.request_id, outcome.outputs) == ("r", expected.outputs)
    assert bench.send("r", (half, bench.rows), sender="other"), "a late duplicate"
    assert await bench.is_empty()


async def test_a_message_that_has_no_room_waits_and_rows_of_a_begun_input_do_not(bench: Bench) -> None:
    half = bench.rows // 2
    for name in ("a", "b")[:MAX_TASKS]:
        assert bench.send(name, (0, half))
    assert not bench.send("late")
    waiting = asyncio.ensure_future(bench.runner.take(bench.messages("late")[1]))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert bench.send("a", (half, bench.rows))
    assert (await bench.outcome()).request_id == "a"
    await waiting
    assert (await bench.outcome()).request_id == "late"
    assert bench.send("b", (half, bench.rows))
    assert (await bench.outcome()).request_id == "b"
    assert await bench.is_empty()


async def test_a_newer_attempt_gives_the_older_one_up_and_a_stale_one_is_dropped(bench: Bench) -> None:
    half = bench.rows // 2
    assert bench.send("r", (0, half))
    assert bench.send("r", attempt=2)
    assert (await bench.outcome()).attempt == 2
    assert await bench.is_empty()
    assert bench.send("r", (half, bench.rows))
    assert await bench.is_empty(), "its rows begin nothing"


async def test_what_never_becomes_complete_is_given_up(bench: Bench) -> None:
    assert bench.send("r", (0, 1))
    assert bench.send("q", (0, 1))
    bench.pipeline.cancel("s", "q")
    assert not bench.admission.enter_now(10**7)
    bench.runner.tick(time.monotonic() + 3600.0)
    assert await bench.is_empty()


async def test_a_measured_message_is_acknowledged_on_its_way_or_through_the_broker(bench: Bench) -> None:
    assert bench.send("a", measurement=7)
    assert bench.acknowledged == ["lane-7"]
    table, rows = bench.messages("b", measurement=8)
    assert bench.runner.take_now(replace(table, acknowledge=None))
    assert bench.runner.take_now(replace(rows, acknowledge=None))
    async with asyncio.timeout(30):
        receipts = [received async for received in _until_receipt(bench.ear)]
    assert Receipt.decode(bytes(receipts[-1])).transfer_id == "lane-8"
    assert await bench.is_empty()


async def _until_receipt(ear: Connection) -> AsyncIterator[bytes]:
    async for received in ear:
        yield bytes(received.payload)
        if received.topic == topics.receipts("peer"):
            return


async def test_what_is_refused_holds_no_memory_and_the_next_message_is_computed(bench: Bench) -> None:
    table, rows = bench.messages()
    unknown = bench.messages(sender="stranger")[1]
    short = replace(rows, buffer=rows.buffer[:-4])
    elsewhere = SentTables("peer", 50).table(
        bench.header(stages=(PlanStage(start=0, stop=1, device="me"), PlanStage(start=1, stop=2, device="you"))),
        tensors_of(bench.inputs),
    )
    assert bench.runner.take_now(table)
    for bad in (unknown, short, bench.delivery(memoryview(elsewhere.message)), bench.delivery(memoryview(b"SGL1\x07"))):
        assert not bench.runner.take_now(bad)
        with pytest.raises((DecodeError, MessageError)):
            await bench.runner.take(bad)
    assert not bench.runner.take_now(bench.delivery(memoryview(b"\x81 a frame")))
    assert await bench.is_empty()
    assert bench.runner.take_now(rows)
    assert (await bench.outcome()).status is OutcomeStatus.OK


async def test_a_request_whose_context_is_hostile_ends_here_and_nothing_else_does(bench: Bench) -> None:
    assert bench.send("warm")
    await bench.outcome()
    assert bench.send("bad", context=b"\xff\xff\xff")
    assert await bench.is_empty()
    assert bench.send("good")
    assert (await bench.outcome()).request_id == "good"


async def test_tensors_that_the_model_does_not_take_are_an_error_of_the_request(bench: Bench) -> None:
    assert bench.send("warm")
    await bench.outcome()
    bench.inputs = {name: array.astype(np.float64) for name, array in bench.inputs.items()}
    assert bench.send("r")
    outcome = await bench.outcome()
    assert (outcome.request_id, outcome.status, outcome.cause) == ("r", OutcomeStatus.ERROR, ErrorCause.EXECUTION)
    assert await bench.is_empty()
