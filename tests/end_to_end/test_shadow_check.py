"""Two executors on a real broker: encoded feature maps, the shadow check, and a payload that is not what it says."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from broker.embedded import EmbeddedBroker
from services.cli.manifest import build_manifest
from services.executor.config import ExecutorConfig
from services.executor.service import serve
from shared.bus import topics
from shared.bus.chunks import split
from shared.bus.connection import Connection
from shared.bus.frame import encode_frame
from shared.bus.model_files import serve_models
from shared.bus.properties import Properties
from shared.messages.calibration import ShadowReport
from shared.messages.control import Prepare, SegmentRange
from shared.messages.devices import Presence, State
from shared.messages.events import Event, EventKind
from shared.messages.models import Manifest, OutputKind, Preprocessing
from shared.messages.requests import REQUEST_ID_PROPERTY, FeatureMapHeader, Outcome, OutcomeStatus, TensorHeader
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage, StreamDeclaration
from shared.model.architectures import build
from shared.model.onnx_file import write_onnx

WAIT_S = 30.0
STREAM = "camera"


@dataclass
class World:
    connection: Connection
    manifest: Manifest
    online: set[str] = field(default_factory=set)
    ready: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    reports: list[ShadowReport] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def listen(self) -> None:
        async for received in self.connection:
            async with self.news:
                self.note(received.topic.split("/"), bytes(received.payload))
                self.news.notify_all()

    def note(self, topic: list[str], payload: bytes) -> None:
        match topic:
            case ["devices", device, "presence"] if payload and Presence.decode(payload).state is State.ONLINE:
                self.online.add(device)
            case ["devices", _, "reports"]:
                self.ready += 1
            case ["streams", _, "results"]:
                self.outcomes.append(Outcome.decode(payload))
            case ["models", _, "shadow"]:
                self.reports.append(ShadowReport.decode(payload))
            case ["events"]:
                self.events.append(Event.decode(payload))

    async def until(self, found: Callable[[], Any]) -> Any:
        async with asyncio.timeout(WAIT_S), self.news:
            await self.news.wait_for(lambda: bool(found()))
            return found()

    async def commit(self, codec: str) -> tuple[PlanStage, ...]:
        last = len(self.manifest.blocks)
        stages = (
            PlanStage(start=0, stop=3, device="first", codec=codec),
            PlanStage(start=3, stop=last, device="second"),
        )
        for stage in stages:
            ranges = (SegmentRange(start=stage.start, stop=stage.stop),)
            prepare = Prepare(stream=STREAM, epoch=1, manifest=self.manifest, segments=ranges)
            await self.connection.publish(topics.commands(stage.device), prepare.encode())
        await self.until(lambda: self.ready == len(stages))
        plan = CommittedPlan(
            stream=STREAM,
            epoch=1,
            model=self.manifest.model,
            source="first",
            strategy="test",
            routes=(PlanRoute(stages=stages),),
        )
        await self.connection.publish(topics.plan(STREAM), plan.encode(), retain=True)
        return stages

    async def ask(self, request_id: str) -> Outcome:
        pixels = np.random.default_rng(len(request_id)).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        properties = Properties(user={REQUEST_ID_PROPERTY: request_id})
        await self.connection.publish(topics.requests(STREAM), buffer.getvalue(), properties=properties)
        found = await self.until(lambda: [each for each in self.outcomes if each.request_id == request_id])
        return found[0]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    file = tmp_path / "tiny.onnx"
    write_onnx(build("tiny"), file)
    manifest = build_manifest(file, preprocessing=Preprocessing(kind="image"), output=OutputKind.CLASSIFICATION)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker())
        library = await stack.enter_async_context(Connection.open(broker.settings))
        connection = await stack.enter_async_context(Connection.open(broker.settings))
        for each in (topics.ANY_PRESENCE, topics.ANY_REPORT, topics.ANY_RESULT, topics.ANY_SHADOW, topics.EVENTS):
            await connection.subscribe(each)
        await connection.publish(topics.manifest(manifest.model), manifest.encode(), retain=True)
        declaration = StreamDeclaration(stream=STREAM, model=manifest.model, source="first")
        await connection.publish(topics.stream(STREAM), declaration.encode(), retain=True)
        opened = World(connection, manifest)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(serve_models(library, "planner", {manifest.model: file}.get)),
                group.create_task(opened.listen()),
            ]
            for device in ("first", "second"):
                config = ExecutorConfig(device, broker.settings, tmp_path / device, shadow_share=1.0)
                tasks.append(group.create_task(serve(config)))
            await opened.until(lambda: opened.online == {"first", "second"})
            yield opened
            for task in tasks:
                task.cancel()


async def test_a_device_checks_what_its_encoding_does_to_the_answer(world: World) -> None:
    await world.commit("uint8+zstd")
    outcome = await world.ask("r1")
    assert outcome.status is OutcomeStatus.OK
    assert outcome.trace[0].codec == "uint8+zstd"
    reports = await world.until(lambda: world.reports)
    report = reports[0]
    assert (report.device, report.stream, report.block, report.codec) == ("first", STREAM, 2, "uint8+zstd")
    assert 0 < report.max_relative_error < 0.1
    assert report.top1_agreement in (0.0, 1.0)


async def test_lossless_encodings_need_no_check(world: World) -> None:
    await world.commit("raw+zstd")
    outcome = await world.ask("r1")
    assert outcome.trace[0].codec == "raw+zstd"
    await world.ask("r2")
    assert world.reports == []


@pytest.mark.parametrize(
    ("codec", "shape", "payload"),
    [
        ("uint8+zstd", (1, 8, 4096, 4096), b"SGC\x01\x0auint8+zstd" + bytes(1) + b"\x28\xb5\x2f\xfd\xa0"),
        ("raw", (1, 8, 8, 8), bytes(100)),
        ("brotli", (1, 8, 8, 8), bytes(100)),
    ],
)
async def test_a_payload_that_is_not_what_it_says_is_counted_and_harms_nobody(
    world: World, codec: str, shape: tuple[int, ...], payload: bytes
) -> None:
    stages = await world.commit("float16")
    header = FeatureMapHeader(
        transfer_id="t",
        sender="first",
        request_id="forged",
        stream=STREAM,
        model=world.manifest.model,
        epoch=1,
        attempt=1,
        stages=stages,
        stage=1,
        tensors=(TensorHeader(name="x", dtype="float32", shape=shape, codec=codec, size_bytes=len(payload)),),
        source="first",
        accepted_at_s=0.0,
        dispatched_at_s=0.0,
    )
    for chunk in split(b"forged", encode_frame(header.model_dump(mode="python"), [payload]), sender="first"):
        await world.connection.publish(topics.inbox("second"), chunk)
    event = await world.until(lambda: [each for each in world.events if each.kind is EventKind.BAD_MESSAGE])
    assert "inbox" in event[0].text
    assert (await world.ask("r1")).status is OutcomeStatus.OK


async def test_a_tensor_larger_than_the_cut_is_refused_before_it_is_decoded(world: World) -> None:
    stages = await world.commit("float16")
    raw = bytes(world.manifest.blocks[2].output_bytes + 4)
    header = FeatureMapHeader(
        transfer_id="t",
        sender="first",
        request_id="forged",
        stream=STREAM,
        model=world.manifest.model,
        epoch=1,
        attempt=1,
        stages=stages,
        stage=1,
        tensors=(TensorHeader(name="x", dtype="float32", shape=(len(raw) // 4,), size_bytes=len(raw)),),
        source="first",
        accepted_at_s=0.0,
        dispatched_at_s=0.0,
    )
    for chunk in split(b"forged", encode_frame(header.model_dump(mode="python"), [raw]), sender="first"):
        await world.connection.publish(topics.inbox("second"), chunk)
    found = await world.until(lambda: [each for each in world.outcomes if each.request_id == "forged"])
    assert found[0].status is OutcomeStatus.ERROR
    assert "are accepted" in found[0].error
