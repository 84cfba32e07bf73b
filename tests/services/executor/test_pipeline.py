"""The pipeline between a real broker, real sessions and a real processor."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.embedded import EmbeddedBroker
from services.cli.support.manifest import build_manifest
from services.executor.admission import Admission
from services.executor.feature_maps import EncodedPayload, FeatureMap, decode_feature_map
from services.executor.lane_sender import LaneSender
from services.executor.observations import ObservationFeed
from services.executor.outbox import Outbox, Publication
from services.executor.peer_clocks import PeerClocks
from services.executor.pipeline import Pipeline
from services.executor.segments.coding import Coder
from services.executor.segments.device_speed import DeviceSpeed
from services.executor.segments.engine import EngineSettings
from services.executor.segments.idle_profile import IdleProfile
from services.executor.segments.lifecycle import SegmentLifecycle
from services.executor.segments.model_cache import ModelCache
from services.executor.segments.processor import Processor
from services.executor.segments.profiler import sample_request
from services.executor.segments.segment import REQUEST_TENSOR
from services.executor.segments.segment_pool import SegmentPool
from services.executor.segments.shadow_check import ShadowCheck
from services.executor.sender import AttemptTracker, Sender
from services.executor.stage_runner import StageRunner
from services.executor.transfers import TransferLedger
from shared.bus import topics
from shared.bus.connection import Connection, Received
from shared.bus.feature_maps.transport import BrokerTransport
from shared.codecs import load_registry
from shared.lane.input_assembly import InputAssembler
from shared.large_outcomes import OutcomeAssembler
from shared.messages.control import Ready, Rejected
from shared.messages.devices import OBSERVATIONS, DamageReport, Receipt
from shared.messages.events import Event, EventKind
from shared.messages.models import Manifest, OutputKind, Preprocessing
from shared.messages.requests import MSGPACK_CONTENT, ErrorCause, FeatureMapHeader, Outcome, OutcomeStatus, TensorHeader
from shared.messages.streams import PlanStage
from shared.model.architectures.builder import GraphBuilder
from shared.model.onnx_file import write_onnx
from tests.support.large_outputs import outcome_delivery


@dataclass
class Bench:
    """A pipeline of the device `me`, and what it says."""

    pipeline: Pipeline
    manifest: Manifest
    ear: Connection
    peer: BrokerTransport
    outbox: Outbox
    coder: Coder

    async def hear(self, topic: str) -> Received:
        async for received in self.ear:
            if received.topic == topic:
                return received
        raise AssertionError("unreachable")

    async def outcome(self) -> Outcome:
        return Outcome.decode((await self.hear(topics.results("s"))).payload)

    def request(self, *stages: tuple[int, int, str], name: str = "r", attempt: int = 1, **changes: Any) -> FeatureMap:
        header = FeatureMapHeader(
            transfer_id="",
            sender="me",
            request_id=name,
            stream="s",
            model=self.manifest.model,
            epoch=1,
            attempt=attempt,
            stages=tuple(PlanStage(start=start, stop=stop, device=device) for start, stop, device in stages),
            stage=0,
            tensors=(),
            source="me",
            accepted_at_s=0.0,
            dispatched_at_s=0.0,
        )
        payload = np.frombuffer(sample_request(self.manifest), np.uint8)
        return FeatureMap(header.model_copy(update=changes), {REQUEST_TENSOR: payload})


@pytest.fixture
async def bench(manifest: Manifest, store: ModelCache) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker())
        settings = broker.settings
        ear = await stack.enter_async_context(Connection.open(settings))
        control = await stack.enter_async_context(Connection.open(settings))
        for topic in (topics.results("s"), topics.events(), topics.observations("me")):
            await ear.subscribe(topic)
        processor = await stack.enter_async_context(Processor.open())
        transport = await stack.enter_async_context(BrokerTransport.open(settings, "me"))
        peer = await stack.enter_async_context(BrokerTransport.open(settings, "peer"))
        outbox = Outbox("me", control)

        async def answer(report: Ready | Rejected) -> None:
            await outbox.put(Publication(topics.reports("me"), report.encode()))

        pool = SegmentPool("me", store, EngineSettings(), SegmentLifecycle(), answer)
        pool.know(manifest)
        speed = DeviceSpeed()
        speed.learn(manifest, IdleProfile((1.0,) * len(manifest.blocks), 0.5))
        coder = Coder(load_registry(), EngineSettings())
        attempts, ledger = AttemptTracker(), TransferLedger("me")
        pipeline = Pipeline(
            "me",
            stages=StageRunner("me", pool, processor, speed, coder),
            sender=Sender("me", transport, ledger, outbox, attempts),
            lane=LaneSender("me", transport, ledger, 0),
            inputs=InputAssembler(),
            attempts=attempts,
            admission=Admission(max_tasks=2, max_bytes=10**6),
            row_admission=Admission(max_tasks=2, max_bytes=10**6),
            shadow=ShadowCheck("me", 0.0, pool=pool, processor=processor, coder=coder, speed=speed, outbox=outbox),
            outbox=outbox,
            outcomes=outcome_delivery(outbox),
            observations=ObservationFeed(outbox),
            clocks=PeerClocks("me", outbox),
        )
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            tasks = [group.create_task(part.run()) for part in (outbox, pool, pipeline)]
            await asyncio.sleep(0)
            yield Bench(pipeline, manifest, ear, peer, outbox, coder)
            for task in tasks:
                task.cancel()


async def test_a_feature_map_with_room_is_taken_at_once(bench: Bench) -> None:
    route = (0, len(bench.manifest.blocks), "me")
    assert bench.pipeline.admit_now(bench.request(route, name="a"))
    assert bench.pipeline.admit_now(bench.request(route, name="b"))
    assert not bench.pipeline.admit_now(bench.request(route, name="no-room"))
    assert {(await bench.outcome()).request_id for _ in range(2)} == {"a", "b"}
    await bench.pipeline.drain()


async def test_more_requests_than_fit_wait_and_all_are_answered(bench: Bench) -> None:
    last = len(bench.manifest.blocks)
    for number in range(6):
        await bench.pipeline.admit(bench.request((0, last, "me"), name=f"r{number}"))
    outcomes = [await bench.outcome() for _ in range(6)]
    assert {outcome.request_id for outcome in outcomes} == {f"r{number}" for number in range(6)}
    assert all(outcome.status is OutcomeStatus.OK for outcome in outcomes)
    await bench.pipeline.drain()


async def test_what_was_computed_is_observed_against_the_profile(bench: Bench) -> None:
    last = len(bench.manifest.blocks)
    await bench.pipeline.admit(bench.request((0, last, "me")))
    observation = OBSERVATIONS.decode((await bench.hear(topics.observations("me"))).payload)
    assert (observation.kind, observation.start, observation.stop) == ("compute", 0, last)
    assert observation.idle_ms == pytest.approx(last + 0.5)
    assert observation.measured_ms > 0


async def test_the_next_device_gets_the_cut(bench: Bench) -> None:
    last = len(bench.manifest.blocks)
    await bench.pipeline.dispatch(bench.request((0, 2, "me"), (2, last, "peer")))
    delivery = await anext(bench.peer)
    received = decode_feature_map(delivery.buffer, bench.coder.registry)
    assert (received.header.stage, received.header.sender) == (1, "me")
    assert received.header.transfer_id
    assert received.size_bytes == bench.manifest.blocks[1].output_bytes
    (trace,) = received.header.trace
    assert trace.sent_at_s is not None
    assert trace.sent_at_s >= trace.received_at_s


async def test_a_request_whose_first_stage_is_elsewhere_travels_as_it_came(bench: Bench) -> None:
    last = len(bench.manifest.blocks)
    await bench.pipeline.dispatch(bench.request((0, last, "peer")))
    received = decode_feature_map((await anext(bench.peer)).buffer, bench.coder.registry)
    assert received.arrays(bench.coder)[REQUEST_TENSOR].tobytes() == sample_request(bench.manifest)


async def test_an_older_attempt_is_dropped_once_a_newer_was_here(bench: Bench) -> None:
    last = len(bench.manifest.blocks)
    await bench.pipeline.admit(bench.request((0, last, "me"), attempt=2))
    await bench.pipeline.admit(bench.request((0, last, "me"), attempt=1))
    await bench.pipeline.admit(bench.request((0, last, "me"), name="after"))
    outcomes = [await bench.outcome() for _ in range(2)]
    assert {(outcome.request_id, outcome.attempt) for outcome in outcomes} == {("r", 2), ("after", 1)}
    await bench.pipeline.drain()


async def test_a_route_that_ends_before_the_model_is_an_execution_error(bench: Bench) -> None:
    await bench.pipeline.admit(bench.request((0, 2, "me")))
    outcome = await bench.outcome()
    assert (outcome.status, outcome.cause) == (OutcomeStatus.ERROR, ErrorCause.EXECUTION)


async def test_tensors_of_another_cut_are_an_execution_error(bench: Bench) -> None:
    last = len(bench.manifest.blocks)
    await bench.pipeline.admit(bench.request((0, 2, "peer"), (2, last, "me"), stage=1))
    outcome = await bench.outcome()
    assert outcome.cause is ErrorCause.EXECUTION
    assert "did not arrive" in outcome.error


async def test_a_device_that_lacks_the_model_leaves_the_request_to_its_source(bench: Bench) -> None:
    await bench.pipeline.admit(bench.request((0, 2, "me"), model="0" * 64))
    event = Event.decode((await bench.hear(topics.events())).payload)
    assert event.kind is EventKind.FAILURE
    assert "no manifest" in event.text


async def test_a_tensor_that_does_not_decode_is_counted_and_its_source_told(bench: Bench) -> None:
    last = len(bench.manifest.blocks)
    await bench.ear.subscribe(topics.receipts("elsewhere"))
    request = bench.request((0, 2, "peer"), (2, last, "me"), attempt=2, source="elsewhere", stage=1, transfer_id="t")
    tensor = Coder(load_registry(), EngineSettings()).encode(np.ones((1, 8, 8, 8), np.float32), "uint8")
    header = TensorHeader(name="x", dtype="float32", shape=(1, 8, 8, 8), codec="uint8", size_bytes=tensor.size_bytes)
    payload = bytes(tensor.payload()).replace(bytes(tensor.pieces[1]), bytes(len(tensor.pieces[1])), 1)
    await bench.pipeline.admit(FeatureMap(request.header, {"x": EncodedPayload(header, memoryview(payload), 2048)}))
    receipt = Receipt.decode((await bench.hear(topics.receipts("elsewhere"))).payload)
    assert (receipt.transfer_id, receipt.receiver) == ("t", "me")
    assert receipt.refused == DamageReport(stream="s", request_id="r", attempt=2, reason="a channel's scale is zero")
    assert bench.outbox.bad_messages == 1
    await bench.pipeline.drain()


class TestModelWithManyOutputs:
    @pytest.fixture
    def manifest(self, tmp_path: Path) -> Manifest:
        b = GraphBuilder("wide", 1, (1, 3, 8, 8))
        path = tmp_path / "wide.onnx"
        write_onnx(b.finish(b.linear(b.flatten(b.global_pool(b.input, "pool")), "fc", 1000)), path)
        manifest = build_manifest(path, preprocessing=Preprocessing(kind="image"), output=OutputKind.CLASSIFICATION)
        (tmp_path / "models").mkdir()
        path.rename(tmp_path / "models" / f"{manifest.model}.onnx")
        return manifest

    async def test_outputs_too_large_for_the_broker_come_in_chunks_before_the_result(self, bench: Bench) -> None:
        route = (0, len(bench.manifest.blocks), "me")
        await bench.pipeline.admit(bench.request(route, name="whole", accept=MSGPACK_CONTENT))
        payload = (await bench.hear(topics.results("s"))).payload
        (output,) = Outcome.decode(payload).outputs
        connection = bench.outbox.connection
        connection.settings = replace(connection.settings, max_payload_bytes=len(payload) - 1)
        await bench.ear.subscribe(topics.outputs("s"))
        await bench.pipeline.admit(bench.request(route, name="apart", accept=MSGPACK_CONTENT))
        assembler, assembled = OutcomeAssembler(), None
        while assembled is None:
            chunk = (await bench.hear(topics.outputs("s"))).payload
            assembled = assembler.add(chunk, "s", "apart", 0.0)
        assert assembled.whole().outputs == (output,)
        outcome = await bench.outcome()
        assert (outcome.request_id, outcome.status, outcome.outputs) == ("apart", OutcomeStatus.OK, ())
