"""Models over a real broker: into the library, out of it, resumed after a kill, and past damaged chunks."""

import asyncio
import hashlib
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from services.planner.config import PlannerConfig
from services.planner.service import serve
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.model_files.model_exchange import fetch_model, serve_models
from shared.bus.model_files.model_transfer import PULL_BYTES, ModelTransferError, chunk_for
from shared.messages.events import EventKind
from shared.messages.models import Manifest, Offer, Pull
from tests.support.planner_fleet import Fleet, manifest_of, open_fleet
from tests.support.shared_paths import RUN_PLANNER

SCRIPT = RUN_PLANNER
DATA = random.Random(1).randbytes(9 * PULL_BYTES + 12_345)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    async with EmbeddedBroker() as running:
        yield running


@asynccontextmanager
async def planner(broker: EmbeddedBroker, folder: Path) -> AsyncIterator[None]:
    task = asyncio.create_task(serve(PlannerConfig(broker.settings, folder, time_budget_s=0.1)))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=10.0)


@dataclass
class Provider:
    """Provider of `DATA` under the control of a test, which may hold chunks back or damage them."""

    connection: Connection
    name: str
    pulls: list[Pull] = field(default_factory=list)
    damaged: set[int] = field(default_factory=set)
    wrong: bool = False
    stop_after: int | None = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        await self.connection.subscribe(topics.pulls("+", self.name))
        async for received in self.connection:
            pull = Pull.decode(received.payload)
            self.pulls.append(pull)
            if self.stop_after is not None and len(self.pulls) > self.stop_after:
                self.stopped.set()
                continue
            data = DATA[pull.offset : pull.offset + pull.length]
            chunk = chunk_for(pull, bytes(len(data)) if self.wrong else data)
            if pull.offset in self.damaged:
                self.damaged.discard(pull.offset)
                chunk = chunk.model_copy(update={"data": b"\0" * len(data)})
            await self.connection.publish(topics.model_chunks(pull.model, pull.receiver), chunk.encode())


@asynccontextmanager
async def provider(broker: EmbeddedBroker, name: str = "publisher") -> AsyncIterator[Provider]:
    async with Connection.open(broker.settings) as connection:
        serving = Provider(connection, name)
        task = asyncio.create_task(serving.run())
        try:
            yield serving
        finally:
            task.cancel()
            await asyncio.wait([task])


def manifest() -> Manifest:
    return manifest_of(SHA256, size_bytes=len(DATA))


async def offer(fleet: Fleet, name: str = "publisher") -> None:
    message = Offer(manifest=manifest().model_copy(update={"provider": name}), provider=name)
    await fleet.connection.publish(topics.offer(SHA256), message.encode())


async def in_library(fleet: Fleet) -> Manifest:
    return await fleet.watcher.until(
        lambda: next((each for each in fleet.watcher.manifests if each.provider == "planner"), None), "manifest"
    )


async def test_an_offered_model_is_taken_and_served_to_several_devices(broker: EmbeddedBroker, tmp_path: Path) -> None:
    async with open_fleet(broker.settings) as fleet, provider(broker) as publisher, planner(broker, tmp_path):
        await fleet.watcher.planner()
        publisher.damaged = {0, 3 * PULL_BYTES}
        await offer(fleet)
        taken = await in_library(fleet)
        assert taken == manifest()
        assert len(publisher.pulls) == 12
        async with asyncio.timeout(60.0):
            paths = await asyncio.gather(
                *(
                    fetch_model(broker.settings, taken, receiver=name, path=tmp_path / name / "net.onnx")
                    for name in ("pi", "jetson", "laptop")
                )
            )
        assert all(path.read_bytes() == DATA for path in paths)
        assert [path.name for path in (tmp_path / "pi").iterdir()] == ["net.onnx"]


