import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from broker.embedded import EmbeddedBroker
from services.executor.outbox import Outbox, Publication
from shared.bus import topics
from shared.bus.connection import Connection
from shared.messages.events import Event, EventKind


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Outbox, Connection, EmbeddedBroker]]:
    """A running outbox, an ear, and the broker between them."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker())
        ear = await stack.enter_async_context(Connection.open(broker.settings))
        await ear.subscribe("#")
        outbox = Outbox("d", await stack.enter_async_context(Connection.open(broker.settings)))
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            task = group.create_task(outbox.run())
            yield outbox, ear, broker
            task.cancel()


async def test_what_is_put_is_published(pair: tuple[Outbox, Connection, EmbeddedBroker]) -> None:
    outbox, ear, _ = pair
    await outbox.put(Publication("some/topic", b"x"))
    received = await anext(ear)
    assert (received.topic, bytes(received.payload)) == ("some/topic", b"x")
    await outbox.drain()


async def test_messages_wait_for_a_broker_that_is_away(pair: tuple[Outbox, Connection, EmbeddedBroker]) -> None:
    outbox, ear, broker = pair
    await broker.kill()
    # Retained, because the ear may come back after the outbox.
    await outbox.put(Publication("some/topic", b"x", retain=True))
    await outbox.publish_best_effort("some/topic", b"worthless later")
    await broker.start()
    assert bytes((await anext(ear)).payload) == b"x"


async def test_a_topic_that_is_none_harms_nobody(pair: tuple[Outbox, Connection, EmbeddedBroker]) -> None:
    outbox, ear, _ = pair
    await outbox.put(Publication("not/#/a/topic", b"x", absolute=True))
    await outbox.drain()
    await outbox.put(Publication("some/topic", b"y"))
    assert bytes((await anext(ear)).payload) == b"y"


async def test_bad_messages_are_counted_and_each_cause_reported_once(
    pair: tuple[Outbox, Connection, EmbeddedBroker],
) -> None:
    outbox, ear, _ = pair
    for reason in ("torn", "torn", "odd"):
        await outbox.note_bad_message(topics.inbox("d"), reason)
    events = [Event.decode((await anext(ear)).payload) for _ in range(2)]
    assert outbox.bad_messages == 3
    assert [event.kind for event in events] == [EventKind.BAD_MESSAGE] * 2
    assert {event.text.rsplit(" ", 1)[1] for event in events} == {"torn", "odd"}
