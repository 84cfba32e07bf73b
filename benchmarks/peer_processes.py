"""Ways to the second segment of a model in another process: TCP, ZeroMQ, gRPC. Used by `benchmarks.peers`."""

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from services.cli.support.manifest import Preset, build_manifest
from services.executor.segments.engine import EngineSettings
from services.executor.segments.segment import REQUEST_TENSOR, Segment, build_segments
from services.executor.segments.segment_events import SegmentKey
from shared.messages.models import Manifest

_HEADER: Final = struct.Struct("<II")
_METHOD: Final = "/segue.benchmarks.Segment/Run"


class Peer(Protocol):
    """A connection to the process of the second segment."""

    def send(self, number: int, data: memoryview) -> None:
        """Send a feature map."""
        ...

    def receive(self) -> int:
        """Wait for the next result and return the number of its request."""
        ...


def two_segments(path: Path, manifest: Manifest, cut: int) -> tuple[Segment, Segment]:
    """Return the segments before and behind a cut."""
    keys = SegmentKey(manifest.model, 0, cut), SegmentKey(manifest.model, cut, len(manifest.blocks))
    built = build_segments(path, manifest, keys, EngineSettings())
    return built[keys[0]], built[keys[1]]


def second_half(path: Path, cut: int) -> Callable[[bytes | memoryview], bytes]:
    """Return a function from the bytes that cross the cut to those of the result."""
    manifest = build_manifest(path, preprocessing=Preset.TENSOR)
    first, second = two_segments(path, manifest, cut)
    request = np.zeros(manifest.blocks[0].output_bytes, np.uint8)
    ((name, example),) = first.run({REQUEST_TENSOR: request}).items()

    def run(data: bytes | memoryview) -> bytes:
        made = second.run({name: np.frombuffer(data, example.dtype).reshape(example.shape)})
        return next(iter(made.values())).tobytes()

    return run


# Raw TCP.


class TcpPeer:
    """Length and number before the bytes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, number: int, data: memoryview | bytes) -> None:
        """Send a feature map, or a result."""
        self._connection.sendall(_HEADER.pack(number, len(data)))
        self._connection.sendall(data)

    def receive(self) -> int:
        """Wait for the next result."""
        return self.receive_all()[0]

    def receive_all(self) -> tuple[int, memoryview]:
        """Wait for a message; return its number and bytes."""
        number, size = _HEADER.unpack(self._exactly(_HEADER.size))
        return number, self._exactly(size)

    def _exactly(self, size: int) -> memoryview:
        view = memoryview(bytearray(size))
        got = 0
        while got < size:
            count = self._connection.recv_into(view[got:])
            if not count:
                raise ConnectionError("the other process has ended")
            got += count
        return view


@contextmanager
def tcp_peer(path: Path, cut: int) -> Iterator[Peer]:
    """Start the other process and connect to it."""
    with socket.create_server(("127.0.0.1", 0)) as server, _serving("tcp", path, cut, server.getsockname()[1]):
        connection, _ = server.accept()
        with connection:
            yield TcpPeer(connection)


def serve_tcp(run: Callable[[bytes | memoryview], bytes], port: int) -> None:
    """Answer until the connection ends."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        peer = TcpPeer(connection)
        while True:
            try:
                number, data = peer.receive_all()
            except ConnectionError:
                return
            peer.send(number, run(data))


# ZeroMQ.


class ZeroMqPeer:
    """A socket for each direction, since threads may not share one; feature maps are sent without a copy."""

    def __init__(self, outgoing: Any, incoming: Any) -> None:
        self._outgoing = outgoing
        self._incoming = incoming

    def send(self, number: int, data: memoryview) -> None:
        """Send a feature map."""
        self._outgoing.send_multipart([number.to_bytes(4, "little"), data], copy=False)

    def receive(self) -> int:
        """Wait for the next result."""
        return int.from_bytes(self._incoming.recv_multipart()[0], "little")


@contextmanager
def zeromq_peer(path: Path, cut: int) -> Iterator[Peer]:
    """Start the other process and connect to it."""
    import zmq

    with zmq.Context() as context, context.socket(zmq.PUSH) as outgoing, context.socket(zmq.PULL) as incoming:
        outgoing.setsockopt(zmq.LINGER, 0)
        port = outgoing.bind_to_random_port("tcp://127.0.0.1")
        # The other process learns the second port from the first message.
        back = incoming.bind_to_random_port("tcp://127.0.0.1")
        with _serving("zeromq", path, cut, port):
            outgoing.send(str(back).encode())
            yield ZeroMqPeer(outgoing, incoming)


def serve_zeromq(run: Callable[[bytes | memoryview], bytes], port: int) -> None:
    """Answer until the process is ended."""
    import zmq

    with zmq.Context() as context, context.socket(zmq.PULL) as incoming, context.socket(zmq.PUSH) as outgoing:
        incoming.connect(f"tcp://127.0.0.1:{port}")
        outgoing.connect(f"tcp://127.0.0.1:{incoming.recv().decode()}")
        while True:
            number, data = incoming.recv_multipart(copy=False)
            outgoing.send_multipart([number.bytes, run(data.buffer)])


# gRPC.


class GrpcPeer:
    """A stream in each direction, with messages of plain bytes."""

    def __init__(self, channel: Any) -> None:
        self._messages: list[bytes] = []
        self._ready = threading.Semaphore(0)
        stream = channel.stream_stream(_METHOD, request_serializer=bytes, response_deserializer=bytes)
        self._results = stream(self._outgoing())

    def send(self, number: int, data: memoryview) -> None:
        """Send a feature map."""
        self._messages.append(b"".join((number.to_bytes(4, "little"), data)))
        self._ready.release()

    def receive(self) -> int:
        """Wait for the next result."""
        return int.from_bytes(next(self._results)[:4], "little")

    def _outgoing(self) -> Iterator[bytes]:
        while True:
            self._ready.acquire()
            yield self._messages.pop(0)


@contextmanager
def grpc_peer(path: Path, cut: int) -> Iterator[Peer]:
    """Start the other process and connect to it."""
    import grpc

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with _serving("grpc", path, cut, port), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(60)
        yield GrpcPeer(channel)


def serve_grpc(run: Callable[[bytes | memoryview], bytes], port: int) -> None:
    """Answer until the process is ended."""
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    def answer(messages: Iterator[bytes], _context: Any) -> Iterator[bytes]:
        for message in messages:
            yield message[:4] + run(memoryview(message)[4:])

    handler = grpc.stream_stream_rpc_method_handler(answer)
    service = grpc.method_handlers_generic_handler("segue.benchmarks.Segment", {"Run": handler})
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


PEERS: Mapping[str, tuple[str | None, Callable[[Path, int], AbstractContextManager[Peer]]]] = {
    "tcp": (None, tcp_peer),
    "zeromq": ("zmq", zeromq_peer),
    "grpc": ("grpc", grpc_peer),
}
_SERVERS: Mapping[str, Callable[[Callable[[bytes | memoryview], bytes], int], None]] = {
    "tcp": serve_tcp,
    "zeromq": serve_zeromq,
    "grpc": serve_grpc,
}


@contextmanager
def _serving(peer: str, path: Path, cut: int, port: int) -> Iterator[None]:
    command = (sys.executable, "-m", "benchmarks.peer_processes", peer, str(path), str(cut), str(port))
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.terminate()


if __name__ == "__main__":
    _SERVERS[sys.argv[1]](second_half(Path(sys.argv[2]), int(sys.argv[3])), int(sys.argv[4]))
