"""A client of rumqttd that tells when it does not serve any more, although its process lives."""

import asyncio
import struct
from typing import Final

_PING_INTERVAL_S: Final = 1.0
# A ping without an answer for so long leads to a new connection. rumqttd closes one at once if its router has ended.
_PING_TIMEOUT_S: Final = 3.0
# So long that a loaded machine is not taken for a dead broker.
_PATIENCE_S: Final = 15.0
_PINGREQ: Final = b"\xc0\x00"
_CLIENT_ID: Final = "segue-broker-heartbeat"


async def until_silent(port: int, username: str | None, password: str | None) -> str:
    """Connect to rumqttd on the loopback interface, send pings, and return the reason when it does not serve.

    Args:
        port: of its listener.
        username: its account, if any.
        password: of the account.
    """
    while True:
        try:
            await _until_late(port, connect_packet(_CLIENT_ID, username, password))
        except TimeoutError:
            return f"no answer within {_PATIENCE_S:g} s"
        except (OSError, asyncio.IncompleteReadError) as error:
            return f"it closes connections: {error}"


async def _until_late(port: int, connect: bytes) -> None:
    """Send pings until one is late.

    Raises:
        TimeoutError: a new connection was not served in time.
        OSError: a new connection was refused.
        asyncio.IncompleteReadError: the connection was closed.
    """
    async with asyncio.timeout(_PATIENCE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(connect)
            await _read_packet(reader)
        except BaseException:
            writer.close()
            raise
    try:
        while True:
            await asyncio.sleep(_PING_INTERVAL_S)
            writer.write(_PINGREQ)
            async with asyncio.timeout(_PING_TIMEOUT_S):
                await _read_packet(reader)
    except TimeoutError:
        return
    finally:
        writer.close()


async def _read_packet(reader: asyncio.StreamReader) -> None:
    """Read CONNACK or PINGRESP. Both are shorter than 128 bytes, so their length is one byte."""
    header = await reader.readexactly(2)
    await reader.readexactly(header[1])


def connect_packet(client_id: str, username: str | None, password: str | None) -> bytes:
    """Return a CONNECT packet of MQTT 5 (3.1) with a clean session and a keep-alive of a minute."""
    flags = 0x02 | (0x80 if username is not None else 0) | (0x40 if password is not None else 0)
    fields = [client_id, *(each for each in (username, password) if each is not None)]
    body = struct.pack(">H4sBBHB", 4, b"MQTT", 5, flags, 60, 0)
    body += b"".join(struct.pack(">H", len(each.encode())) + each.encode() for each in fields)
    length, size = b"", len(body)
    while size or not length:
        size, digit = divmod(size, 128)
        length += bytes([digit | (0x80 if size else 0)])
    return b"\x10" + length + body
