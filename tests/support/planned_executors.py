"""A planner and executors, all real, executors as processes; the test plays monitors, applications and operator."""

import asyncio
import io
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from broker.embedded import EmbeddedBroker
from services.cli.support.fleet_operations import add_model, declare_stream, operator, set_policy
from services.cli.support.manifest import build_manifest
from services.executor.segments.engine import EngineSettings
from services.executor.segments.idle_profile import IdleProfile
from services.executor.segments.profiler import keep_profile, profile_path
from services.planner.config import PlannerConfig
from services.planner.service import serve
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.mqtt.properties import Properties
from shared.bus.settings import BusSettings
from shared.messages.alternatives import Alternatives
from shared.messages.control import COMMANDS, REPORTS, Prepare, Ready
from shared.messages.devices import EmulatedLink, Emulation, LinkEstimate, Links, Presence, State, Telemetry
from shared.messages.events import Event
from shared.messages.models import Manifest, OutputKind, Preprocessing
from shared.messages.requests import REQUEST_ID_PROPERTY, Outcome
from shared.messages.streams import CommittedPlan, PlanStage, StreamDeclaration
from shared.model.architectures import build
from shared.model.onnx_file import write_onnx

WAIT_S = 60.0


@dataclass
class PlannedExecutors:
    """What is said of presence, plans, alternatives, events and results, and what devices are to hold."""

    settings: BusSettings
    connection: Connection
    folder: Path
    plans: dict[str, CommittedPlan] = field(default_factory=dict)
    alternatives: dict[str, Alternatives] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    online: set[str] = field(default_factory=set)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    prepares: list[tuple[str, Prepare]] = field(default_factory=list)
    readies: list[Ready] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    results: list[Outcome] = field(default_factory=list)

    async def listen(self) -> None:
        filters = (
            *(topics.presence.any, topics.plan.any, topics.alternatives.any, topics.results.any, topics.events()),
            *("devices/+/commands", topics.reports.any),
        )
        for topic in filters:
            await self.connection.subscribe(topic)
        async for received in self.connection:
            async with self.changed:
                self._note(received.topic.split("/"), bytes(received.payload))
                self.changed.notify_all()

    def _note(self, topic: list[str], payload: bytes) -> None:
        match topic:
            case ["devices", device, "presence"] if payload:
                if Presence.decode(payload).state is State.ONLINE:
                    self.online.add(device)
            case ["devices", device, "commands"]:
                if isinstance(command := COMMANDS.decode(payload), Prepare):
                    self.prepares.append((device, command))
            case ["devices", _, "reports"]:
                if isinstance(report := REPORTS.decode(payload), Ready):
                    self.readies.append(report)
            case ["streams", stream, "plan"] if payload:
                self.plans[stream] = CommittedPlan.decode(payload)
            case ["streams", stream, "alternatives"] if payload:
                self.alternatives[stream] = Alternatives.decode(payload)
            case ["streams", _, "results"]:
                outcome = Outcome.decode(payload)
                self.outcomes[outcome.request_id] = outcome
                self.results.append(outcome)
            case ["events"]:
                self.events.append(Event.decode(payload))

    def holds(self, stream: str, epoch: int, stage: PlanStage) -> bool:
        """Say whether a device has been asked to hold a segment for an epoch, and has answered everything asked."""
        mine = [
            asked
            for device, asked in self.prepares
            if (device, asked.stream, asked.epoch) == (stage.device, stream, epoch)
        ]
        key = (stage.device, stream, epoch)
        answered = sum((ready.device, ready.stream, ready.epoch) == key for ready in self.readies)
        ranges = [(segment.start, segment.stop) for segment in mine[-1].segments] if mine else []
        return (stage.start, stage.stop) in ranges and answered >= len(mine)

    async def until(self, found: Callable[[], Any]) -> None:
        async with asyncio.timeout(WAIT_S), self.changed:
            await self.changed.wait_for(found)

    async def measure_links(self, first: str, second: str, mbps: float) -> None:
        """Say what the monitors of two devices would say of the link between them."""
        for source, target in ((first, second), (second, first)):
            estimate = LinkEstimate(target=target, bandwidth_mbps=mbps, latency_ms=1.0)
            links = Links(device=source, sent_at_s=time.time(), links=(estimate,))
            await self.connection.publish(topics.links(source), links.encode(), retain=True)

    async def measure_all_links(self, devices: Sequence[str], mbps: float) -> None:
        """Say what the monitors of all devices would say of the links between them."""
        for device in devices:
            estimates = tuple(
                LinkEstimate(target=other, bandwidth_mbps=mbps, latency_ms=1.0) for other in devices if other != device
            )
            links = Links(device=device, sent_at_s=time.time(), links=estimates)
            await self.connection.publish(topics.links(device), links.encode(), retain=True)

    async def measure_load(self, device: str, load_factor: float) -> None:
        """Say what a device's monitor would say of its load."""
        telemetry = Telemetry(device=device, sent_at_s=time.time(), load_factor=load_factor)
        await self.connection.publish(topics.telemetry(device), telemetry.encode())

    def remember(self, manifest: Manifest, block_ms: tuple[float, ...]) -> None:
        """Have the devices know what this machine takes for a model's blocks, as if a former life had measured it."""
        path = profile_path(self.folder / "data" / "profiles", manifest, EngineSettings())
        keep_profile(path, IdleProfile(block_ms))

    async def emulate(self, device: str, slowdown: float, *, load_factor: float = 1.0, **mbps: float) -> None:
        """Shape a device and the links that leave it."""
        links = tuple(EmulatedLink(target=name, bandwidth_mbps=rate, latency_ms=1.0) for name, rate in mbps.items())
        emulation = Emulation(device=device, slowdown=slowdown, load_factor=load_factor, links=links)
        await self.connection.publish(topics.emulation(device), emulation.encode(), retain=True)

    async def add(self, architecture: str) -> Manifest:
        """Give a reference model to the planner's library."""
        path = self.folder / f"{architecture}.onnx"
        write_onnx(build(architecture), path)
        return await self.add_file(path, Preprocessing(kind="image"))

    async def add_file(self, path: Path, preprocessing: Preprocessing) -> Manifest:
        """Give a classifier to the planner's library."""
        manifest = classifier(path, preprocessing)
        await add_model(self.settings, manifest, path)
        return manifest

    async def declare(self, stream: str, manifest: Manifest, source: str) -> None:
        async with operator(self.settings) as connection:
            declaration = StreamDeclaration(stream=stream, model=manifest.model, source=source)
            await declare_stream(connection, declaration)

    async def demand(self, stream: str, **policy: Any) -> None:
        """Put a policy in force."""
        async with operator(self.settings) as connection:
            verdict = await set_policy(connection, stream, policy, timeout_s=WAIT_S)
        assert verdict.policy_accepted, verdict.policy_reasons

    async def submit(self, stream: str, payload: bytes, *request_ids: str) -> Sequence[str]:
        for request_id in request_ids:
            properties = Properties(user={REQUEST_ID_PROPERTY: request_id})
            await self.connection.publish(topics.requests(stream), payload, properties=properties)
        return request_ids

    async def outcome(self, request_id: str) -> Outcome:
        await self.until(lambda: request_id in self.outcomes)
        return self.outcomes[request_id]


