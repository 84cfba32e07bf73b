"""Executors as real processes behind a real broker; the test plays planner, application and collector."""

import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from broker.embedded import EmbeddedBroker
from services.cli.support.manifest import build_manifest
from services.executor.segments.engine import EngineSettings, load_session
from services.executor.segments.prepare import prepare
from shared.bus import topics
from shared.bus.connection import Connection, Received
from shared.bus.model_files.model_exchange import serve_models
from shared.bus.mqtt.properties import Properties
from shared.bus.settings import BusSettings
from shared.messages.control import (
    REPORTS,
    Prepare,
    Preparing,
    ProfileModel,
    Ready,
    Rejected,
    RejectionCause,
    SegmentRange,
)
from shared.messages.devices import OBSERVATIONS, EmulatedLink, Emulation, Presence, Profile, ServicePresence, State
from shared.messages.events import Event, EventKind
from shared.messages.models import Manifest, OutputKind, Preprocessing
from shared.messages.requests import (
    ACCEPT_PROPERTY,
    MSGPACK_CONTENT,
    REQUEST_ID_PROPERTY,
    Confirmation,
    ErrorCause,
    Outcome,
    OutcomeStatus,
)
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage, StreamDeclaration
from shared.model.architectures import build
from shared.model.onnx_file import write_onnx
from tests.support.shared_paths import REPOSITORY

WAIT_S = 30.0
PATIENCE_S = 10.0
STREAM = "camera"


@dataclass
class Fleet:
    """A broker, executors in processes, and a connection that hears everything."""

    settings: BusSettings
    data_dir: Path
    model_path: Path
    manifest: Manifest
    connection: Connection
    broker: EmbeddedBroker
    heard: list[Received] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    processes: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    epoch: int = 0
    submitted: dict[str, tuple[bytes, Properties]] = field(default_factory=dict)

    async def listen(self) -> None:
        async for received in self.connection:
            async with self.news:
                self.heard.append(received)
                self.news.notify_all()

    async def until(self, found: Callable[[], Any], what: str = "", wait_s: float = WAIT_S) -> Any:
        async with asyncio.timeout(wait_s), self.news:
            await self.news.wait_for(lambda: bool(found()))
            return found()

    def on(self, topic: str, decode: Callable[[bytes], Any]) -> list[Any]:
        return [
            decode(bytes(received.payload)) for received in self.heard if received.topic == topic and received.payload
        ]

    def outcomes(self, request_id: str | None = None) -> list[Outcome]:
        found = self.on(topics.results(STREAM), Outcome.decode)
        return [outcome for outcome in found if request_id in (None, outcome.request_id)]

    def events(self, kind: EventKind) -> list[Event]:
        return [event for event in self.on(topics.events(), Event.decode) if event.kind is kind]

    def presences(self, device: str) -> list[Presence]:
        return self.on(topics.presence(device), Presence.decode)

    async def start(self, device: str, *options: str) -> asyncio.subprocess.Process:
        """Start an executor in a process of its own and wait until it is there."""
        before = len([presence for presence in self.presences(device) if presence.state is State.ONLINE])
        arguments = ("executor", "--device", device, "--data-dir", str(self.data_dir), "--log-level", "info")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from services.cli.main import main; main()",
            *arguments,
            "--broker",
            self.settings.address,
            *options,
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONWARNINGS": "default"},
        )
        self.processes[device] = process
        await self.until(
            lambda: len([presence for presence in self.presences(device) if presence.state is State.ONLINE]) > before,
            device,
        )
        return process

    async def kill(self, device: str) -> None:
        process = self.processes.pop(device)
        process.send_signal(signal.SIGKILL)
        await asyncio.wait_for(process.wait(), WAIT_S)

    async def declare(self, source: str, *, live: bool = False) -> None:
        declaration = StreamDeclaration(stream=STREAM, model=self.manifest.model, source=source, live=live)
        await self.connection.publish(topics.stream(STREAM), declaration.encode(), retain=True)

    async def commit(self, *stages: tuple[int, int, str], prepare_first: bool = True, **changes: Any) -> CommittedPlan:
        """Prepare an epoch on its devices, then put its plan in force."""
        self.epoch += 1
        epoch = self.epoch
        route = PlanRoute(
            stages=tuple(PlanStage(start=a, stop=b, device=device) for a, b, device in stages), predicted_ms=20.0
        )
        if prepare_first:
            for device in {stage[2] for stage in stages}:
                await self.prepare(device, epoch, [(a, b) for a, b, where in stages if where == device])
            await self.until(lambda: len(self.ready(epoch)) == len({stage[2] for stage in stages}))
        fields: dict[str, Any] = {
            "stream": STREAM,
            "epoch": epoch,
            "model": self.manifest.model,
            "source": stages[0][2],
            "strategy": "test",
            "routes": (route,),
            "committed_at_s": float(epoch),
        }
        plan = CommittedPlan(**(fields | changes))
        await self.connection.publish(topics.plan(STREAM), plan.encode(), retain=True)
        return plan

    async def prepare(self, device: str, epoch: int, ranges: Sequence[tuple[int, int]]) -> None:
        segments = tuple(SegmentRange(start=start, stop=stop) for start, stop in ranges)
        command = Prepare(stream=STREAM, epoch=epoch, manifest=self.manifest, segments=segments)
        await self.connection.publish(topics.commands(device), command.encode())

    def ready(self, epoch: int) -> list[Ready]:
        return [report for report in self.reports() if isinstance(report, Ready) and report.epoch == epoch]

    def reports(self) -> list[Any]:
        return [
            REPORTS.decode(bytes(received.payload)) for received in self.heard if received.topic.endswith("/reports")
        ]

    def verdicts(self) -> list[Any]:
        return [report for report in self.reports() if not isinstance(report, Preparing)]

    async def submit(self, request_id: str, payload: bytes, **properties: Any) -> None:
        user = {REQUEST_ID_PROPERTY: request_id, ACCEPT_PROPERTY: MSGPACK_CONTENT}
        self.submitted[request_id] = payload, Properties(user=user, **properties)
        await self.connection.publish(topics.requests(STREAM), payload, properties=self.submitted[request_id][1])

    async def outcome(self, request_id: str) -> Outcome:
        """Wait for an outcome. Like an application, publish once more what came before its source was listening."""
        try:
            found: list[Outcome] = await self.until(lambda: self.outcomes(request_id), request_id, PATIENCE_S)
        except TimeoutError:
            payload, properties = self.submitted[request_id]
            await self.connection.publish(topics.requests(STREAM), payload, properties=properties)
            found = await self.until(lambda: self.outcomes(request_id), request_id)
        return found[0]

    def whole(self, payload: bytes) -> np.ndarray:
        """The answer of the model in one piece, in this process."""
        session = load_session(self.model_path.read_bytes(), EngineSettings())
        (output,) = session.run(prepare(payload, self.manifest)).values()
        return output


