"""The sources of a device with a real journal and a real broker; the test plays the pipeline."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from services.executor.observations import ObservationFeed
from services.executor.outbox import Outbox
from services.executor.source.journal_thread import JournalThread
from services.executor.source.output_receiver import OutputReceiver
from services.executor.source.source_events import Request, SourceLimits
from services.executor.source.sources import Sources
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.mqtt.properties import Properties
from shared.messages.alternatives import Alternatives, Threshold, ThresholdQuantity
from shared.messages.devices import DamageReport, Presence, State, TransferObservation
from shared.messages.events import Event, EventKind
from shared.messages.requests import ErrorCause, Outcome, OutcomeStatus
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage, StreamDeclaration
from tests.support.large_outputs import largest_result, outcome_delivery, output_sender
from tests.support.recording_pipeline import RecordingPipeline
from tests.support.task_groups import cancelled_at_the_end

MODEL = "a" * 64
DECLARED = StreamDeclaration(stream="s", model=MODEL, source="d")


def route(*devices: str) -> PlanRoute:
    cuts = (*range(len(devices)), 9)
    stages = tuple(PlanStage(start=cuts[n], stop=cuts[n + 1], device=device) for n, device in enumerate(devices))
    return PlanRoute(stages=stages)


def plan(*routes: PlanRoute) -> CommittedPlan:
    return CommittedPlan(stream="s", epoch=1, model=MODEL, source="d", strategy="test", routes=routes, max_in_flight=9)


@dataclass
class Bench:
    """Sources of the device `d`, and an application connected to the same broker."""

    sources: Sources
    pipeline: RecordingPipeline
    observations: ObservationFeed
    journal: JournalThread
    application: Connection

    async def request(self, request_id: str) -> None:
        properties = Properties(user={"request_id": request_id})
        await self.application.publish(topics.requests("s"), b"x", properties=properties)

    async def hear(self, topic: str) -> bytes:
        async for received in self.application:
            if received.topic == topic:
                return bytes(received.payload)
        raise AssertionError("unreachable")


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        settings = (await stack.enter_async_context(EmbeddedBroker())).settings
        application = await stack.enter_async_context(Connection.open(settings))
        for topic in (topics.results("s"), topics.events()):
            await application.subscribe(topic)
        # A session of the intake that exists already, so that requests are not lost before the intake subscribes.
        async with Connection.open(settings, client_id="segue-intake-d-s", persistent_session=True) as earlier:
            await earlier.subscribe(topics.requests("s"))
        control = await stack.enter_async_context(Connection.open(settings))
        journal = await stack.enter_async_context(JournalThread.open(tmp_path / "journal.db"))
        outbox, pipeline = Outbox("d", control), RecordingPipeline()
        observations = ObservationFeed(outbox)
        async with asyncio.timeout(60), cancelled_at_the_end() as group:
            group.create_task(outbox.run())
            sources = Sources(
                device="d",
                settings=settings,
                limits=SourceLimits(),
                journal=journal,
                outbox=outbox,
                pipeline=pipeline,
                observations=observations,
                outcomes=outcome_delivery(outbox),
                outputs=output_sender(outbox.connection),
                receiver=OutputReceiver(control, outbox, largest_result, largest_result()),
                group=group,
            )
            yield Bench(sources, pipeline, observations, journal, application)


async def test_what_was_retained_before_the_stream_was_declared_is_given_to_its_source(bench: Bench) -> None:
    await bench.sources.device_seen(Presence(device="gone", state=State.OFFLINE))
    await bench.sources.planned("t", plan(route("elsewhere")).model_copy(update={"stream": "t", "source": "elsewhere"}))
    await bench.sources.planned("s", plan(route("gone"), route("d")).model_copy(update={"source": "elsewhere"}))
    await bench.sources.declared("s", DECLARED)
    await bench.request("a")
    assert (await bench.pipeline.dispatched.get()).header.stages == route("d").stages


async def test_a_plan_begins_the_stream_whose_source_this_device_is(bench: Bench) -> None:
    await bench.sources.planned("s", plan(route("d")))
    await bench.request("a")
    assert await bench.pipeline.next_request() == "a"


async def test_streams_in_the_journal_go_on(bench: Bench) -> None:
    accepted = Request("a", 1, accepted_at_s=0.0)
    await bench.journal.write(lambda journal: journal.accept("s", accepted, b"x", journal.clock.now_s()))
    await bench.sources.resume()
    await bench.sources.planned("s", plan(route("d")).model_copy(update={"source": "elsewhere"}))
    assert await bench.pipeline.next_request() == "a"


async def test_an_outcome_ends_its_request_and_what_is_still_sent_of_it(bench: Bench) -> None:
    await bench.sources.planned("s", plan(route("d")))
    await bench.request("a")
    await bench.pipeline.next_request()
    outcome = Outcome(request_id="a", stream="s", status=OutcomeStatus.OK, model=MODEL, epoch=1, attempt=1)
    await bench.sources.outcome_seen(outcome, outcome.encode_json(), "application/json")
    assert bench.pipeline.cancelled == [("s", "a")]
    # A repeated request is answered from the journal, and not computed again.
    await bench.request("a")
    assert Outcome.decode(await bench.hear(topics.results("s"))).request_id == "a"
    assert bench.pipeline.dispatched.empty()


async def test_a_damaged_transfer_makes_its_source_try_again(bench: Bench) -> None:
    await bench.sources.planned("s", plan(route("d", "other")))
    await bench.request("a")
    await bench.pipeline.next_request()
    await bench.sources.attempt_refused(
        "other", DamageReport(stream="s", request_id="a", attempt=1, reason="a channel's scale is zero")
    )
    assert (await bench.pipeline.dispatched.get()).header.attempt == 2
    event = Event.decode(await bench.hear(topics.events()))
    assert event.kind is EventKind.REQUEST_RETRIED
    assert "other could not decode a feature map: a channel's scale is zero" in event.text


async def test_an_observation_of_the_device_reaches_its_sources(bench: Bench) -> None:
    threshold = Threshold(
        quantity=ThresholdQuantity.BANDWIDTH, device="d", target="other",
        value=50.0, low=11.0, high=500.0, leave_below=10.0, below=route("d"),
    )  # fmt: skip
    await bench.sources.planned("s", plan(route("d", "other")))
    await bench.sources.alternatives_known(Alternatives(stream="s", epoch=1, thresholds=(threshold,)))
    overdue = TransferObservation(device="d", target="other", size_bytes=100_000, elapsed_ms=500.0, finished=False)
    await bench.observations.publish(overdue)
    assert Event.decode(await bench.hear(topics.events())).kind is EventKind.SWITCHED
    await bench.request("a")
    assert (await bench.pipeline.dispatched.get()).header.stages == route("d").stages


async def test_a_withdrawn_stream_fails_what_waits(bench: Bench) -> None:
    await bench.sources.declared("s", DECLARED)
    source = await bench.sources.begin("s")
    accepted = asyncio.Event()
    await source.submit(b"x", Properties(user={"request_id": "a"}), accepted.set)
    await accepted.wait()
    await bench.sources.declared("s", None)
    outcome = Outcome.decode(await bench.hear(topics.results("s")))
    assert (outcome.request_id, outcome.cause) == ("a", ErrorCause.EXECUTION)


async def test_a_paused_device_accepts_what_has_come_but_dispatches_nothing(bench: Bench) -> None:
    await bench.sources.planned("s", plan(route("d")))
    source = await bench.sources.begin("s")
    await bench.sources.pause()
    accepted = asyncio.Event()
    await source.submit(b"x", Properties(user={"request_id": "a"}), accepted.set)
    await accepted.wait()
    assert bench.pipeline.dispatched.empty()
    await bench.sources.bus_changed(False)
    await bench.sources.bus_changed(True)
    assert await bench.pipeline.next_request() == "a"
