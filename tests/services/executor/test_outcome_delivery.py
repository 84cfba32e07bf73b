"""Outcomes on their way to the source, over a real broker."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from broker.embedded import EmbeddedBroker
from services.executor.outbox import Outbox
from services.executor.outcome_delivery import OutcomeDelivery
from services.executor.results import ModelResult, OutputData, make_outcome
from shared.bus import topics
from shared.bus.connection import Connection, Received
from shared.large_outcomes import LARGE_OUTCOME_CONTENT, OutcomeAssembler, decode_large_outcome
from shared.messages.requests import (
    JSON_CONTENT,
    MSGPACK_CONTENT,
    AttemptOutcome,
    FeatureMapHeader,
    Outcome,
    OutputTensor,
)
from shared.messages.streams import PlanStage
from tests.support.large_outputs import outcome_delivery

OUTPUT = OutputTensor(name="y", dtype="uint8", shape=(4000,), data=bytes(range(250)) * 16)
RESULT = ModelResult(outputs=(OutputData(OUTPUT.name, OUTPUT.dtype, OUTPUT.shape, memoryview(OUTPUT.data)),))


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
        await self.delivery.deliver(attempt, make_outcome(attempt, RESULT, (), 0.0), RESULT.outputs)

    async def heard(self) -> AsyncIterator[Received]:
        """Yield what was published."""
        outbox = self.delivery.outbox
        await outbox.drain()
        await outbox.connection.publish("end", b"")
        async for received in self.ear:
            if received.topic == "end":
                return
            yield received

    async def published(self) -> dict[str, Received]:
        """Return what was published, by topic."""
        return {received.topic: received async for received in self.heard()}


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        settings = (await stack.enter_async_context(EmbeddedBroker())).settings
        ear = await stack.enter_async_context(Connection.open(settings))
        await ear.subscribe("#")
        outbox = Outbox("me", await stack.enter_async_context(Connection.open(settings)))
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            task = group.create_task(outbox.run())
            yield Bench(outcome_delivery(outbox), ear)
            task.cancel()


async def test_only_the_source_gets_the_outcome(bench: Bench) -> None:
    await bench.deliver()
    ((topic, received),) = (await bench.published()).items()
    assert topic == topics.outcomes("other")
    outcome = AttemptOutcome.decode(received.payload)
    assert (outcome.request_id, outcome.attempt, outcome.outputs) == ("r", 2, (OUTPUT,))
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


def small_messages(bench: Bench) -> None:
    """Let the connection refuse messages of more than 3000 bytes, as a broker with small packets does."""
    connection = bench.delivery.outbox.connection
    connection.settings = replace(connection.settings, max_payload_bytes=3000)


def assembled(received: Sequence[Received]) -> Outcome:
    """Return the outcome in chunks."""
    assembler = OutcomeAssembler()
    (found,) = filter(None, (assembler.add(each.payload, "s", each.user["request_id"], 0.0) for each in received))
    return found.whole()


async def test_outputs_too_large_for_the_broker_reach_the_source_before_their_outcome(bench: Bench) -> None:
    small_messages(bench)
    await bench.deliver()
    await bench.deliver(request_id="other")
    *chunks, second = [received async for received in bench.heard()]
    first = next(each for each in chunks if each.topic == topics.outcomes("other"))
    chunks.remove(first)
    topic = topics.outcome_chunks("other")
    assert {each.topic for each in chunks} == {topic}
    assert assembled([each for each in chunks if each.user["request_id"] == "r"]).outputs == (OUTPUT,)
    assert {each.user["stream"] for each in chunks} == {"s"}
    outcome = AttemptOutcome.decode(first.payload)
    assert (first.topic, outcome.outputs, outcome.error) == (topics.outcomes("other"), (), "")
    assert outcome.transfer is not None
    assert outcome.transfer != AttemptOutcome.decode(second.payload).transfer


async def test_a_source_of_an_earlier_release_does_not_publish_outputs_either(bench: Bench) -> None:
    small_messages(bench)
    await bench.deliver(outcome_to_source=False)
    *chunks, reply, result = [received async for received in bench.heard()]
    assert {each.topic for each in chunks} == {topics.outputs("s")}
    assert assembled(chunks).outputs == (OUTPUT,)
    assert (reply.topic, result.topic) == (topics.replies("app"), topics.results("s"))
    assert "are on streams/s/outputs, in chunks" in Outcome.decode(result.payload).error


async def test_a_source_on_this_device_takes_large_outputs_within_its_memory(bench: Bench) -> None:
    taken: list[tuple[Outcome, bytes, str]] = []

    async def take(outcome: Outcome, payload: bytes, content_type: str) -> None:
        taken.append((outcome, payload, content_type))

    small_messages(bench)
    bench.delivery.subscribe(take)
    await bench.deliver(source="me")
    bench.delivery.limit_bytes = lambda: 4000
    await bench.deliver(source="me")
    assert await bench.published() == {}
    (_, frame, content_type), (outcome, payload, _) = taken
    assert content_type == LARGE_OUTCOME_CONTENT
    assert decode_large_outcome(frame).whole().outputs == (OUTPUT,)
    assert Outcome.decode(payload) == outcome
    assert re.fullmatch(r"outputs are left out: 4\d\d\d bytes, the source has memory for 4000", outcome.error)


async def test_a_json_result_too_large_for_the_broker_says_how_to_get_its_outputs(bench: Bench) -> None:
    small_messages(bench)
    await bench.deliver(accept=JSON_CONTENT)
    outcome = AttemptOutcome.decode((await bench.published())[topics.outcomes("other")].payload)
    assert (outcome.outputs, outcome.transfer) == ((), None)
    assert "the broker accepts at most 3000; ask for them with the user property accept=application/msgpack" in (
        outcome.error
    )