def photograph(seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def values_of(outcome: Outcome) -> np.ndarray:
    assert outcome.status is OutcomeStatus.OK, outcome.error
    (tensor,) = outcome.outputs
    return np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    model_path = tmp_path / "tiny.onnx"
    write_onnx(build("tiny"), model_path)
    manifest = build_manifest(
        model_path, preprocessing=Preprocessing(kind="image"), output=OutputKind.CLASSIFICATION, softmax=True
    )
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker())
        library = await stack.enter_async_context(Connection.open(broker.settings))
        connection = await stack.enter_async_context(Connection.open(broker.settings))
        fleet = Fleet(broker.settings, tmp_path / "data", model_path, manifest, connection, broker)
        for topic in (
            topics.presence.any,
            topics.reports.any,
            topics.results.any,
            topics.profiles.any,
            topics.events(),
            "devices/+/observations",
        ):
            await connection.subscribe(topic)
        await connection.publish(topics.manifest(manifest.model), manifest.encode(), retain=True)
        async with asyncio.TaskGroup() as group:
            locate = {manifest.model: model_path}.get
            tasks = [
                group.create_task(serve_models(library, "planner", locate)),
                group.create_task(fleet.listen()),
            ]
            try:
                yield fleet
            finally:
                for process in fleet.processes.values():
                    if process.returncode is None:
                        process.kill()
                    await process.wait()
                for task in tasks:
                    task.cancel()


async def test_one_device_answers_like_the_whole_model(fleet: Fleet) -> None:
    await fleet.start("alone")
    await fleet.declare("alone")
    await fleet.commit((0, len(fleet.manifest.blocks), "alone"))
    payload = photograph()
    await fleet.connection.subscribe("replies/me/answers")
    whole_topic = f"{fleet.settings.root}/replies/me/answers"
    await fleet.submit("first", payload, correlation_data=b"c", response_topic=whole_topic)
    outcome = await fleet.outcome("first")
    (answer,) = await fleet.until(
        lambda: [received for received in fleet.heard if received.topic == "replies/me/answers"]
    )
    assert answer.properties.correlation_data == b"c"
    assert Outcome.decode(answer.payload) == outcome
    np.testing.assert_allclose(values_of(outcome), fleet.whole(payload), rtol=1e-5, atol=1e-6)
    assert len(outcome.top) == 5
    assert [trace.device for trace in outcome.trace] == ["alone"]
    assert outcome.trace[0].compute_ms > 0
    assert outcome.input_bytes == len(payload)


