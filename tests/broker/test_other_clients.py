"""Clients of MQTT 3.1.1 and of WebSockets at Mosquitto, with packets and frames of these protocols."""

import asyncio
import base64
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from broker.heartbeat import connect_packet
from broker.mosquitto import MosquittoBroker, find_mosquitto
from broker.process import free_port
from shared.bus import topics
from shared.bus.connection import Connection

WAIT_S = 20.0
REQUESTS = f"segue/v1/{topics.requests('door')}"
RESULTS = f"segue/v1/{topics.results('door')}"
pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto"),
]


class WithWebsockets(MosquittoBroker):
    """Mosquitto with a second listener for WebSockets."""

    def __init__(self) -> None:
        super().__init__()
        self.websocket_port = free_port()

    def prepare(self, directory: Path) -> Sequence[str]:
        command = super().prepare(directory)
        with Path(command[-1]).open("a", encoding="utf-8") as configuration:
            configuration.write(f"listener {self.websocket_port} 127.0.0.1\nprotocol websockets\n")
        return command


async def test_a_client_of_mqtt_3_1_1_sends_requests_and_hears_results() -> None:
    async with MosquittoBroker() as broker, Connection.open(broker.settings) as fleet, asyncio.timeout(WAIT_S):
        await fleet.subscribe(topics.requests("door"))
        await fleet.publish(topics.results("door"), b"a result", retain=True)
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.settings.port)
        writer.write(packet(0x10, text("MQTT") + b"\x04\x02\x00\x3c" + text("old")))
        assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
        writer.write(packet(0x82, b"\x00\x01" + text(RESULTS) + b"\x01"))
        assert await reader.readexactly(5) == b"\x90\x03\x00\x01\x01"
        assert b"a result" in await reader.readuntil(b"a result")
        writer.write(packet(0x32, text(REQUESTS) + b"\x00\x02a request"))
        assert (await anext(fleet)).payload == b"a request"
        writer.close()


async def test_a_client_of_websockets_sends_requests() -> None:
    async with (
        WithWebsockets() as broker,
        Connection.open(broker.settings) as fleet,
        asyncio.timeout(WAIT_S),
    ):
        await fleet.subscribe(topics.requests("door"))
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.websocket_port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n".encode()
        )
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        request = packet(0x30, text(REQUESTS) + b"\x00a request")
        writer.write(frame(connect_packet("browser", None, None)) + frame(request))
        assert (await anext(fleet)).payload == b"a request"
        writer.close()


def frame(payload: bytes) -> bytes:
    """Return a masked binary frame (RFC 6455, 5.2) of a short payload."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return bytes([0x82, 0x80 | len(payload)]) + mask + masked


def packet(first: int, body: bytes) -> bytes:
    """Return a packet of fewer than 128 bytes."""
    return bytes([first, len(body)]) + body


def text(value: str) -> bytes:
    return struct.pack(">H", len(value)) + value.encode()
