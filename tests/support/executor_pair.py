"""Two executors behind a real broker, in this process; a test plays planner and application."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from broker.embedded import EmbeddedBroker
from services.cli.support.manifest import build_manifest
from services.executor.config import ExecutorConfig
from services.executor.service import serve
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.model_files.model_exchange import serve_models
from shared.bus.mqtt.properties import Properties
from shared.bus.settings import BusSettings
from shared.messages.calibration import ShadowReport
from shared.messages.control import REPORTS, Prepare, Ready, segments_of
from shared.messages.devices import OBSERVATIONS, Presence, State, TransferObservation
from shared.messages.events import Event
from shared.messages.models import Manifest, OutputKind, Preprocessing
from shared.messages.requests import ACCEPT_PROPERTY, MSGPACK_CONTENT, REQUEST_ID_PROPERTY, Outcome
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage, StreamDeclaration
from shared.model.architectures import build
from shared.model.graph import Graph
from shared.model.onnx_file import write_onnx
from shared.transport_mode import TransportMode

WAIT_S = 60.0
STREAM = "camera"
CUT = 2
"""Blocks of the first device: what crosses there is large enough to be encoded in the segment's graph."""


@dataclass
class World:
    """A broker, two executors, and a connection that plays planner and application and hears both."""

    settings: BusSettings
    model_path: Path
    connection: Connection
    manifest: Manifest
    online: set[str] = field(default_factory=set)
    ready: int = 0
    outcomes: list[Outcome] = field(default_factory=list)
    reports: list[ShadowReport] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    observed: list[TransferObservation] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def listen(self) -> None:
        async for received in self.connection:
            async with self.changed:
                self.note(received.topic.split("/"), bytes(received.payload))
                self.changed.notify_all()

    def note(self, topic: list[str], payload: bytes) -> None:
        match topic:
            case ["devices", device, "presence"] if payload and Presence.decode(payload).state is State.ONLINE:
                self.online.add(device)
            case ["devices", _, "reports"]:
                self.ready += isinstance(REPORTS.decode(payload), Ready)
            case ["streams", _, "results"]:
                self.outcomes.append(Outcome.decode(payload))
            case ["models", _, "shadow"]:
                self.reports.append(ShadowReport.decode(payload))
            case ["devices", _, "observations"]:
                observation = OBSERVATIONS.decode(payload)
                if isinstance(observation, TransferObservation):
                    self.observed.append(observation)
            case ["events"]:
                self.events.append(Event.decode(payload))

    async def until(self, found: Callable[[], Any]) -> Any:
        async with asyncio.timeout(WAIT_S), self.changed:
            await self.changed.wait_for(lambda: bool(found()))
            return found()

    async def commit(
        self, codec: str, *, first: str = "first", transport: TransportMode | None = None
    ) -> tuple[PlanStage, ...]:
        """Put a route in force whose first blocks run on `first`, which need not be an executor."""
        last = len(self.manifest.blocks)
        stages = (
            PlanStage(start=0, stop=CUT, device=first, codec=codec),
            PlanStage(start=CUT, stop=last, device="second"),
        )
        await self.commit_route(stages, transport=transport)
        return stages

    async def commit_route(
        self, stages: tuple[PlanStage, ...], *, epoch: int = 1, transport: TransportMode | None = None
    ) -> None:
        """Put a route in force on those of its devices that are executors."""
        held = {device: own for device, own in segments_of((stages,)).items() if device in self.online}
        expected = self.ready + len(held)
        for device, own in held.items():
            prepare = Prepare(stream=STREAM, epoch=epoch, manifest=self.manifest, segments=own)
            await self.connection.publish(topics.commands(device), prepare.encode())
        await self.until(lambda: self.ready == expected)
        plan = CommittedPlan(
            stream=STREAM,
            epoch=epoch,
            model=self.manifest.model,
            source="first",
            strategy="test",
            routes=(PlanRoute(stages=stages),),
            transport=transport,
        )
        await self.connection.publish(topics.plan(STREAM), plan.encode(), retain=True)

    async def submit(self, request_id: str, payload: bytes | None = None) -> None:
        """Submit a request; without a payload, a photograph."""
        pixels = np.random.default_rng(len(request_id)).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        properties = Properties(user={REQUEST_ID_PROPERTY: request_id, ACCEPT_PROPERTY: MSGPACK_CONTENT})
        data = buffer.getvalue() if payload is None else payload
        await self.connection.publish(topics.requests(STREAM), data, properties=properties)

    async def ask(self, request_id: str, payload: bytes | None = None) -> Outcome:
        await self.submit(request_id, payload)
        await self.until(lambda: any(outcome.request_id == request_id for outcome in self.outcomes))
        return next(outcome for outcome in self.outcomes if outcome.request_id == request_id)


@asynccontextmanager
async def pair_of_executors(
    folder: Path, *, devices: Sequence[str] = ("first", "second"), graph: Graph | None = None, **settings: Any
) -> AsyncIterator[World]:
    """Start the executors `first`, which is the stream's source, and `second`; all check every encoding.

    Args:
        folder: their data.
        devices: further executors.
        graph: of the model; None for a tiny one.
        **settings: of all executors' configurations.
    """
    file = folder / "tiny.onnx"
    write_onnx(graph or build("tiny"), file)
    manifest = build_manifest(file, preprocessing=Preprocessing(kind="image"), output=OutputKind.CLASSIFICATION)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker())
        library = await stack.enter_async_context(Connection.open(broker.settings))
        connection = await stack.enter_async_context(Connection.open(broker.settings))
        of_devices = (topics.presence.any, topics.reports.any, topics.observations.any)
        for topic in (*of_devices, topics.results.any, topics.shadow.any, topics.events()):
            await connection.subscribe(topic)
        await connection.publish(topics.manifest(manifest.model), manifest.encode(), retain=True)
        declaration = StreamDeclaration(stream=STREAM, model=manifest.model, source="first")
        await connection.publish(topics.stream(STREAM), declaration.encode(), retain=True)
        opened = World(broker.settings, file, connection, manifest)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(serve_models(library, "planner", {manifest.model: file}.get)),
                group.create_task(opened.listen()),
            ]
            for device in devices:
                config = ExecutorConfig(device, broker.settings, folder / device, shadow_share=1.0, **settings)
                tasks.append(group.create_task(serve(config)))
            await opened.until(lambda: opened.online == set(devices))
            yield opened
            for task in tasks:
                task.cancel()
