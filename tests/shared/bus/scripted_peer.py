"""A peer that speaks MQTT 5 as the test writes it, byte by byte."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, PINGREQ, DISCONNECT = 0x10, 0x30, 0x40, 0x80, 0xC0, 0xE0
CONNACK = bytes([0x20, 3, 0, 0, 0])


@dataclass
class Peer:
    """The broker's end of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read_packet(self) -> tuple[int, bytes]:
        """Return type and body of the next packet."""
        (head,) = await self.reader.readexactly(1)
        length = shift = 0
        while True:
            (byte,) = await self.reader.readexactly(1)
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        return head & 0xF0, await self.reader.readexactly(length)

    async def expect(self, kind: int) -> bytes:
        """Return the body of the next packet, which is of this type."""
        found, body = await self.read_packet()
        assert found == kind
        return body

    async def accept(self, connack: bytes = CONNACK) -> None:
        """Read CONNECT and answer it."""
        await self.expect(CONNECT)
        self.writer.write(connack)


def publish_packet(packet_id: int, topic: bytes, payload: bytes) -> bytes:
    """Return a PUBLISH packet of QoS 1 without properties."""
    body = len(topic).to_bytes(2, "big") + topic + packet_id.to_bytes(2, "big") + b"\0" + payload
    return bytes([PUBLISH | 0x02, len(body)]) + body


@asynccontextmanager
async def scripted_peer(script: Callable[[Peer], Awaitable[None]]) -> AsyncIterator[int]:
    """Listen and run `script` for the first client; yield the port. The script's errors are the test's."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(Peer(reader, writer))
            done.set_result(None)
        except Exception as error:
            done.set_exception(error)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asyncio.timeout(20):
        yield server.sockets[0].getsockname()[1]
        await done
