"""The queue between the network and the application."""

import asyncio

import pytest

from shared.bus.receive_queue import Received, ReceiveQueue


def message(number: int, qos: int, log: list[int] | None = None) -> Received:
    def acknowledge() -> None:
        if log is not None:
            log.append(number)

    return Received(topic="t", payload=b"%d" % number, qos=qos, on_acknowledge=acknowledge)


async def drain(queue: ReceiveQueue) -> list[int]:
    return [int((await queue.get()).payload) for _ in range(len(queue))]


async def test_messages_come_out_in_order_of_arrival() -> None:
    queue = ReceiveQueue(10, 10)
    for number in range(6):
        queue.put(message(number, qos=number % 2))
    assert await drain(queue) == list(range(6))


async def test_past_the_bound_the_oldest_of_its_kind_goes() -> None:
    queue = ReceiveQueue(qos0_limit=2, qos1_limit=3)
    dropped: list[int] = []
    for number in range(10):
        queue.put(message(number, qos=number % 2, log=dropped))
    assert queue.dropped == 5
    assert dropped == [0, 2, 1, 4, 3]
    assert await drain(queue) == [5, 6, 7, 8, 9]


async def test_a_cancelled_wait_loses_nothing() -> None:
    queue = ReceiveQueue(2, 2)
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.put(message(1, qos=0))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await drain(queue) == [1]


async def test_a_waiting_reader_is_woken() -> None:
    queue = ReceiveQueue(2, 2)
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.put(message(1, qos=1))
    async with asyncio.timeout(5):
        assert (await waiting).payload == b"1"


async def test_a_resumed_session_replaces_what_was_unacknowledged() -> None:
    queue = ReceiveQueue(5, 5)
    for number in range(4):
        queue.put(message(number, qos=number % 2))
    queue.discard_unacknowledged()
    assert await drain(queue) == [0, 2]
    assert queue.dropped == 0


def test_a_message_of_quality_0_needs_no_acknowledgement() -> None:
    message(1, qos=0).acknowledge()