async def test_two_devices_answer_like_the_whole_model(fleet: Fleet) -> None:
    await fleet.start("first")
    await fleet.start("second")
    last = len(fleet.manifest.blocks)
    await fleet.declare("first")
    await fleet.commit((0, 3, "first"), (3, last, "second"))
    payload = photograph(1)
    for number in range(5):
        await fleet.submit(f"r{number}", payload)
    outcomes = [await fleet.outcome(f"r{number}") for number in range(5)]
    for outcome in outcomes:
        np.testing.assert_allclose(values_of(outcome), fleet.whole(payload), rtol=1e-5, atol=1e-6)
        assert [trace.device for trace in outcome.trace] == ["first", "second"]
        assert outcome.trace[0].output_bytes == fleet.manifest.blocks[2].output_bytes
        assert outcome.trace[0].sent_at_s is not None
    transfers = await fleet.until(
        lambda: [
            observation
            for observation in fleet.on(topics.observations("first"), OBSERVATIONS.decode)
            if observation.kind == "transfer" and observation.finished
        ]
    )
    assert transfers[0].target == "second"
    assert transfers[0].size_bytes > fleet.manifest.blocks[2].output_bytes


async def test_a_route_may_begin_and_end_anywhere(fleet: Fleet) -> None:
    await fleet.start("camera")
    await fleet.start("server")
    last = len(fleet.manifest.blocks)
    await fleet.declare("camera")
    await fleet.commit((0, 1, "server"), (1, 2, "camera"), (2, 3, "camera"), (3, last, "server"), source="camera")
    payload = photograph(2)
    await fleet.submit("r", payload)
    outcome = await fleet.outcome("r")
    np.testing.assert_allclose(values_of(outcome), fleet.whole(payload), rtol=1e-5, atol=1e-6)
    assert [trace.device for trace in outcome.trace] == ["server", "camera", "camera", "server"]


async def test_a_codec_of_the_plan_encodes_what_is_sent(fleet: Fleet) -> None:
    await fleet.start("first")
    await fleet.start("second")
    last = len(fleet.manifest.blocks)
    await fleet.declare("first")
    plan = await fleet.commit((0, 3, "first"), (3, last, "second"))
    head, tail = plan.routes[0].stages
    route = PlanRoute(stages=(head.model_copy(update={"codec": "float16"}), tail))
    await fleet.commit((0, 3, "first"), (3, last, "second"), routes=(route,), epoch=2)
    payload = photograph(3)
    await fleet.submit("r", payload)
    outcome = await fleet.outcome("r")
    assert outcome.epoch == 2
    assert outcome.trace[0].codec == "float16"
    assert outcome.trace[0].output_bytes < fleet.manifest.blocks[2].output_bytes
    np.testing.assert_allclose(values_of(outcome), fleet.whole(payload), rtol=1e-2, atol=1e-2)


async def test_what_a_killed_device_held_is_tried_again_on_the_next_route(fleet: Fleet) -> None:
    await fleet.start("first")
    second = await fleet.start("second")
    last = len(fleet.manifest.blocks)
    await fleet.declare("first")
    await fleet.commit((0, 3, "first"), (3, last, "second"))
    await fleet.connection.subscribe(topics.inbox("second"))
    second.send_signal(signal.SIGSTOP)
    await fleet.submit("r", photograph())
    await fleet.until(
        lambda: [received for received in fleet.heard if received.topic == topics.inbox("second")], "feature map"
    )
    await fleet.kill("second")
    await fleet.until(lambda: fleet.events(EventKind.REQUEST_RETRIED), "retry")
    await fleet.commit((0, last, "first"))
    outcome = await fleet.outcome("r")
    assert outcome.status is OutcomeStatus.OK
    assert outcome.attempt > 1
    await fleet.submit("after", photograph())
    await fleet.outcome("after")
    assert len(fleet.outcomes("r")) == 1


