"""Two streams with a camera each share one server, whose queue discipline the policy names: real processes."""

import asyncio
import io
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from broker.embedded import EmbeddedBroker
from services.cli.manifest import build_manifest
from services.cli.operations import add_model, declare_stream, operator, set_policy
from services.planner.config import PlannerConfig
from services.planner.service import serve
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.properties import Properties
from shared.bus.settings import BusSettings
from shared.messages.devices import Emulation, LinkEstimate, Links, Presence, State
from shared.messages.models import OutputKind, Preprocessing
from shared.messages.requests import REQUEST_ID_PROPERTY, Outcome, OutcomeStatus, StageTrace
from shared.messages.streams import CommittedPlan, StreamDeclaration
from shared.model.architectures import build
from shared.model.onnx_file import write_onnx

WAIT_S = 60.0
JOBS = 6
STREAMS = {"long": ("east", "squeezenet"), "short": ("west", "tiny")}
"""The camera and the model of each stream."""
SERVER = "server"
SLOWDOWN = 6.0
MARGIN_S = 0.02
"""Between a job's arrival and the moment at which the queue knows it."""


@dataclass
class Served:
    """A job at the server, seconds of one clock."""

    stream: str
    received_s: float
    started_s: float


@dataclass
class Fleet:
    """Everything that is said of plans, presence and results."""

    settings: BusSettings
    connection: Connection
    plans: dict[str, CommittedPlan] = field(default_factory=dict)
    online: set[str] = field(default_factory=set)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def listen(self) -> None:
        for topic in (topics.ANY_PRESENCE, topics.ANY_PLAN, topics.ANY_RESULT):
            await self.connection.subscribe(topic)
        async for received in self.connection:
            async with self.news:
                self._note(received.topic.split("/"), bytes(received.payload))
                self.news.notify_all()

    def _note(self, topic: list[str], payload: bytes) -> None:
        match topic:
            case ["devices", device, "presence"] if payload:
                if Presence.decode(payload).state is State.ONLINE:
                    self.online.add(device)
            case ["streams", stream, "plan"] if payload:
                self.plans[stream] = CommittedPlan.decode(payload)
            case ["streams", _, "results"]:
                outcome = Outcome.decode(payload)
                self.outcomes[outcome.request_id] = outcome

    async def until(self, found: Callable[[], Any]) -> None:
        async with asyncio.timeout(WAIT_S), self.news:
            await self.news.wait_for(found)

    async def demand(self, queue: str) -> None:
        """Have both streams served by the server alone, under a queue discipline."""
        for stream in STREAMS:
            policy = {"strategy": "remote_only", "queue": queue, "max_in_flight": JOBS, "codec": "lossless"}
            async with operator(self.settings) as connection:
                verdict = await set_policy(connection, stream, policy, timeout_s=WAIT_S)
            assert verdict.policy_accepted, verdict.policy_reasons
        await self.until(lambda: all(self.plans[stream].queue == queue for stream in STREAMS))

    async def serve(self, stream: str, payload: bytes, prefix: str) -> list[str]:
        wanted = [f"{prefix}-{stream}-{number}" for number in range(JOBS)]
        for request_id in wanted:
            properties = Properties(user={REQUEST_ID_PROPERTY: request_id})
            await self.connection.publish(topics.requests(stream), payload, properties=properties)
        return wanted

    async def served(self, request_ids: list[str]) -> list[Served]:
        """Wait for the outcomes; return the jobs in the order in which the server has started them."""
        await self.until(lambda: self.outcomes.keys() >= set(request_ids))
        outcomes = [self.outcomes[request_id] for request_id in request_ids]
        assert all(outcome.status is OutcomeStatus.OK for outcome in outcomes)
        jobs = [_job(outcome.stream, outcome.trace[-1]) for outcome in outcomes]
        return sorted(jobs, key=lambda job: job.started_s)


def _job(stream: str, trace: StageTrace) -> Served:
    assert trace.device == SERVER
    return Served(stream, trace.received_at_s, trace.received_at_s + trace.queue_ms / 1000)


def photograph() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


