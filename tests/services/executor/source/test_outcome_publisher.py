"""Outcomes from the journal, with and without their large outputs, over a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from broker.mosquitto import MosquittoBroker
from services.executor.outbox import Outbox
from services.executor.source.journal import StoredOutcome
from services.executor.source.outcome_publisher import OutcomePublisher
from services.executor.source.source_events import Republish
from shared.bus import topics
from shared.bus.connection import Connection, Received
from shared.large_outcomes import LARGE_OUTCOME_CONTENT, OutcomeAssembler, encode_large_outcome, transfer_id_of
from shared.messages.requests import JSON_CONTENT, MSGPACK_CONTENT, Outcome, OutcomeStatus, TensorHeader
from tests.support.large_outputs import output_sender
from tests.support.task_groups import cancelled_at_the_end

DATA = bytes(range(256)) * 1000
PLAIN = Outcome(request_id="r", stream="s", status=OutcomeStatus.OK, attempt=1, completed_at_s=3.0)
TENSOR = TensorHeader(name="y", dtype="uint8", shape=(len(DATA),), size_bytes=len(DATA))
LARGE = StoredOutcome(b"".join(map(bytes, encode_large_outcome(PLAIN, [(TENSOR, DATA)]))), LARGE_OUTCOME_CONTENT)
COMMAND = Republish("r", "segue/v1/replies/app", b"c")


@dataclass
class Bench:
    publisher: OutcomePublisher
    ear: Connection

    async def hear(self) -> tuple[list[Received], Received, Received]:
        """Return the chunks, the reply and the result."""
        heard: list[Received] = []
        while not heard or heard[-1].topic != topics.results("s"):
            heard.append(await anext(self.ear))
        *chunks, reply, result = heard
        return chunks, reply, result


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    async with (
        asyncio.timeout(60),
        MosquittoBroker(max_packet_bytes=20_000) as broker,
        Connection.open(broker.settings) as connection,
        Connection.open(broker.settings) as ear,
        cancelled_at_the_end() as group,
    ):
        await ear.subscribe("#")
        outbox = Outbox("d", connection)
        group.create_task(outbox.run())

        async def again(command: Republish) -> None:
            await publisher.publish(command, LARGE)

        publisher = OutcomePublisher("s", outbox, output_sender(connection), group, again)
        yield Bench(publisher, ear)


async def test_an_outcome_without_large_outputs_is_published_as_it_is_stored() -> None:
    async with bench() as opened:
        stored = StoredOutcome(PLAIN.encode_json(), JSON_CONTENT)
        await opened.publisher.publish(COMMAND, stored, "00-trace")
        chunks, reply, result = await opened.hear()
        assert chunks == []
        for received in (reply, result):
            assert (received.payload, received.properties.content_type) == (stored.payload, JSON_CONTENT)
            assert (received.properties.correlation_data, received.user["traceparent"]) == (b"c", "00-trace")
        await opened.publisher.outbox.drain()
        assert opened.publisher.take_published() == ("r",)
        assert opened.publisher.take_published() == ()


async def test_large_outputs_go_before_their_result_and_only_where_they_are_wanted() -> None:
    async with bench() as opened:
        await opened.publisher.publish(COMMAND, LARGE)
        # The same request while its outputs are under way: they are not sent twice.
        await opened.publisher.publish(COMMAND, LARGE)
        chunks, reply, result = await opened.hear()
        assert len(chunks) == 13
        assert {(each.topic, each.user["request_id"]) for each in chunks} == {(topics.outputs("s"), "r")}
        assembler = OutcomeAssembler()
        (assembled,) = filter(None, (assembler.add(each.payload, "s", "r", 0.0) for each in chunks))
        assert assembled.whole().outputs[0].data == DATA
        announced = Outcome.decode(result.payload)
        assert announced.transfer is not None
        assert announced.transfer.transfer_id == transfer_id_of(PLAIN).hex()
        assert announced.error == f"outputs of {len(LARGE.payload)} bytes are on streams/s/outputs, in chunks"
        assert (reply.payload, result.properties.content_type) == (result.payload, MSGPACK_CONTENT)
        await opened.publisher.publish(Republish("r", COMMAND.response_topic, b"c", with_outputs=False), LARGE)
        chunks, _, again = await opened.hear()
        assert (chunks, again.payload) == ([], result.payload)


async def test_outputs_that_find_no_place_follow_at_once() -> None:
    async with bench() as opened:
        names = [f"r{number}" for number in range(6)]
        for name in names:
            await opened.publisher.publish(Republish(name), LARGE)
        heard: list[str] = []
        while len(heard) < len(names):
            received = await anext(opened.ear)
            if received.topic == topics.results("s"):
                heard.append(received.user["request_id"])
        assert sorted(heard) == names


async def test_a_damaged_outcome_is_not_published() -> None:
    async with bench() as opened:
        await opened.publisher.publish(COMMAND, StoredOutcome(b"\xff", LARGE_OUTCOME_CONTENT))
        await opened.publisher.publish(COMMAND, StoredOutcome(PLAIN.encode(), MSGPACK_CONTENT))
        _, _, result = await opened.hear()
        assert Outcome.decode(result.payload) == PLAIN