async def test_a_source_that_was_killed_finishes_what_it_had_accepted(fleet: Fleet) -> None:
    await fleet.start("first")
    second = await fleet.start("second")
    last = len(fleet.manifest.blocks)
    await fleet.declare("first")
    await fleet.commit((0, 3, "first"), (3, last, "second"))
    await fleet.connection.subscribe(topics.inbox("second"))
    second.send_signal(signal.SIGSTOP)
    payload = photograph()
    await fleet.submit("r", payload)
    await fleet.until(
        lambda: [received for received in fleet.heard if received.topic == topics.inbox("second")], "feature map"
    )
    await fleet.kill("first")
    await fleet.kill("second")
    await fleet.start("first")
    await fleet.commit((0, last, "first"))
    outcome = await fleet.outcome("r")
    np.testing.assert_allclose(values_of(outcome), fleet.whole(payload), rtol=1e-5, atol=1e-6)
    assert outcome.attempt == 2


async def test_a_request_id_is_accepted_once_and_its_outcome_published_again(fleet: Fleet) -> None:
    await fleet.start("alone")
    await fleet.declare("alone")
    await fleet.commit((0, len(fleet.manifest.blocks), "alone"))
    await fleet.submit("same", photograph())
    first = await fleet.outcome("same")
    await fleet.submit("same", photograph(7))
    again = await fleet.until(lambda: fleet.outcomes("same")[1:], "published again")
    assert again == [first]


async def test_bad_input_is_an_error_at_once(fleet: Fleet) -> None:
    await fleet.start("alone")
    await fleet.declare("alone")
    await fleet.commit((0, len(fleet.manifest.blocks), "alone"))
    await fleet.submit("text", b"this is no image")
    await fleet.submit("cut", photograph()[:200])
    for request_id in ("text", "cut"):
        outcome = await fleet.outcome(request_id)
        assert (outcome.status, outcome.cause) == (OutcomeStatus.ERROR, ErrorCause.BAD_INPUT)
        assert outcome.attempt == 1


async def test_malformed_messages_are_reported_and_dropped(fleet: Fleet) -> None:
    await fleet.start("alone")
    for topic in (topics.inbox("alone"), topics.commands("alone"), topics.receipts("alone"), topics.stream("x")):
        await fleet.connection.publish(topic, b"\x00garbage")
    reported = {topics.inbox("alone"), topics.commands("alone"), topics.receipts("alone"), topics.stream("x")}
    await fleet.until(
        lambda: reported <= {t for t in reported for e in fleet.events(EventKind.BAD_MESSAGE) if t in e.text}
    )
    await fleet.declare("alone")
    await fleet.commit((0, len(fleet.manifest.blocks), "alone"))
    await fleet.submit("r", photograph())
    assert (await fleet.outcome("r")).status is OutcomeStatus.OK


async def test_segments_that_do_not_fit_are_rejected_with_the_reason(fleet: Fleet) -> None:
    await fleet.start("small", "--memory-mib", "1")
    huge = fleet.manifest.blocks[2].model_copy(update={"parameter_bytes": 2**30})
    fleet.manifest = fleet.manifest.model_copy(
        update={"blocks": (*fleet.manifest.blocks[:2], huge, *fleet.manifest.blocks[3:])}
    )
    await fleet.prepare("small", 1, [(0, 3)])
    await fleet.prepare("small", 2, [(0, 2)])
    rejected, ready = await fleet.until(lambda: len(fleet.verdicts()) == 2 and fleet.verdicts())
    assert isinstance(rejected, Rejected)
    assert (rejected.epoch, rejected.cause) == (1, RejectionCause.MEMORY)
    assert "1.0 MiB" in rejected.reason
    assert isinstance(ready, Ready)


async def test_a_model_that_nobody_has_is_rejected(fleet: Fleet) -> None:
    await fleet.start("alone")
    fleet.manifest = fleet.manifest.model_copy(update={"model": "0" * 64})
    await fleet.prepare("alone", 1, [(0, 3)])
    (rejected,) = await fleet.until(fleet.verdicts)
    assert isinstance(rejected, Rejected)
    assert isinstance(fleet.reports()[0], Preparing), "the device says at once that it has heard"
    assert rejected.cause is RejectionCause.MODEL_MISSING