async def executor(settings: BusSettings, device: str, folder: Path) -> asyncio.subprocess.Process:
    arguments = ("executor", "--device", device, "--data-dir", str(folder), "--emulated", "--log-level", "warning")
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from services.cli.main import main; main()", *arguments),
        *("--broker", settings.address),
        env=os.environ | {"PYTHONWARNINGS": "default"},
    )


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker())
        connection = await stack.enter_async_context(Connection.open(broker.settings))
        fleet = Fleet(broker.settings, connection)
        planner = asyncio.create_task(serve(PlannerConfig(broker.settings, tmp_path / "planner", time_budget_s=0.1)))
        listening = asyncio.create_task(fleet.listen())
        processes = []
        try:
            for device in (SERVER, *(camera for camera, _ in STREAMS.values())):
                emulation = Emulation(device=device, slowdown=SLOWDOWN)
                await connection.publish(topics.emulation(device), emulation.encode(), retain=True)
                processes.append(await executor(broker.settings, device, tmp_path / "data"))
            await fleet.until(lambda: len(fleet.online) == len(processes))
            await _declare(fleet, tmp_path)
            await fleet.until(lambda: fleet.plans.keys() >= STREAMS.keys())
            yield fleet
        finally:
            for process in processes:
                process.kill()
                await process.wait()
            for task in (planner, listening):
                task.cancel()
            await asyncio.wait([planner, listening], timeout=10.0)


async def _declare(fleet: Fleet, folder: Path) -> None:
    """Say what monitors would say of the links, add the models, declare the streams."""
    for device in (camera for camera, _ in STREAMS.values()):
        for ends in ((device, SERVER), (SERVER, device)):
            estimate = LinkEstimate(target=ends[1], bandwidth_mbps=100.0, latency_ms=1.0)
            links = Links(device=ends[0], sent_at_s=time.time(), links=(estimate,))
            await fleet.connection.publish(topics.links(ends[0]), links.encode(), retain=True)
    for stream, (camera, architecture) in STREAMS.items():
        path = folder / f"{architecture}.onnx"
        write_onnx(build(architecture), path)
        manifest = build_manifest(
            path, preprocessing=Preprocessing(kind="image"), output=OutputKind.CLASSIFICATION, softmax=True
        )
        await add_model(fleet.settings, manifest, path)
        async with operator(fleet.settings) as connection:
            await declare_stream(connection, StreamDeclaration(stream=stream, model=manifest.model, source=camera))


async def rush(fleet: Fleet, queue: str) -> list[Served]:
    """Let both streams send all at once, the long jobs first."""
    await fleet.demand(queue)
    payload = photograph()
    wanted = await fleet.serve("long", payload, queue)
    wanted += await fleet.serve("short", payload, queue)
    return await fleet.served(wanted)


def overtakings(jobs: list[Served]) -> int:
    """Return how many pairs were started in another order than they arrived."""
    pairs = ((first, second) for place, first in enumerate(jobs) for second in jobs[place + 1 :])
    return sum(second.received_s + MARGIN_S < first.received_s for first, second in pairs)


def passed_over(jobs: list[Served], by: str) -> list[Served]:
    """Return the jobs of another stream that waited while a job of `by` was started."""
    return [
        other
        for job in jobs
        for other in jobs
        if job.stream == by != other.stream and other.received_s + MARGIN_S < job.started_s < other.started_s
    ]


async def test_the_server_keeps_the_discipline_that_the_policies_ask_for(fleet: Fleet) -> None:
    jobs = await rush(fleet, "shortest_job_first")
    assert not passed_over(jobs, by="long")
    assert passed_over(jobs, by="short")
    assert jobs[-1].stream == "long"

    jobs = await rush(fleet, "round_robin")
    both_wait = [
        (before, job)
        for before, job in pairwise(jobs)
        if any(
            other.stream != before.stream and other.received_s + MARGIN_S < job.started_s <= other.started_s
            for other in jobs
        )
    ]
    assert len(both_wait) >= JOBS / 2
    assert all(before.stream != job.stream for before, job in both_wait)

    jobs = await rush(fleet, "fifo")
    assert overtakings(jobs) == 0
