"""Sockets that take less than they are given, plain and with TLS."""

import asyncio
import select
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from shared.bus.mqtt.socket_stream import SocketStream, open_socket
from shared.bus.settings import BusSettings
from shared.bus.tls import client_context
from tests.shared.bus.conftest import Certificates

PIECES = [b"head", b"", bytes(range(256)) * 20_000, b"tail"]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        yield server


def received_all(connection: socket.socket, size_bytes: int) -> bytes:
    data = bytearray()
    while len(data) < size_bytes:
        data += connection.recv(1 << 20)
    return bytes(data)


def flush(stream: SocketStream) -> None:
    while stream.wants_write:
        select.select([], [stream.descriptor], [], 20)
        stream.flush()


def test_what_the_socket_does_not_take_waits_in_order(listener: socket.socket) -> None:
    stream = SocketStream(open_socket("127.0.0.1", listener.getsockname()[1], 5.0))
    peer, _ = listener.accept()
    with peer:
        position = stream.send(PIECES)
        assert stream.wants_write
        assert stream.written_bytes < position == stream.queued_bytes
        assert stream.send([b"behind"]) == position + 6
        everything = b"".join(PIECES) + b"behind"
        reading = threading.Thread(target=lambda: results.append(received_all(peer, len(everything))))
        results: list[bytes] = []
        reading.start()
        flush(stream)
        reading.join()
        assert results == [everything]
        assert stream.written_bytes == stream.queued_bytes
        assert stream.receive_into(memoryview(bytearray(10))) is None
        peer.sendall(b"answer")
        select.select([stream.descriptor], [], [], 20)
        buffer = bytearray(10)
        assert (stream.receive_into(memoryview(buffer)), bytes(buffer[:6])) == (6, b"answer")
    stream.close()
    assert not stream.wants_write


def test_what_waits_can_be_copied_before_its_memory_changes(listener: socket.socket) -> None:
    stream = SocketStream(open_socket("127.0.0.1", listener.getsockname()[1], 5.0))
    peer, _ = listener.accept()
    data = bytearray(b"x" * 20_000_000)
    with peer:
        stream.send([data])
        assert stream.wants_write
        stream.copy_waiting()
        data[:] = b"y" * len(data)
        reading = threading.Thread(target=lambda: results.append(received_all(peer, len(data))))
        results: list[bytes] = []
        reading.start()
        flush(stream)
        reading.join()
    assert results == [b"x" * len(data)]
    stream.close()


def test_small_packets_leave_at_once(listener: socket.socket) -> None:
    sock = open_socket("127.0.0.1", listener.getsockname()[1], 5.0)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    assert sock.getblocking() is False
    SocketStream(sock).close()


def test_a_closed_port_is_said(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        open_socket("127.0.0.1", port, 5.0)


async def test_tls_there_and_back(certificates: Certificates) -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificates.cert, certificates.key)
    everything = b"".join(PIECES)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(everything)))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_context)
    port = server.sockets[0].getsockname()[1]
    context = client_context(BusSettings(tls=True, tls_ca=certificates.ca))

    def exchange() -> bytes:
        stream = SocketStream(open_socket("127.0.0.1", port, 5.0, context))
        stream.send(PIECES)
        flush(stream)
        data = bytearray()
        room = memoryview(bytearray(65_536))
        while size_bytes := received(stream, room):
            data += room[:size_bytes]
        stream.close()
        return bytes(data)

    async with server:
        assert await asyncio.to_thread(exchange) == everything


def received(stream: SocketStream, room: memoryview) -> int:
    """Wait for bytes and return their number; 0 at the end."""
    # TLS may hold bytes for which the socket does not become readable: it is asked before the wait.
    while (size_bytes := stream.receive_into(room)) is None:
        select.select([stream.descriptor], [], [], 20)
    return size_bytes


async def test_a_failed_handshake_leaves_no_socket_open(certificates: Certificates) -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificates.cert, certificates.key)
    ended = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context)
    asyncio.get_running_loop().set_exception_handler(lambda *_: ended.set())
    context = client_context(BusSettings(tls=True))
    async with server:
        # A socket that stays open would raise a ResourceWarning, which is an error here.
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.to_thread(open_socket, "localhost", server.sockets[0].getsockname()[1], 5.0, context)