async def test_a_planner_that_is_killed_resumes_the_upload(broker: EmbeddedBroker, tmp_path: Path) -> None:
    async with open_fleet(broker.settings) as fleet, provider(broker) as publisher:
        publisher.stop_after = 6
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(SCRIPT), broker.settings.address, str(tmp_path)
        )
        try:
            await fleet.watcher.planner()
            await offer(fleet)
            await asyncio.wait_for(publisher.stopped.wait(), 60.0)
        finally:
            process.kill()
            await asyncio.wait_for(process.wait(), 60.0)
        before = {pull.offset for pull in publisher.pulls}
        publisher.pulls.clear()
        publisher.stop_after = None
        fleet.watcher.services.clear()
        async with planner(broker, tmp_path):
            await fleet.watcher.planner()
            await offer(fleet)
            await in_library(fleet)
        again = {pull.offset for pull in publisher.pulls}
        assert len(again) <= 7
        assert len(before | again) == 10


async def test_the_library_outlives_the_planner(broker: EmbeddedBroker, tmp_path: Path) -> None:
    async with open_fleet(broker.settings) as fleet, provider(broker):
        async with planner(broker, tmp_path):
            await fleet.watcher.planner()
            await offer(fleet)
            await in_library(fleet)
        fleet.watcher.manifests.clear()
        async with planner(broker, tmp_path):
            taken = await in_library(fleet)
            path = await fetch_model(broker.settings, taken, receiver="pi", path=tmp_path / "pi.onnx")
            assert path.read_bytes() == DATA


async def test_wrong_bytes_are_fetched_twice_and_then_refused(broker: EmbeddedBroker, tmp_path: Path) -> None:
    async with open_fleet(broker.settings) as fleet, provider(broker) as publisher, planner(broker, tmp_path):
        await fleet.watcher.planner()
        publisher.wrong = True
        await offer(fleet)
        event = await fleet.watcher.event(EventKind.FAILURE)
        assert "SHA-256" in event.text
        assert len(publisher.pulls) == 20
        assert fleet.watcher.manifests == []


async def test_a_receiver_that_is_cancelled_resumes(broker: EmbeddedBroker, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    async with provider(broker) as publisher:
        publisher.stop_after = 5
        fetching = asyncio.create_task(
            fetch_model(broker.settings, manifest(), receiver="pi", path=path, provider="publisher")
        )
        await asyncio.wait_for(publisher.stopped.wait(), 60.0)
        fetching.cancel()
        await asyncio.wait([fetching], timeout=10.0)
        publisher.pulls.clear()
        publisher.stop_after = None
        progress: list[int] = []
        await fetch_model(
            broker.settings,
            manifest(),
            receiver="pi",
            path=path,
            provider="publisher",
            on_progress=lambda done, size: progress.append(done),
        )
        assert path.read_bytes() == DATA
        assert len({pull.offset for pull in publisher.pulls}) < 10
        assert progress == sorted(progress)
        assert progress[-1] == len(DATA)
        assert progress[0] > 2 * PULL_BYTES


async def test_a_provider_that_is_gone_is_an_error_of_one_line(broker: EmbeddedBroker, tmp_path: Path) -> None:
    with pytest.raises(ModelTransferError, match="cannot fetch model net from nobody: the provider has not answered"):
        await fetch_model(
            broker.settings, manifest(), receiver="pi", path=tmp_path / "x", provider="nobody", stall_s=0.05
        )


async def test_a_model_that_the_provider_lacks_is_refused(broker: EmbeddedBroker, tmp_path: Path) -> None:
    async with Connection.open(broker.settings) as bulk:
        task = asyncio.create_task(serve_models(bulk, "empty", lambda model: None))
        with pytest.raises(ModelTransferError, match="does not have this model"):
            await fetch_model(
                broker.settings, manifest(), receiver="pi", path=tmp_path / "x", provider="empty", stall_s=0.5
            )
        task.cancel()
        await asyncio.wait([task])


async def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(broker: EmbeddedBroker, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ModelTransferError, match="cannot store model net"):
        await fetch_model(broker.settings, manifest(), receiver="pi", path=tmp_path / "file" / "x")
