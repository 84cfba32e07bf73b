"""The TCP side of the embedded broker: accepts clients, checks what they send, and passes it on to rumqttd."""

import asyncio
import logging
import ssl
from dataclasses import dataclass, field
from typing import Final

from broker.packet_filter import PacketFilter, Passed
from broker.refusals import Refused
from broker.topic_quota import TopicQuota

_LOGGER = logging.getLogger(__name__)

_BUFFER_BYTES: Final = 256 * 1024
# Bytes that wait for a slow reader, in each direction of each connection. Beyond it nothing is read from the other end.
_WAITING_BYTES: Final = 1024 * 1024
# Longest time from the connection to a whole CONNECT packet.
_CONNECT_TIMEOUT_S: Final = 10.0
_MAX_NOTES: Final = 256


@dataclass(slots=True)
class _Notes:
    """Log lines about clients, each once: endless faults must not fill the log."""

    _written: set[tuple[str, str]] = field(default_factory=set, init=False)

    def write(self, host: str, text: str) -> None:
        note = (host, text)
        if note not in self._written and len(self._written) < _MAX_NOTES:
            self._written.add(note)
            _LOGGER.warning("client %s %s", host, text)


class _Half(asyncio.BufferedProtocol):
    """One end of a relayed connection: reads, and pauses the other end's reading while its own writing is behind."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Half | None = None
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(_WAITING_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            # Closed, not aborted: what waits is still written.
            self.other.transport.close()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(bytes(self._buffer[:nbytes]))

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()


class _ClientHalf(_Half):
    """The end at a client. Reads nothing before the other end is connected."""

    def __init__(self, gateway: "Gateway") -> None:
        super().__init__()
        self._gateway = gateway
        self._filter = PacketFilter(gateway.max_packet_bytes, gateway.quota)
        self._deadline: asyncio.TimerHandle | None = None
        self._host = "unknown"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self._host = str(peer[0]) if peer else "unknown"
        assert self.transport is not None
        self.transport.pause_reading()
        self._deadline = asyncio.get_running_loop().call_later(_CONNECT_TIMEOUT_S, self._abandon)
        self._gateway.connect(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)
        self._gateway.forget(self)

    def buffer_updated(self, nbytes: int) -> None:
        transport = self.transport
        if transport is None or transport.is_closing() or self.other is None or self.other.transport is None:
            return
        try:
            passed = self._filter.feed(self._buffer[:nbytes])
        except Refused as refused:
            self._gateway.notes.write(self._host, refused.reason)
            transport.write(refused.farewell)
            transport.close()
            return
        if self._filter.is_connected and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._follow(passed, transport, self.other.transport)

    def _follow(self, passed: Passed, transport: asyncio.Transport, broker: asyncio.Transport) -> None:
        if passed.forward:
            broker.write(passed.forward)
        if passed.answer:
            transport.write(passed.answer)
        for note in passed.notes:
            self._gateway.notes.write(self._host, f"sent {note}, which was left out")

    def _abandon(self) -> None:
        if self.transport is not None:
            self.transport.abort()


@dataclass(slots=True, eq=False)
class Gateway:
    """Relays between clients and rumqttd, which listens on the loopback interface only.

    An answer of the gateway may overtake one of rumqttd to an earlier packet; MQTT matches both by packet identifier.

    Attributes:
        broker_port: TCP port of rumqttd. It may change; later clients are connected to the new one.
        max_packet_bytes: largest packet of a client.
        max_connections: largest number of clients.
        quota: of the topics of all clients.
        notes: log lines about clients.
    """

    broker_port: int
    max_packet_bytes: int
    max_connections: int
    quota: TopicQuota = field(default_factory=TopicQuota)
    notes: _Notes = field(default_factory=_Notes)
    _clients: set[_ClientHalf] = field(default_factory=set, init=False)
    _connecting: set[asyncio.Task[None]] = field(default_factory=set, init=False)

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None) -> asyncio.Server:
        """Accept clients.

        Raises:
            OSError: the address cannot be used, for example because the port is in use.
        """
        return await asyncio.get_running_loop().create_server(
            lambda: _ClientHalf(self), host, port, ssl=tls, backlog=self.max_connections
        )

    def connect(self, client: _ClientHalf) -> None:
        """Connect a client that has come in."""
        self._clients.add(client)
        task = asyncio.get_running_loop().create_task(self._connect(client), name="connect a client to rumqttd")
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def forget(self, client: _ClientHalf) -> None:
        """Drop a client that has left."""
        self._clients.discard(client)

    def drop_clients(self) -> None:
        """Close the connection of every client; they connect again."""
        for client in tuple(self._clients):
            if client.transport is not None:
                client.transport.abort()

    async def _connect(self, client: _ClientHalf) -> None:
        transport = client.transport
        if transport is None:
            return
        if len(self._clients) > self.max_connections:
            transport.abort()
            return
        half = _Half()
        half.other = client
        try:
            await asyncio.get_running_loop().create_connection(lambda: half, "127.0.0.1", self.broker_port)
        except OSError:
            transport.abort()
            return
        client.other = half
        if transport.is_closing():
            if half.transport is not None:
                half.transport.abort()
            return
        transport.resume_reading()
