"""What a session makes of the broker's answers, beyond what the contract tests show on real brokers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared.bus.errors import AccessRefused, BrokerUnreachable, PublishFailed
from shared.bus.receive_queue import Received
from shared.bus.session import MqttSession, SessionOptions
from shared.bus.settings import BusSettings
from tests.shared.bus.scripted_peer import PUBACK, PUBLISH, Peer, publish_packet, scripted_peer

OPTIONS = SessionOptions("test", will=None, persistent=False, receive_maximum=10)


class Log:
    """What a session reports."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.received: asyncio.Queue[Received] = asyncio.Queue()

    def session(self, settings: BusSettings) -> MqttSession:
        return MqttSession(
            settings,
            OPTIONS,
            on_received=self.received.put_nowait,
            on_undecodable=lambda: self.events.append("undecodable"),
            on_resumed=lambda: self.events.append("resumed"),
        )


@asynccontextmanager
async def opened(port: int, log: Log | None = None) -> AsyncIterator[MqttSession]:
    session = (log or Log()).session(BusSettings("127.0.0.1", port, attempt_timeout_s=5.0))
    await session.open()
    try:
        yield session
    finally:
        await session.close()


async def test_a_topic_that_is_not_text_holds_back_no_acknowledgement() -> None:
    acknowledged: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        peer.writer.write(publish_packet(1, b"segue/v1/\xff", b"x") + publish_packet(2, b"segue/v1/t", b"y"))
        acknowledged.extend([(await peer.expect(PUBACK))[1] for _ in range(2)])

    log = Log()
    async with scripted_peer(script) as port, opened(port, log) as session:
        received = await log.received.get()
        received.acknowledge()
        await session.lost()
    assert (received.topic, received.payload, log.events) == ("t", b"y", ["undecodable"])
    assert acknowledged == [1, 2]


async def test_a_session_that_the_broker_has_kept_is_reported_before_its_messages() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(bytes([0x20, 3, 1, 0, 0]))
        await peer.reader.read()

    log = Log()
    async with scripted_peer(script) as port, opened(port, log):
        assert log.events == ["resumed"]


async def test_what_is_larger_than_the_broker_accepts_is_not_sent() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(bytes([0x20, 8, 0, 0, 5, 0x27, *(5000).to_bytes(4, "big")]))
        await peer.reader.read()

    async with scripted_peer(script) as port, opened(port) as session:
        with pytest.raises(PublishFailed, match="packets of at most 5000 bytes"):
            await session.send("t", [bytes(4996)], 0, False, None)
        await session.send("t", [bytes(4980)], 0, False, None)


async def test_no_more_is_unacknowledged_than_the_broker_receives() -> None:
    early: list[int] = []

    async def script(peer: Peer) -> None:
        receive_maximum_2 = bytes([0x20, 6, 0, 0, 3, 0x21, 0, 2])
        await peer.accept(receive_maximum_2)
        for _ in range(2):
            await peer.expect(PUBLISH)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                early.append((await peer.read_packet())[0])
        peer.writer.write(bytes([PUBACK, 2, 0, 1]))
        await peer.expect(PUBLISH)
        peer.writer.write(bytes([PUBACK, 2, 0, 2, PUBACK, 2, 0, 3]))
        await peer.reader.read()

    async with scripted_peer(script) as port, opened(port) as session:
        await asyncio.gather(*(session.send("t", [b"x"], 1, False, None) for _ in range(3)))
    assert early == []


async def test_a_publication_that_the_broker_rejects_fails_with_its_reason() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.expect(PUBLISH)
        peer.writer.write(bytes([PUBACK, 4, 0, 1, 0x87, 0]))
        await peer.reader.read()

    async with scripted_peer(script) as port, opened(port) as session:
        with pytest.raises(PublishFailed, match="Not authorized"):
            await session.send("t", [b"x"], 1, False, None)


@pytest.mark.parametrize(
    ("code", "error"),
    [(0x84, AccessRefused), (0x86, AccessRefused), (0x8A, AccessRefused), (0x88, BrokerUnreachable)],
)
async def test_refusals_that_time_may_mend_are_told_from_those_it_cannot(code: int, error: type[Exception]) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(bytes([0x20, 3, 0, code, 0]))

    async with scripted_peer(script) as port:
        with pytest.raises(error):
            async with opened(port):
                pass


async def test_a_host_name_that_cannot_be_one_is_unreachable() -> None:
    with pytest.raises(BrokerUnreachable, match="check the host name"):
        await Log().session(BusSettings("a" * 70)).open()
