"""A source between a real journal and a real broker; the test plays the pipeline."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from services.executor.outbox import Outbox
from services.executor.segments.segment import REQUEST_TENSOR
from services.executor.source.journal import StoredOutcome
from services.executor.source.journal_thread import JournalThread
from services.executor.source.outcome_log import MAX_LOGGED_BYTES
from services.executor.source.source_events import (
    AttemptRefused,
    OutcomeSeen,
    PlanCommitted,
    Request,
    StreamWithdrawn,
    Undispatchable,
)
from services.executor.source.state import SourceState
from services.executor.source.stream_source import _MAY_COME_AGAIN, StreamSource
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.mqtt.properties import Properties
from shared.messages.requests import JSON_CONTENT, ErrorCause, Outcome, OutcomeStatus
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage
from tests.support.large_outputs import output_sender
from tests.support.recording_pipeline import RecordingPipeline

# How long nothing must happen while the journal cannot be written.
BLOCKED_S = 0.3
_PAYLOAD = Outcome(request_id="a", stream="s", status=OutcomeStatus.OK, attempt=1).encode_json()
RESULT = OutcomeSeen("a", 1, True, _PAYLOAD, JSON_CONTENT)


def plan(max_in_flight: int = 1) -> PlanCommitted:
    return PlanCommitted(
        CommittedPlan(
            stream="s",
            epoch=1,
            model="a" * 64,
            source="d",
            strategy="test",
            routes=(PlanRoute(stages=(PlanStage(start=0, stop=1, device="d"),)),),
            max_in_flight=max_in_flight,
        )
    )


@dataclass
class Bench:
    """A running source, its pipeline, and a connection that hears its results."""

    source: StreamSource
    pipeline: RecordingPipeline
    outbox: Outbox
    broker: EmbeddedBroker
    ear: Connection
    journal_path: Path

    async def submit(self, request_id: str) -> asyncio.Event:
        acknowledged = asyncio.Event()
        properties = Properties(user={"request_id": request_id})
        await self.source.submit(request_id.encode(), properties, acknowledged.set)
        return acknowledged

    @contextmanager
    def journal_blocked(self) -> Iterator[None]:
        """Hold the database's write lock, so that nothing can be written to the journal."""
        with closing(sqlite3.connect(self.journal_path, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            yield
            database.execute("ROLLBACK")

    def attempts(self, request_id: str) -> list[int]:
        """Return the number of attempts on disk; empty if the request is not there."""
        with closing(sqlite3.connect(self.journal_path)) as database:
            rows = database.execute("SELECT attempt FROM requests WHERE request_id = ?", (request_id,)).fetchall()
        return [row[0] for row in rows]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    path = tmp_path / "journal.db"
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker())
        connection = await stack.enter_async_context(Connection.open(broker.settings))
        ear = await stack.enter_async_context(Connection.open(broker.settings))
        for topic in (topics.results("s"), topics.replies("app")):
            await ear.subscribe(topic)
        journal = await stack.enter_async_context(JournalThread.open(path))
        outbox, pipeline = Outbox("d", connection), RecordingPipeline()
        source = StreamSource(
            "s",
            state=SourceState("d"),
            settings=broker.settings,
            journal=journal,
            outbox=outbox,
            outputs=output_sender(connection),
            pipeline=pipeline,
        )
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            tasks = [group.create_task(source.run()), group.create_task(outbox.run())]
            yield Bench(source, pipeline, outbox, broker, ear, path)
            for task in tasks:
                task.cancel()


async def test_what_may_come_again_after_a_crash_is_dispatched_only_once_the_journal_has_it(bench: Bench) -> None:
    await bench.source.post(plan())
    with bench.journal_blocked():
        acknowledged = await bench.submit("a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(BLOCKED_S):
                await acknowledged.wait()
        assert bench.pipeline.dispatched.empty()
    await acknowledged.wait()
    sent = await bench.pipeline.dispatched.get()
    assert (sent.header.request_id, sent.header.attempt) == ("a", 1)
    assert sent.tensors[REQUEST_TENSOR].tobytes() == b"a"  # type: ignore[union-attr]
    assert bench.attempts("a") == [1]


async def test_a_first_attempt_goes_out_while_the_journal_is_written(bench: Bench) -> None:
    await bench.source.post(plan())
    for number in range(_MAY_COME_AGAIN):
        await (await bench.submit(f"r{number}")).wait()
        await bench.pipeline.dispatched.get()
        await bench.source.post(replace(RESULT, request_id=f"r{number}"))
        await anext(bench.ear)
    with bench.journal_blocked():
        acknowledged = await bench.submit("a")
        sent = await bench.pipeline.dispatched.get()
        await bench.source.post(RESULT)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(BLOCKED_S):
                await anext(bench.ear)
        assert not acknowledged.is_set()
    assert (sent.header.request_id, sent.header.attempt) == ("a", 1)
    await acknowledged.wait()
    assert bytes((await anext(bench.ear)).payload) == RESULT.payload


async def test_a_retry_goes_out_only_once_the_journal_counts_it(bench: Bench) -> None:
    await bench.source.post(plan())
    await bench.submit("a")
    await bench.pipeline.dispatched.get()
    with bench.journal_blocked():
        await bench.source.post(AttemptRefused("a", 1, "a hole"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(BLOCKED_S):
                await bench.pipeline.dispatched.get()
    assert (await bench.pipeline.dispatched.get()).header.attempt == 2
    assert bench.attempts("a") == [2]


async def test_an_outcome_is_published_while_the_journal_is_written_and_is_in_it_after_a_crash(bench: Bench) -> None:
    await (await bench.submit("a")).wait()
    with bench.journal_blocked():
        await bench.source.post(StreamWithdrawn())
        published = await anext(bench.ear)
        assert bench.attempts("a") == [0]
        copied = bench.journal_path.with_name("copy.db")
        for suffix in ("", "-wal", "-outcomes"):
            shutil.copy(f"{bench.journal_path}{suffix}", f"{copied}{suffix}")
    outcome = Outcome.decode(published.payload)
    assert (outcome.request_id, outcome.cause) == ("a", ErrorCause.EXECUTION)
    async with JournalThread.open(copied) as after:
        stored = await after.read(lambda journal: journal.outcome("s", "a"))
    assert stored == StoredOutcome(bytes(published.payload), JSON_CONTENT)


async def test_a_large_result_is_published_only_once_the_journal_has_it(bench: Bench) -> None:
    large = replace(RESULT, payload=_PAYLOAD + b" " * MAX_LOGGED_BYTES)
    await bench.source.post(plan())
    await bench.submit("a")
    await bench.pipeline.dispatched.get()
    with bench.journal_blocked():
        await bench.source.post(large)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(BLOCKED_S):
                await anext(bench.ear)
    assert bytes((await anext(bench.ear)).payload) == large.payload
    assert bench.attempts("a") == []


async def test_after_an_error_neither_a_later_result_nor_a_repetition_brings_another_outcome(bench: Bench) -> None:
    await bench.source.post(plan())
    await bench.submit("a")
    await bench.pipeline.dispatched.get()
    await bench.source.post(Undispatchable("a", "gone"))
    error = await anext(bench.ear)
    assert Outcome.decode(error.payload).status is OutcomeStatus.ERROR
    await bench.source.post(RESULT)
    await (await bench.submit("a")).wait()
    assert bytes((await anext(bench.ear)).payload) == bytes(error.payload)
    await bench.source.drain()
    assert bench.ear.waiting == 0


async def test_what_the_broker_has_is_noted_in_the_journal(bench: Bench) -> None:
    await bench.source.post(plan())
    await bench.submit("a")
    await bench.pipeline.dispatched.get()
    await bench.source.post(RESULT)
    await bench.source.drain()
    # `drain` of the outbox returns when the broker has acknowledged what was in it.
    await bench.outbox.drain()
    await bench.source.drain()
    with closing(sqlite3.connect(bench.journal_path)) as database:
        assert database.execute("SELECT request_id FROM outcomes").fetchall() == [("a",)]
        assert database.execute("SELECT request_id FROM unpublished").fetchall() == []


class TestAfterACrashBeforeThePublication:
    @pytest.fixture
    async def earlier(self, tmp_path: Path) -> None:
        request = Request("a", 1, 0.0, response_topic="segue/v1/replies/app", correlation_data=b"7")
        async with JournalThread.open(tmp_path / "journal.db") as journal:
            outcome = StoredOutcome(RESULT.payload, RESULT.content_type)
            await journal.write(lambda opened: opened.finish("s", request, outcome, opened.clock.now_s()))

    @pytest.mark.usefixtures("earlier")
    async def test_the_outcome_is_published_on_both_topics_without_a_collector(self, bench: Bench) -> None:
        found = [await anext(bench.ear), await anext(bench.ear)]
        assert {received.topic for received in found} == {topics.results("s"), topics.replies("app")}
        assert {bytes(received.payload) for received in found} == {RESULT.payload}


async def test_a_repeated_request_is_acknowledged_and_its_outcome_published_again(bench: Bench) -> None:
    await (await bench.submit("a")).wait()
    await bench.source.post(StreamWithdrawn())
    first = await anext(bench.ear)
    await (await bench.submit("a")).wait()
    assert bytes((await anext(bench.ear)).payload) == bytes(first.payload)


async def test_more_requests_than_the_broker_sends_at_once_are_taken_over_after_a_restart(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The embedded broker sends 100 unacknowledged messages of a resumed session, and only then answers."""
    names = [f"r{number}" for number in range(150)]
    settings = bench.broker.settings
    async with Connection.open(
        settings, client_id="segue-intake-d-s", persistent_session=True, manual_ack=True
    ) as earlier:
        await earlier.subscribe(topics.requests("s"))
    async with Connection.open(settings) as application:
        for name in names:
            await application.publish(topics.requests("s"), b"x", properties=Properties(user={"request_id": name}))
    await bench.source.post(plan(max_in_flight=len(names)))
    bench.source.set_intake(True)
    sent = [await bench.pipeline.dispatched.get() for _ in names]
    assert [feature_map.header.request_id for feature_map in sent] == names
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