async def test_profiles_are_measured_and_scaled_by_the_emulation(fleet: Fleet) -> None:
    emulation = Emulation(
        device="slow", slowdown=20.0, load_factor=3.0, links=(EmulatedLink(target="x", bandwidth_mbps=10.0),)
    )
    await fleet.connection.publish(topics.emulation("slow"), emulation.encode(), retain=True)
    await fleet.start("slow", "--emulated")
    command = ProfileModel(manifest=fleet.manifest)
    await fleet.connection.publish(topics.commands("slow"), command.encode())
    topic = topics.profiles("slow", fleet.manifest.model)
    (profile,) = await fleet.until(lambda: fleet.on(topic, Profile.decode))
    assert len(profile.block_ms) == len(fleet.manifest.blocks)
    assert min(profile.block_ms) >= 0 < sum(profile.block_ms)
    await fleet.declare("slow")
    await fleet.commit((0, len(fleet.manifest.blocks), "slow"))
    await fleet.submit("r", photograph())
    outcome = await fleet.outcome("r")
    idle_ms = sum(profile.block_ms) + profile.segment_overhead_ms
    assert outcome.trace[0].compute_ms >= 3.0 * idle_ms
    # On a busy machine the request may have been tried twice.
    observed, *_ = await fleet.until(lambda: fleet.on(topics.observations("slow"), OBSERVATIONS.decode))
    assert observed.idle_ms == pytest.approx(idle_ms)


async def test_the_profile_of_another_machine_of_this_name_is_replaced(fleet: Fleet) -> None:
    blocks = len(fleet.manifest.blocks)
    former = Profile(device="alone", model=fleet.manifest.model, block_ms=(1e6,) * blocks)
    topic = topics.profiles("alone", fleet.manifest.model)
    await fleet.connection.publish(topic, former.encode(), retain=True)
    await fleet.connection.publish(topics.manifest(fleet.manifest.model), fleet.manifest.encode(), retain=True)
    await fleet.start("alone")
    _, measured = await fleet.until(lambda: len(found := fleet.on(topic, Profile.decode)) == 2 and found)
    assert len(measured.block_ms) == blocks
    assert max(measured.block_ms) < 1e6


async def test_unconfirmed_outcomes_survive_and_confirmed_ones_are_quiet(fleet: Fleet) -> None:
    await fleet.start("alone")
    await fleet.declare("alone")
    await fleet.commit((0, len(fleet.manifest.blocks), "alone"))
    for request_id in ("a", "b"):
        await fleet.submit(request_id, photograph())
        await fleet.outcome(request_id)
    confirmation = Confirmation(collector="store", request_ids=("a",))
    await fleet.connection.publish(topics.confirmations(), confirmation.encode())
    # The next request's outcome follows the confirmation on the same connection.
    await fleet.submit("c", photograph())
    await fleet.outcome("c")
    await fleet.kill("alone")
    collector = ServicePresence(name="store", role="collector", state=State.ONLINE)
    await fleet.connection.publish(topics.service_presence("store"), collector.encode(), retain=True)
    await fleet.start("alone")
    await fleet.until(lambda: len(fleet.outcomes("b")) == 2 and len(fleet.outcomes("c")) == 2, "announced again")
    assert len(fleet.outcomes("a")) == 1


async def test_leaving_is_announced(fleet: Fleet) -> None:
    process = await fleet.start("alone")
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), WAIT_S) == 0
    await fleet.until(lambda: fleet.presences("alone")[-1].state is State.OFFLINE)


async def test_a_broker_that_dies_and_comes_back_empty_loses_no_accepted_request(fleet: Fleet) -> None:
    await fleet.start("first")
    second = await fleet.start("second")
    last = len(fleet.manifest.blocks)
    await fleet.declare("first")
    plan = await fleet.commit((0, 3, "first"), (3, last, "second"))
    await fleet.connection.subscribe(topics.inbox("second"))
    second.send_signal(signal.SIGSTOP)
    await fleet.submit("r", photograph())
    await fleet.until(
        lambda: [received for received in fleet.heard if received.topic == topics.inbox("second")], "feature map"
    )
    await fleet.broker.kill()
    second.send_signal(signal.SIGCONT)
    before = len(fleet.presences("first"))
    await fleet.broker.start()
    await fleet.until(lambda: len(fleet.presences("first")) > before, "announced again")
    # The outcome may be published before this test hears again: a collector makes the source repeat it.
    collector = ServicePresence(name="store", role="collector", state=State.ONLINE)
    await fleet.connection.publish(topics.service_presence("store"), collector.encode(), retain=True)
    await fleet.connection.publish(topics.manifest(fleet.manifest.model), fleet.manifest.encode(), retain=True)
    await fleet.declare("first")
    await fleet.connection.publish(topics.plan(STREAM), plan.encode(), retain=True)
    outcome = await fleet.outcome("r")
    assert outcome.status is OutcomeStatus.OK


