"""The client that watches rumqttd: silent brokers are told from serving ones."""

import asyncio

from broker.heartbeat import connect_packet, until_silent
from broker.process import free_port

WAIT_S = 20.0


def test_a_connect_packet_carries_the_account() -> None:
    packet = connect_packet("me", "user", "x" * 200)
    assert packet[:3] == b"\x10\xdf\x01"
    assert packet[3:14] == b"\x00\x04MQTT\x05\xc2\x00\x3c\x00"
    assert packet.endswith(b"\x00\x02me\x00\x04user\x00\xc8" + b"x" * 200)


async def test_a_port_where_nothing_listens_is_silent() -> None:
    async with asyncio.timeout(WAIT_S):
        assert "closes connections" in await until_silent(free_port(), None, None)


async def test_a_broker_is_silent_when_it_closes_the_connection_after_some_pings() -> None:
    pings = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal pings
        await reader.readexactly(len(connect_packet("segue-broker-heartbeat", None, None)))
        writer.write(b"\x20\x03\x00\x00\x00")
        await reader.readexactly(2)
        pings += 1
        writer.write(b"\xd0\x00")
        await reader.readexactly(2)
        pings += 1
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, asyncio.timeout(WAIT_S):
        reason = await until_silent(server.sockets[0].getsockname()[1], None, None)
    assert "closes connections" in reason
    assert pings == 2