def classifier(path: Path, preprocessing: Preprocessing) -> Manifest:
    return build_manifest(path, preprocessing=preprocessing, output=OutputKind.CLASSIFICATION, softmax=True)


@asynccontextmanager
async def open_planned(folder: Path, devices: Sequence[str]) -> AsyncIterator[PlannedExecutors]:
    """Start a broker, a planner in this process, and an executor in a process of its own for every device."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker())
        connection = await stack.enter_async_context(Connection.open(broker.settings))
        fleet = PlannedExecutors(broker.settings, connection, folder)
        tasks = [
            asyncio.create_task(serve(PlannerConfig(broker.settings, folder / "planner", time_budget_s=0.1))),
            asyncio.create_task(fleet.listen()),
        ]
        try:
            async with AsyncExitStack() as running:
                for device in devices:
                    process = await running.enter_async_context(executor_process(fleet, device))
                    fleet.processes[device] = process
                await fleet.until(lambda: fleet.online >= set(devices))
                yield fleet
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=10.0)


def photograph(height: int = 48, width: int = 64) -> bytes:
    """Return a JPEG of noise: three megabits for 480 x 640."""
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@asynccontextmanager
async def executor_process(fleet: PlannedExecutors, device: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start an executor in a process of its own, and kill it in the end."""
    data = str(fleet.folder / "data")
    arguments = ("executor", "--device", device, "--data-dir", data, "--emulated", "--log-level", "warning")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from services.cli.main import main; main()", *arguments),
        *("--broker", fleet.settings.address),
        env=os.environ | {"PYTHONWARNINGS": "default"},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