async def test_images_of_a_watched_directory_become_requests(fleet: Fleet, tmp_path: Path) -> None:
    directory = tmp_path / "images"
    directory.mkdir()
    (directory / "one.jpg").write_bytes(photograph(1))
    (directory / "broken.png").write_bytes(b"no image")
    await fleet.start("camera", "--watch", f"{STREAM}={directory}")
    await fleet.declare("camera")
    await fleet.commit((0, len(fleet.manifest.blocks), "camera"))
    await fleet.until(lambda: len(fleet.outcomes()) == 2)
    status = {outcome.request_id.rsplit("-", 1)[0]: outcome.status for outcome in fleet.outcomes()}
    assert status == {"one": OutcomeStatus.OK, "broken": OutcomeStatus.ERROR}


async def test_a_live_source_takes_the_newest_frame(fleet: Fleet) -> None:
    await fleet.start("camera")
    server = await fleet.start("server")
    last = len(fleet.manifest.blocks)
    await fleet.declare("camera", live=True)
    # However long the server stands still on a busy machine, what waits for it is not given up.
    await fleet.commit((0, 3, "camera"), (3, last, "server"), live=True, max_in_flight=1, retry_limit=20)
    await fleet.submit("warm", photograph())
    await fleet.outcome("warm")
    server.send_signal(signal.SIGSTOP)
    # The source may hear of the first outcome after this test has: only a frame under way makes others wait.
    await fleet.connection.subscribe(topics.inbox("server"))
    await fleet.submit("a", photograph())
    await fleet.until(
        lambda: [received for received in fleet.heard if received.topic == topics.inbox("server")], "feature map"
    )
    for name in ("b", "c", "d"):
        await fleet.submit(name, photograph())
    for name in ("b", "c"):
        assert (await fleet.outcome(name)).cause is ErrorCause.SUPERSEDED
    server.send_signal(signal.SIGCONT)
    for name in ("a", "d"):
        assert (await fleet.outcome(name)).status is OutcomeStatus.OK


async def test_transfers_take_as_long_as_the_emulated_link(fleet: Fleet) -> None:
    link = EmulatedLink(target="second", bandwidth_mbps=1.0, latency_ms=20.0)
    emulation = Emulation(device="first", links=(link,))
    await fleet.connection.publish(topics.emulation("first"), emulation.encode(), retain=True)
    await fleet.start("first", "--emulated")
    await fleet.start("second", "--emulated")
    last = len(fleet.manifest.blocks)
    await fleet.declare("first")
    await fleet.commit((0, 2, "first"), (2, last, "second"))
    await fleet.submit("r", photograph())
    await fleet.outcome("r")
    observed, *_ = await fleet.until(
        lambda: [
            observation
            for observation in fleet.on(topics.observations("first"), OBSERVATIONS.decode)
            if observation.kind == "transfer" and observation.finished
        ]
    )
    assert observed.elapsed_ms >= link.latency_ms + 8 * observed.size_bytes / (1000 * link.bandwidth_mbps)


async def test_no_request_is_lost_while_source_and_server_are_killed_again_and_again(fleet: Fleet) -> None:
    collector = ServicePresence(name="store", role="collector", state=State.ONLINE)
    await fleet.connection.publish(topics.service_presence("store"), collector.encode(), retain=True)
    await fleet.start("first")
    await fleet.start("second")
    last = len(fleet.manifest.blocks)
    await fleet.declare("first")
    await fleet.commit((0, 3, "first"), (3, last, "second"), retry_limit=20)
    names = [f"r{number}" for number in range(60)]
    payload = photograph()

    def done() -> set[str]:
        return {outcome.request_id for outcome in fleet.outcomes()}

    def has_done(count: int) -> bool:
        return len(done()) >= count

    async with asyncio.TaskGroup() as group:

        async def publish() -> None:
            for name in names:
                await fleet.submit(name, payload)

        group.create_task(publish())
        for count, victim in ((5, "first"), (20, "second"), (35, "first"), (45, "second")):
            await fleet.until(partial(has_done, count), f"{count} outcomes")
            await fleet.kill(victim)
            await fleet.start(victim)
    await fleet.until(lambda: done() == set(names), "all outcomes")
    assert {outcome.status for outcome in fleet.outcomes()} == {OutcomeStatus.OK}
    assert len({outcome.outputs for outcome in fleet.outcomes()}) == 1
