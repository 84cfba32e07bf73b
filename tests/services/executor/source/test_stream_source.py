import asyncio
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.embedded import EmbeddedBroker
from services.executor.feature_maps import FeatureMap
from services.executor.outbox import Outbox
from services.executor.source.journal_thread import JournalThread
from services.executor.source.source_events import PlanCommitted
from services.executor.source.state import SourceState
from services.executor.source.stream_source import StreamSource, parse_request
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.properties import Properties
from shared.messages.requests import JSON_CONTENT, MSGPACK_CONTENT
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage

REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}\Z")


def test_what_travels_beside_a_request_is_read() -> None:
    properties = Properties(
        correlation_data=b"c",
        response_topic="segue/v1/answers",
        user={"request_id": "r:1", "accept": MSGPACK_CONTENT, "traceparent": "00-ab"},
    )
    request = parse_request(b"1234", properties, 7.0)
    assert (request.request_id, request.size_bytes, request.accepted_at_s) == ("r:1", 4, 7.0)
    assert (request.accept, request.response_topic) == (MSGPACK_CONTENT, "segue/v1/answers")
    assert (request.correlation_data, request.traceparent) == (b"c", "00-ab")


def test_the_id_is_the_property_then_the_correlation_then_made_here() -> None:
    assert parse_request(b"", Properties(b"abc"), 0.0).request_id == "abc"
    assert parse_request(b"", Properties(b"\x00\xff"), 0.0).request_id == "00ff"
    assert parse_request(b"", Properties(b"abc", user={"request_id": "no good"}), 0.0).request_id == "abc"
    first, second = (parse_request(b"", Properties(), 0.0).request_id for _ in range(2))
    assert first != second


def test_only_known_content_types_are_promised() -> None:
    assert parse_request(b"", Properties(user={"accept": "text/html"}), 0.0).accept == JSON_CONTENT


def test_a_response_topic_with_wildcards_is_no_topic() -> None:
    assert parse_request(b"", Properties(response_topic="a/#"), 0.0).response_topic is None


@given(st.binary(max_size=200), st.text(max_size=200))
def test_every_request_gets_an_id_that_messages_take(correlation: bytes, given_id: str) -> None:
    properties = Properties(correlation, user={"request_id": given_id})
    first, second = (parse_request(b"", properties, 0.0).request_id for _ in range(2))
    assert REQUEST_ID.match(first)
    if correlation:
        assert first == second


async def test_more_requests_than_the_broker_sends_at_once_are_taken_over_after_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The embedded broker sends 100 unacknowledged messages of a resumed session, and only then answers."""
    count = 150
    dispatched: asyncio.Queue[str] = asyncio.Queue()
    stage = PlanStage(start=0, stop=1, device="d")
    plan = CommittedPlan(
        stream="s",
        epoch=1,
        model="a" * 64,
        source="d",
        strategy="test",
        routes=(PlanRoute(stages=(stage,)),),
        max_in_flight=count,
    )

    async def forward(feature_map: FeatureMap) -> None:
        await dispatched.put(feature_map.header.request_id)

    async with (
        asyncio.timeout(60),
        EmbeddedBroker() as broker,
        Connection.open(broker.settings) as connection,
        JournalThread.open(tmp_path / "journal.db") as journal,
        asyncio.TaskGroup() as group,
    ):
        intake = "segue-intake-d-s"
        async with Connection.open(
            broker.settings, client_id=intake, persistent_session=True, manual_ack=True
        ) as former_life:
            await former_life.subscribe(topics.requests("s"))
        names = [f"r{number}" for number in range(count)]
        for name in names:
            await connection.publish(topics.requests("s"), b"x", properties=Properties(user={"request_id": name}))
        source = StreamSource(
            "s",
            state=SourceState("d"),
            settings=broker.settings,
            journal=journal,
            outbox=Outbox("d", connection),
            forward=forward,
        )
        running = group.create_task(source.run())
        await source.tell(PlanCommitted(plan))
        source.want_intake(True)
        assert [await dispatched.get() for _ in names] == names
        running.cancel()
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
