"""The driver of a connection against a peer that is written byte by byte."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import mqtt5
import pytest

from shared.bus.errors import HandshakeClosed, SessionLost
from shared.bus.mqtt.mqtt_driver import MqttDriver
from shared.bus.mqtt.packet_reader import IncomingPublish, UnreadablePublish
from tests.shared.bus.scripted_peer import (
    DISCONNECT,
    PINGREQ,
    PUBACK,
    PUBLISH,
    SUBSCRIBE,
    Peer,
    publish_packet,
    scripted_peer,
)


class Client:
    """A driver and what it has received."""

    def __init__(self) -> None:
        self.messages: list[IncomingPublish] = []
        self.unreadable: list[UnreadablePublish] = []
        self.arrival = asyncio.Event()
        self.driver = MqttDriver(
            on_connected=lambda _: None, on_publication=self.take, on_unreadable=self.unreadable.append
        )

    def take(self, message: IncomingPublish) -> None:
        self.messages.append(message)
        self.arrival.set()


@asynccontextmanager
async def connected(port: int, keepalive_s: int = 30) -> AsyncIterator[Client]:
    client = Client()
    try:
        packet = mqtt5.ConnectPacket("test", clean_start=True, keep_alive=keepalive_s)
        await client.driver.connect("127.0.0.1", port, packet, context=None, timeout_s=5.0)
        yield client
    finally:
        client.driver.close()


async def until_end(peer: Peer) -> list[int]:
    """Return the types of all packets before the connection ends."""
    kinds = []
    try:
        while True:
            kinds.append((await peer.read_packet())[0])
    except asyncio.IncompleteReadError:
        return kinds


async def test_a_publication_waits_for_its_own_puback() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(PUBLISH)
        await peer.expect(PUBLISH)
        for packet_id, reason in ((2, 0x87), (1, 0x00)):
            peer.writer.write(bytes([PUBACK, 4, 0, packet_id, reason, 0]))
        await until_end(peer)

    async with scripted_peer(script) as port, connected(port) as client:
        first, second = await asyncio.gather(*(client.driver.publish("t", [b"x"], 1, False, None) for _ in range(2)))
        assert first is not None
        assert second is not None
        assert (first.code, second.code) == (0, 0x87)


async def test_a_peer_that_does_not_read_delays_the_sender_and_not_the_loop() -> None:
    payload = b"x" * 30_000_000
    read_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        await read_on.wait()
        assert (await peer.expect(PUBLISH)).endswith(payload)
        await until_end(peer)

    async with scripted_peer(script) as port, connected(port) as client:
        sending = asyncio.create_task(client.driver.publish("t", [payload], 0, False, None))
        for _ in range(100):
            await asyncio.sleep(0)
        assert not sending.done()
        read_on.set()
        await sending


async def test_a_cancelled_publication_leaves_its_puback_without_effect() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(PUBLISH)
        await peer.expect(PUBLISH)
        peer.writer.write(bytes([PUBACK, 2, 0, 1, PUBACK, 2, 0, 2]))
        await until_end(peer)

    async with scripted_peer(script) as port, connected(port) as client:
        cancelled = asyncio.create_task(client.driver.publish("t", [b"x"], 1, False, None))
        await asyncio.sleep(0)
        cancelled.cancel()
        await client.driver.publish("t", [b"y"], 1, False, None)
        assert not client.driver.is_lost


async def test_messages_are_acknowledged_when_asked_for() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.writer.write(publish_packet(7, b"t", b"hello"))
        assert await peer.expect(PUBACK) == b"\0\x07"

    async with scripted_peer(script) as port, connected(port) as client:
        await client.arrival.wait()
        assert [bytes(message.payload) for message in client.messages] == [b"hello"]
        client.driver.acknowledge(7)
        await client.driver.lost()


async def test_who_acknowledges_is_not_told_that_the_connection_breaks() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.writer.write(publish_packet(7, b"t", b"x"))
        await until_end(peer)

    async with scripted_peer(script) as port, connected(port) as client:
        async with asyncio.timeout(10):
            await client.arrival.wait()
        assert client.driver._stream is not None
        with socket.socket(fileno=os.dup(client.driver._stream.descriptor)) as twin:
            twin.shutdown(socket.SHUT_WR)
        client.driver.acknowledge(7)
        assert client.driver.is_lost
        client.driver.acknowledge(7)


async def test_the_application_has_its_turns_while_many_messages_arrive_at_once() -> None:
    count = 200

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.writer.write(b"".join(publish_packet(number + 1, b"t", b"x") for number in range(count)))
        await until_end(peer)

    async with scripted_peer(script) as port, connected(port) as client:
        seen = [0]
        while seen[-1] < count:
            await asyncio.sleep(0)
            seen.append(len(client.messages))
    # A few batches of 8 at most between two turns of this task, and not all at once.
    assert max(after - before for before, after in pairwise(seen)) <= 32


async def test_subscribe_returns_the_reason_codes_or_says_that_there_was_no_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(SUBSCRIBE)
        peer.writer.write(bytes([0x90, 4, 0, 1, 0, 0x8F]))
        await until_end(peer)

    async with scripted_peer(script) as port, connected(port) as client:
        assert (await client.driver.subscribe("t", 1, 5.0)).code == 0x8F
        with pytest.raises(SessionLost, match=r"no answer within 0\.01 s"):
            await client.driver.unsubscribe("t", 0.01)


async def test_disconnect_comes_after_what_was_queued() -> None:
    kinds: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        kinds.extend(await until_end(peer))

    async with scripted_peer(script) as port, connected(port) as client:
        sending = asyncio.create_task(client.driver.publish("t", [b"x"], 0, False, None))
        await asyncio.sleep(0)
        await client.driver.disconnect(5.0)
        await sending
        assert client.driver.is_lost
    assert kinds == [PUBLISH, DISCONNECT]


async def test_a_small_message_is_in_the_socket_when_publish_first_waits() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.reader.read()

    async with scripted_peer(script) as port, connected(port) as client:
        publishing = client.driver.publish("t", [b"x"], 0, False, None)
        # Without a turn of the event loop: the coroutine ends at its first step.
        with pytest.raises(StopIteration):
            publishing.send(None)


async def test_close_ends_everything_that_waits() -> None:
    kinds: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        kinds.extend(await until_end(peer))

    async with scripted_peer(script) as port, connected(port) as client:
        waiting = asyncio.create_task(client.driver.publish("t", [b"x"], 1, False, None))
        await asyncio.sleep(0)
        client.driver.close()
        with pytest.raises(SessionLost, match="connection lost"):
            await waiting
        with pytest.raises(SessionLost, match="not connected"):
            await client.driver.publish("t", [b"x"], 1, False, None)
        with pytest.raises(SessionLost, match="not connected"):
            await client.driver.subscribe("t", 1, 5.0)
        assert await client.driver.lost() == "closed"
    assert DISCONNECT not in kinds


@pytest.mark.parametrize(
    ("packets", "reason"),
    [
        (b"", "connection broke"),
        (bytes([DISCONNECT, 2, 0x8E, 0]), "the broker ended it: Session taken over"),
        (bytes([0xF0, 0]), "malformed packet"),
        (bytes([0xC0, 0]), "Protocol error"),
        (bytes([0x34, 6, 0, 1, 97, 0, 1, 0]), "quality of service"),
    ],
    ids=["hang-up", "DISCONNECT", "unknown packet", "a client's packet", "QoS 2"],
)
async def test_the_reason_of_a_lost_connection_is_returned(packets: bytes, reason: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(bytes([0x20, 3, 0, 0, 0]) + packets)

    async with scripted_peer(script) as port, connected(port) as client:
        assert reason in await client.driver.lost()
        assert client.driver.is_lost


async def test_a_broker_is_silent_from_the_question_that_it_does_not_answer() -> None:
    heard, may_answer = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(PUBLISH)
        heard.set()
        await may_answer.wait()
        peer.writer.write(bytes([PUBACK, 4, 0, 1, 0, 0]))
        await until_end(peer)

    async with scripted_peer(script) as port, connected(port) as client, asyncio.TaskGroup() as group:
        assert client.driver.silent_s == 0.0
        publication = group.create_task(client.driver.publish("t", [b"x"], 1, False, None))
        await heard.wait()
        assert client.driver.silent_s > 0.0
        may_answer.set()
        await publication
        assert client.driver.silent_s == 0.0


async def test_a_broker_that_hangs_up_on_connect_is_told_apart() -> None:
    async def script(peer: Peer) -> None:
        await peer.read_packet()

    async with scripted_peer(script) as port:
        with pytest.raises(HandshakeClosed):
            async with connected(port):
                pass


async def test_a_silent_broker_is_pinged_and_then_given_up() -> None:
    kinds: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        kinds.extend(await until_end(peer))

    async with scripted_peer(script) as port, connected(port, keepalive_s=1) as client:
        assert "Keep alive timeout" in await client.driver.lost()
    assert kinds == [PINGREQ]
