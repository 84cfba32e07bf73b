"""Reading of requests, and their intake from a broker."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.embedded import EmbeddedBroker
from services.executor.outbox import Outbox
from services.executor.source.intake import RequestIntake, request_from_message
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.mqtt.properties import Properties
from shared.bus.settings import BusSettings
from shared.messages.requests import JSON_CONTENT, MSGPACK_CONTENT

REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}\Z")


def test_what_travels_beside_a_request_is_read() -> None:
    properties = Properties(
        correlation_data=b"c",
        response_topic="segue/v1/answers",
        user={"request_id": "r:1", "accept": MSGPACK_CONTENT, "traceparent": "00-ab"},
    )
    request = request_from_message(b"1234", properties, 7.0)
    assert (request.request_id, request.size_bytes, request.accepted_at_s) == ("r:1", 4, 7.0)
    assert (request.accept, request.response_topic) == (MSGPACK_CONTENT, "segue/v1/answers")
    assert (request.correlation_data, request.traceparent) == (b"c", "00-ab")


def test_the_id_is_the_property_then_the_correlation_then_made_here() -> None:
    assert request_from_message(b"", Properties(b"abc"), 0.0).request_id == "abc"
    assert request_from_message(b"", Properties(b"\x00\xff"), 0.0).request_id == "00ff"
    assert request_from_message(b"", Properties(b"abc", user={"request_id": "no good"}), 0.0).request_id == "abc"
    first, second = (request_from_message(b"", Properties(), 0.0).request_id for _ in range(2))
    assert first != second


def test_only_known_content_types_are_promised() -> None:
    assert request_from_message(b"", Properties(user={"accept": "text/html"}), 0.0).accept == JSON_CONTENT


@pytest.mark.parametrize("given_context", ["x" * 300, "00-ab\n", "", "00 ab"])
def test_a_trace_context_that_is_none_is_left_out(given_context: str) -> None:
    assert request_from_message(b"", Properties(user={"traceparent": given_context}), 0.0).traceparent is None


def test_a_request_expires_with_its_message_and_keeps_the_size_that_was_not_read() -> None:
    request = request_from_message(b"", Properties(expiry_s=3), 0.0, skipped_bytes=70_000_000)
    assert (request.lifetime_s, request.size_bytes) == (3, 70_000_000)


@given(st.binary(max_size=200), st.text(max_size=200))
def test_every_request_gets_an_id_that_messages_take(correlation: bytes, given_id: str) -> None:
    properties = Properties(correlation, user={"request_id": given_id})
    first, second = (request_from_message(b"", properties, 0.0).request_id for _ in range(2))
    assert REQUEST_ID.match(first)
    if correlation:
        assert first == second


async def test_a_paused_intake_leaves_what_is_published_with_the_broker() -> None:
    taken: asyncio.Queue[bytes] = asyncio.Queue()

    async def submit(
        payload: bytes, properties: Properties, acknowledge: Callable[[], None], *, skipped_bytes: int = 0
    ) -> None:
        acknowledge()
        await taken.put(payload)

    @asynccontextmanager
    async def running_intake(settings: BusSettings, outbox: Outbox) -> AsyncIterator[RequestIntake]:
        intake = RequestIntake("s", device="d", settings=settings, outbox=outbox, submit=submit)
        running = asyncio.ensure_future(intake.run())
        intake.set_enabled(True)
        yield intake
        running.cancel()
        await asyncio.wait({running})

    async with asyncio.timeout(30), EmbeddedBroker() as broker, Connection.open(broker.settings) as application:
        outbox = Outbox("d", application)
        async with running_intake(broker.settings, outbox) as intake:
            while taken.empty():
                await application.publish(topics.requests("s"), b"early")
            intake.pause()
            intake.set_enabled(True)
            # Round trips to the broker, within which an intake would have given up its subscription.
            for _ in range(5):
                await application.publish(topics.requests("s"), b"early")
        await application.publish(topics.requests("s"), b"while paused")
        async with running_intake(broker.settings, outbox):
            while await taken.get() != b"while paused":
                pass
