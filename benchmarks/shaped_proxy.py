"""A TCP proxy in front of a broker whose two directions behave like links: rate, delay, burst, jitter, lost segments.

The bytes of all connections through a proxy share its two links. The schedule is absolute, so that a late wake-up of
the process delays bytes but does not slow the link down.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from shared.link_time import bytes_within, transmission_ms

# Bytes that are scheduled together: at 1 Mbps, 12 ms.
_PIECE_BYTES: Final = 1460
_READ_BYTES: Final = 16 * 1024
# Bytes on their way per direction. Beyond it the proxy stops reading, and TCP slows the sender down.
_QUEUE: Final = 512
# Time until a lost segment is sent again: the least retransmission timeout of Linux.
_RETRANSMISSION_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class LinkShape:
    """One direction of a link.

    Attributes:
        bandwidth_mbps: sustained rate.
        delay_ms: one way.
        burst_bytes: bytes that pass at once after a pause (a token bucket).
        jitter_ms: mean of an exponential delay beside it.
        lost: share of the segments that are sent again, and hold up all behind them.
    """

    bandwidth_mbps: float
    delay_ms: float = 0.0
    burst_bytes: int = 0
    jitter_ms: float = 0.0
    lost: float = 0.0


@dataclass(slots=True)
class Shaper:
    """Schedule of one direction. Times are monotonic seconds.

    Attributes:
        shape: the link.
        passed_bytes: bytes so far.
        late_ms: by how much later than scheduled each piece was delivered, because this process had no processor.
    """

    shape: LinkShape
    passed_bytes: int = 0
    late_ms: list[float] = field(default_factory=list)
    _random: random.Random = field(default_factory=lambda: random.Random(0))
    _tokens: float = field(init=False)
    _seen_s: float = 0.0
    _arrived_s: float = 0.0

    def __post_init__(self) -> None:
        self._tokens = float(self.shape.burst_bytes)

    def arrives_s(self, size_bytes: int, now_s: float) -> float:
        """Book bytes that are there at `now_s`; return when they arrive."""
        shape = self.shape
        self.passed_bytes += size_bytes
        begin_s = max(now_s, self._seen_s)
        grown = bytes_within(1000 * (begin_s - self._seen_s), shape.bandwidth_mbps)
        self._tokens = min(float(shape.burst_bytes), self._tokens + grown)
        free = min(self._tokens, float(size_bytes))
        self._tokens -= free
        self._seen_s = begin_s + transmission_ms(size_bytes - free, shape.bandwidth_mbps) / 1000
        delay_s = shape.delay_ms / 1000
        if shape.jitter_ms:
            delay_s += self._random.expovariate(1000 / shape.jitter_ms)
        if self._random.random() < shape.lost:
            delay_s += _RETRANSMISSION_S
        self._arrived_s = max(self._arrived_s, self._seen_s + delay_s)
        return self._arrived_s


@asynccontextmanager
async def shaped(target_port: int, up: Shaper, down: Shaper) -> AsyncIterator[int]:
    """Forward connections to a port of this machine over two links while the context lasts; yield the port.

    Args:
        target_port: where the broker listens.
        up: to the broker.
        down: from the broker.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", target_port)
        try:
            await asyncio.gather(_forward(reader, behind_writer, up), _forward(behind_reader, writer, down))
        except OSError:
            # One of both ends has gone, as at the end of a benchmark.
            return
        finally:
            writer.close()
            behind_writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, shaper: Shaper) -> None:
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUE)

    async def deliver() -> None:
        while True:
            arrives_s, piece = await under_way.get()
            if not piece:
                return
            if (wait_s := arrives_s - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            shaper.late_ms.append(1000 * max(0.0, loop.time() - arrives_s))
            writer.write(piece)
            await writer.drain()

    delivery = asyncio.create_task(deliver(), name="deliver")
    try:
        while data := await reader.read(_READ_BYTES):
            for start in range(0, len(data), _PIECE_BYTES):
                piece = data[start : start + _PIECE_BYTES]
                await under_way.put((shaper.arrives_s(len(piece), loop.time()), piece))
        await under_way.put((0.0, b""))
        await delivery
    finally:
        delivery.cancel()
        writer.close()
