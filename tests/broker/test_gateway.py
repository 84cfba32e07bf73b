"""The embedded broker under hostile clients: raw packets through the gateway, and past it to rumqttd."""

import asyncio
import socket
import struct

import psutil

from broker.embedded import EmbeddedBroker, EmbeddedBrokerConfig
from broker.heartbeat import connect_packet
from broker.process import free_port
from shared.bus.connection import Connection

WAIT_S = 20.0
CONNECT = connect_packet("raw", None, None)


def topic(text: str) -> bytes:
    return struct.pack(">H", len(text.encode())) + text.encode()


def publish(name: str) -> bytes:
    body = topic(name) + b"\x00x"
    return bytes([0x30, len(body)]) + body


async def send_raw(port: int, *packets: bytes) -> bytes:
    """Send packets, wait until the broker has answered or closed the connection, and return its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(WAIT_S):
            writer.write(b"".join(packets))
            # A ping is the last packet: its answer shows that everything before was read.
            writer.write(b"\xc0\x00")
            answer = b""
            while not answer.endswith(b"\xd0\x00") and (more := await reader.read(4096)):
                answer += more
            return answer
    except ConnectionError:
        return answer
    finally:
        writer.close()


async def serves(broker: EmbeddedBroker) -> bool:
    """Return whether a newcomer can subscribe, publish, and receive its message."""
    async with Connection.open(broker.settings, connect_timeout_s=WAIT_S) as newcomer:
        await newcomer.subscribe("events")
        await newcomer.publish("events", b"hello")
        async with asyncio.timeout(WAIT_S):
            return (await anext(newcomer)).payload == b"hello"


async def test_no_packet_of_a_client_ends_the_broker_or_another_connection() -> None:
    hostile = {
        "umlaut": (CONNECT, publish("über/x")),
        "space": (CONNECT, publish("\u00a0")),
        "connack": (CONNECT, b"\x20\x03\x00\x00\x00"),
        "unsuback": (CONNECT, b"\xb0\x04\x00\x01\x00\x00"),
        "pingresp": (CONNECT, b"\xd0\x00", b"\x40\x02\x00\x01"),
        "puback": (CONNECT, b"\x40\x02\x00\x01"),
        "length": (CONNECT, b"\x30\xff\xff\xff\xff\xff"),
        "connect twice": (CONNECT, CONNECT),
        "http": (b"GET / HTTP/1.1\r\n\r\n",),
        "zeros": (bytes(1000),),
    }
    async with EmbeddedBroker() as broker, Connection.open(broker.settings) as other:
        for name, packets in hostile.items():
            await send_raw(broker.settings.port, *packets)
            assert await serves(broker), name
        assert other.is_connected
        assert other.counters.reconnects == 0
        # A client of MQTT 3.1.1 gets the answer of its version.
        old = b"\x10\x0d" + topic("MQTT") + b"\x04\x02\x00\x3c" + topic("x")
        assert await send_raw(broker.settings.port, old) == b"\x20\x02\x00\x01"


async def test_a_broker_that_is_ended_past_the_gateway_serves_again() -> None:
    connects, reconnected = 0, asyncio.Event()

    async def count(_: Connection) -> None:
        nonlocal connects
        connects += 1
        if connects > 1:
            reconnected.set()

    async with EmbeddedBroker() as broker, Connection.open(broker.settings, on_connected=count) as other:
        # rumqttd compares a topic with the filters of subscribers.
        await other.subscribe("events")
        assert broker.pid is not None
        listening = (
            each.laddr.port for each in psutil.Process(broker.pid).net_connections() if each.status == "LISTEN"
        )
        (rumqttd,) = set(listening) - {broker.settings.port}
        await send_raw(rumqttd, CONNECT, publish("über/x"))
        async with asyncio.timeout(WAIT_S):
            await reconnected.wait()
        assert await serves(broker)


async def test_a_client_that_sends_no_connect_does_not_hold_others_up() -> None:
    config = EmbeddedBrokerConfig(port=free_port(), max_connections=3)
    async with EmbeddedBroker(config) as broker:
        silent = [socket.create_connection(("127.0.0.1", config.port)) for _ in range(2)]
        assert await serves(broker)
        for each in silent:
            each.close()
