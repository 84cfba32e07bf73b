"""The queue between the network and the application."""

import asyncio

import pytest

from shared.bus.receive_queue import Received, ReceiveQueue


def message(number: int, qos: int, log: list[int] | None = None) -> Received:
    acknowledged = {} if log is None else {"on_acknowledge": lambda: log.append(number)}
    return Received(topic="t", payload=b"%d" % number, qos=qos, **acknowledged)


async def drain(intake: ReceiveQueue) -> list[int]:
    return [int((await intake.get()).payload) for _ in range(len(intake))]


async def test_messages_come_out_in_order_of_arrival() -> None:
    intake = ReceiveQueue(10, 10)
    for number in range(6):
        intake.put(message(number, qos=number % 2))
    assert await drain(intake) == list(range(6))


async def test_past_the_bound_the_oldest_of_its_kind_goes() -> None:
    intake = ReceiveQueue(qos0_limit=2, qos1_limit=3)
    dropped: list[int] = []
    for number in range(10):
        intake.put(message(number, qos=number % 2, log=dropped))
    assert intake.dropped == 5
    assert dropped == [0, 2, 1, 4, 3]
    assert await drain(intake) == [5, 6, 7, 8, 9]


async def test_a_cancelled_wait_loses_nothing() -> None:
    intake = ReceiveQueue(2, 2)
    waiting = asyncio.ensure_future(intake.get())
    await asyncio.sleep(0)
    intake.put(message(1, qos=0))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await drain(intake) == [1]


async def test_a_waiting_reader_is_woken() -> None:
    intake = ReceiveQueue(2, 2)
    waiting = asyncio.ensure_future(intake.get())
    await asyncio.sleep(0)
    intake.put(message(1, qos=1))
    async with asyncio.timeout(5):
        assert (await waiting).payload == b"1"


async def test_a_resumed_session_replaces_what_was_unacknowledged() -> None:
    intake = ReceiveQueue(5, 5)
    for number in range(4):
        intake.put(message(number, qos=number % 2))
    intake.discard_unacknowledged()
    assert await drain(intake) == [0, 2]
    assert intake.dropped == 0


def test_a_message_of_quality_0_needs_no_acknowledgement() -> None:
    message(1, qos=0).acknowledge()
