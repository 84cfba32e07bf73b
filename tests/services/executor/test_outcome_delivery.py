"""Outcomes on their way to the source, over a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from broker.embedded import EmbeddedBroker
from services.executor.outbox import Outbox
from services.executor.outcome_delivery import OutcomeDelivery
from services.executor.results import ModelResult, make_outcome
from shared.bus import topics
from shared.bus.connection import Connection, Received
from shared.messages.requests import (
    JSON_CONTENT,
    MSGPACK_CONTENT,
    AttemptOutcome,
    FeatureMapHeader,
    Outcome,
    OutputTensor,
)
from shared.messages.streams import PlanStage

RESULT = ModelResult(outputs=(OutputTensor(name="y", dtype="uint8", shape=(4000,), data=bytes(4000)),))


def header(**changes: Any) -> FeatureMapHeader:
    fields = {
        "transfer_id": "",
        "sender": "me",
        "request_id": "r",
        "stream": "s",
        "model": "a" * 64,
        "epoch": 1,
        "attempt": 2,
        "stages": (PlanStage(start=0, stop=1, device="me"),),
        "stage": 0,
        "tensors": (),
        "source": "other",
        "accepted_at_s": 0.0,
        "dispatched_at_s": 0.0,
        "accept": MSGPACK_CONTENT,
        "response_topic": "segue/v1/replies/app",
        "correlation_data": b"7",
        "outcome_to_source": True,
    }
    return FeatureMapHeader(**(fields | changes))


@dataclass
class Bench:
    """The delivery of the device `me`, and everything that it publishes."""

    delivery: OutcomeDelivery
    ear: Connection

    async def deliver(self, **changes: Any) -> None:
        attempt = header(**changes)
        await self.delivery.deliver(attempt, make_outcome(attempt, RESULT, (), 0.0))

    async def published(self) -> dict[str, Received]:
        """Return what was published, by topic."""
        outbox = self.delivery.outbox
        await outbox.drain()
        await outbox.connection.publish("end", b"")
        found: dict[str, Received] = {}
        async for received in self.ear:
            if received.topic == "end":
                return found
            found[received.topic] = received
        raise AssertionError("unreachable")


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        settings = (await stack.enter_async_context(EmbeddedBroker())).settings
        ear = await stack.enter_async_context(Connection.open(settings))
        await ear.subscribe("#")
        outbox = Outbox("me", await stack.enter_async_context(Connection.open(settings)))
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            task = group.create_task(outbox.run())
            yield Bench(OutcomeDelivery(outbox), ear)
            task.cancel()


async def test_only_the_source_gets_the_outcome(bench: Bench) -> None:
    await bench.deliver()
    ((topic, received),) = (await bench.published()).items()
    assert topic == topics.outcomes("other")
    outcome = AttemptOutcome.decode(received.payload)
    assert (outcome.request_id, outcome.attempt, outcome.outputs) == ("r", 2, RESULT.outputs)
    assert received.properties.content_type == MSGPACK_CONTENT


async def test_a_source_of_an_earlier_release_finds_it_on_the_results_topic(bench: Bench) -> None:
    await bench.deliver(outcome_to_source=False)
    found = await bench.published()
    assert set(found) == {topics.results("s"), topics.replies("app")}
    assert {bytes(received.payload) for received in found.values()} == {found[topics.results("s")].payload}
    assert found[topics.replies("app")].properties.correlation_data == b"7"


async def test_a_source_on_this_device_is_asked_without_the_broker(bench: Bench) -> None:
    taken: list[tuple[Outcome, bytes, str]] = []

    async def take(outcome: Outcome, payload: bytes, content_type: str) -> None:
        taken.append((outcome, payload, content_type))

    bench.delivery.subscribe(take)
    await bench.deliver(source="me", accept=JSON_CONTENT)
    assert await bench.published() == {}
    ((outcome, payload, content_type),) = taken
    assert Outcome.decode(payload) == outcome
    assert content_type == JSON_CONTENT


async def test_an_outcome_too_large_for_the_broker_reaches_its_source_without_outputs(bench: Bench) -> None:
    connection = bench.delivery.outbox.connection
    connection.settings = replace(connection.settings, max_payload_bytes=3000)
    await bench.deliver()
    outcome = AttemptOutcome.decode((await bench.published())[topics.outcomes("other")].payload)
    assert outcome.outputs == ()
    assert "the broker accepts at most 3000" in outcome.error
