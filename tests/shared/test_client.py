"""The client of applications against a stand-in for a fleet, on a real broker."""

import asyncio
import inspect
import re
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from broker.embedded import EmbeddedBroker
from shared.bus import topics
from shared.bus.chunks import split_message
from shared.bus.connection import Connection, Received
from shared.bus.frame import frame_size_bytes
from shared.bus.mqtt.properties import Properties
from shared.client import Client, ClientTimeout
from shared.large_outcomes import encode_large_outcome, transfer_id_of
from shared.messages.requests import (
    ACCEPT_PROPERTY,
    MSGPACK_CONTENT,
    REQUEST_ID_PROPERTY,
    ClassScore,
    ErrorCause,
    Outcome,
    OutcomeStatus,
    OutputTransfer,
    TensorHeader,
)

STREAM = "camera"
WAIT_S = 20.0

Answer = Callable[[Connection, Received, str], Awaitable[None]]


@asynccontextmanager
async def source(broker: EmbeddedBroker, answer: Answer) -> AsyncIterator[list[str]]:
    """A stand-in for a fleet: takes requests and lets `answer` publish what it likes. Yields the ids it was sent."""
    seen: list[str] = []

    async def serve(connection: Connection) -> None:
        async for received in connection:
            identity = received.user[REQUEST_ID_PROPERTY]
            seen.append(identity)
            await answer(connection, received, identity)

    async with Connection.open(broker.settings) as connection:
        await connection.subscribe(topics.requests(STREAM))
        task = asyncio.create_task(serve(connection))
        try:
            yield seen
        finally:
            task.cancel()
            await asyncio.wait([task])


def outcome(identity: str, label: str = "cat") -> Outcome:
    top = (ClassScore(index=1, label=label, score=0.5),)
    return Outcome(request_id=identity, stream=STREAM, status=OutcomeStatus.OK, top=top)


async def answer_once(connection: Connection, received: Received, identity: str) -> None:
    payload = outcome(identity, bytes(received.payload).decode()).encode_json()
    await connection.publish(topics.results(STREAM), payload)


async def test_submit_returns_the_outcome_of_this_request() -> None:
    async with EmbeddedBroker() as broker, source(broker, answer_once), Client.open(broker.settings) as client:
        first, second = await asyncio.gather(
            client.submit(STREAM, b"dog", timeout_s=WAIT_S), client.submit(STREAM, b"fox", timeout_s=WAIT_S)
        )
    assert (first.top[0].label, second.top[0].label) == ("dog", "fox")


async def test_a_bad_result_of_others_and_a_second_outcome_are_dropped() -> None:
    async def noisy(connection: Connection, received: Received, identity: str) -> None:
        await connection.publish(topics.results(STREAM), b"\xff not an outcome")
        await connection.publish(topics.results(STREAM), outcome("somebody-else").encode())
        await answer_once(connection, received, identity)
        await connection.publish(topics.results(STREAM), outcome(identity, "late duplicate").encode())

    async with EmbeddedBroker() as broker, source(broker, noisy), Client.open(broker.settings) as client:
        results = await client.submit_many(STREAM, [b"a", b"b", b"c"], timeout_s=WAIT_S)
    assert [each.top[0].label for each in results if isinstance(each, Outcome)] == ["a", "b", "c"]


async def test_an_error_is_an_outcome_too() -> None:
    async def refuse(connection: Connection, received: Received, identity: str) -> None:
        error = Outcome(
            request_id=identity,
            stream=STREAM,
            status=OutcomeStatus.ERROR,
            cause=ErrorCause.BAD_INPUT,
            error="no image",
        )
        await connection.publish(topics.results(STREAM), error.encode())

    async with EmbeddedBroker() as broker, source(broker, refuse), Client.open(broker.settings) as client:
        result = await client.submit(STREAM, b"x", timeout_s=WAIT_S)
    assert (result.status, result.cause, result.error) == (OutcomeStatus.ERROR, ErrorCause.BAD_INPUT, "no image")


async def test_whole_outputs_are_asked_for_in_msgpack() -> None:
    wanted: list[str | None] = []

    async def note(connection: Connection, received: Received, identity: str) -> None:
        wanted.append(received.user.get(ACCEPT_PROPERTY))
        await answer_once(connection, received, identity)

    async with EmbeddedBroker() as broker, source(broker, note), Client.open(broker.settings) as client:
        await client.submit(STREAM, b"x", timeout_s=WAIT_S)
        await client.submit(STREAM, b"x", timeout_s=WAIT_S, whole_outputs=True)
    assert wanted == [None, MSGPACK_CONTENT]


def large(identity: str) -> tuple[Outcome, list[bytes]]:
    """Return a result whose outputs are announced, and the chunks of its outputs."""
    plain = outcome(identity).model_copy(update={"attempt": 1})
    data = bytes(range(256)) * 4000
    header = TensorHeader(name="y", dtype="uint8", shape=(len(data),), size_bytes=len(data))
    frame = encode_large_outcome(plain, [(header, data)])
    chunks = [b"".join(map(bytes, parts)) for parts in split_message(transfer_id_of(plain), frame, 100_000)]
    transfer = OutputTransfer(transfer_id=transfer_id_of(plain).hex(), size_bytes=frame_size_bytes(frame))
    return plain.model_copy(update={"transfer": transfer, "error": "in chunks"}), chunks


async def send_chunks(connection: Connection, identity: str, chunks: Sequence[bytes]) -> None:
    for chunk in chunks:
        properties = Properties(user={REQUEST_ID_PROPERTY: identity})
        await connection.publish(topics.outputs(STREAM), chunk, properties=properties)


async def test_large_outputs_are_assembled_whatever_comes_first() -> None:
    async def answer(connection: Connection, received: Received, identity: str) -> None:
        announced, chunks = large(identity)
        await send_chunks(connection, "somebody-else", [b"not a chunk"])
        await send_chunks(connection, identity, [b"not a chunk", *chunks[5:]])
        await connection.publish(topics.results(STREAM), announced.encode())
        await send_chunks(connection, identity, chunks)
        await connection.publish(topics.results(STREAM), announced.encode())

    async with EmbeddedBroker() as broker, source(broker, answer) as seen, Client.open(broker.settings) as client:
        result = await client.submit(STREAM, b"x", timeout_s=WAIT_S, whole_outputs=True)
        small = await client.submit(STREAM, b"x", timeout_s=WAIT_S)
    assert (result.error, result.transfer, result.outputs[0].data) == ("", None, bytes(range(256)) * 4000)
    # Whoever does not ask for outputs takes the message that announces them.
    assert (small.outputs, small.error) == ((), "in chunks")
    assert len(seen) == 2


async def test_a_repeated_request_gets_the_chunks_that_were_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    repeats = 0

    async def answer(connection: Connection, received: Received, identity: str) -> None:
        nonlocal repeats
        announced, chunks = large(identity)
        # Before the last chunk, with which the client is done.
        repeats += 1
        await send_chunks(connection, identity, chunks[:-1] if repeats == 1 else chunks[-1:])
        await connection.publish(topics.results(STREAM), announced.encode())

    monkeypatch.setattr("shared.client._FIRST_PAUSE_S", 0.5)
    async with EmbeddedBroker() as broker, source(broker, answer), Client.open(broker.settings) as client:
        result = await client.submit(STREAM, b"x", timeout_s=WAIT_S, whole_outputs=True)
    assert repeats >= 2
    assert len(result.outputs) == 1


async def test_outputs_beyond_the_bound_of_the_client_are_left_out_with_the_sizes() -> None:
    async def answer(connection: Connection, received: Received, identity: str) -> None:
        announced, chunks = large(identity)
        await send_chunks(connection, identity, chunks)
        await connection.publish(topics.results(STREAM), announced.encode())

    async with (
        EmbeddedBroker() as broker,
        source(broker, answer),
        Client.open(broker.settings, max_outputs_bytes=1_000_000) as client,
    ):
        result = await client.submit(STREAM, b"x", timeout_s=WAIT_S, whole_outputs=True)
    assert (result.status, result.outputs, result.transfer) == (OutcomeStatus.OK, (), None)
    assert re.fullmatch(r"its outputs are left out: 102\d+ bytes, this client takes 1000000", result.error)


async def test_outputs_that_the_account_may_not_read_are_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def announce(connection: Connection, received: Received, identity: str) -> None:
        await connection.publish(topics.results(STREAM), large(identity)[0].encode())

    monkeypatch.setattr("shared.client._FIRST_PAUSE_S", 0.05)
    async with EmbeddedBroker() as broker, source(broker, announce), Client.open(broker.settings) as client:
        result = await client.submit(STREAM, b"x", timeout_s=WAIT_S, whole_outputs=True)
    assert result.status is OutcomeStatus.OK
    assert "nothing arrives on segue/v1/streams/camera/outputs: may this account read it?" in result.error


async def test_nobody_answers_in_time() -> None:
    async with EmbeddedBroker() as broker, Client.open(broker.settings) as client:
        with pytest.raises(ClientTimeout) as caught:
            await client.submit(STREAM, b"x", timeout_s=0.5, request_id="mine")
        both = await client.submit_many(STREAM, [b"x", b"y"], timeout_s=0.3)
    assert (caught.value.stream, caught.value.request_id) == (STREAM, "mine")
    assert [type(each) for each in both] == [ClientTimeout, ClientTimeout]


async def test_a_request_is_published_again_under_its_id_after_the_broker_has_died() -> None:
    silent = True
    arrived = asyncio.Event()

    async def answer_later(connection: Connection, received: Received, identity: str) -> None:
        arrived.set()
        if not silent:
            await answer_once(connection, received, identity)

    async with (
        EmbeddedBroker() as broker,
        source(broker, answer_later) as seen,
        Client.open(broker.settings) as client,
    ):
        waiting = asyncio.create_task(client.submit(STREAM, b"x", timeout_s=60.0))
        async with asyncio.timeout(WAIT_S):
            await arrived.wait()
        silent = False
        await broker.kill()
        await broker.start()
        result = await waiting
    assert result.status is OutcomeStatus.OK
    assert len(seen) >= 2
    assert set(seen) == {result.request_id}


async def test_no_more_than_in_flight_are_under_way() -> None:
    held: list[tuple[Connection, Received, str]] = []
    enough = asyncio.Event()

    async def hold(connection: Connection, received: Received, identity: str) -> None:
        held.append((connection, received, identity))
        if len(held) >= 2:
            enough.set()

    async with (
        EmbeddedBroker() as broker,
        source(broker, hold) as seen,
        Client.open(broker.settings, in_flight=2) as client,
    ):
        waiting = [asyncio.create_task(client.submit(STREAM, b"x", timeout_s=WAIT_S)) for _ in range(3)]
        async with asyncio.timeout(WAIT_S):
            await enough.wait()
        assert len(set(seen)) == 2
        await answer_once(*held[0])
        done, _ = await asyncio.wait(waiting, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == 1
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def test_an_id_is_not_under_way_twice() -> None:
    async with EmbeddedBroker() as broker, Client.open(broker.settings) as client:
        results = await asyncio.gather(
            client.submit(STREAM, b"x", timeout_s=1.0, request_id="same"),
            client.submit(STREAM, b"x", timeout_s=1.0, request_id="same"),
            return_exceptions=True,
        )
    assert {type(each) for each in results} == {ClientTimeout, ValueError}


async def test_the_example_of_the_client_runs(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, indented = inspect.cleandoc(Client.__doc__ or "").partition("::\n")
    names: dict[str, Any] = {}
    async with EmbeddedBroker() as broker, source(broker, answer_once):
        exec(textwrap.dedent(indented).replace("mqtt://localhost:1883", broker.settings.address), names)
        await names["main"]([b"dog", b"fox"])
    assert capsys.readouterr().out.splitlines() == ["ok [('dog', 0.5)]", "ok", "ok"]
