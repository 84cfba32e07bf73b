"""A connected socket, plain or with TLS, that neither blocks nor copies what it sends."""

import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Final

from shared.bus.frame import Buffer

# Linux takes at most 1024 pieces in one call (IOV_MAX). Frames have a few.
_MAX_PIECES: Final = 64
# TLS has no gathered writes: smaller pieces are joined, so that they share a record and a call.
_JOINED_BYTES: Final = 16 * 1024


def open_socket(
    host: str, port: int, timeout_s: float, context: ssl.SSLContext | None = None
) -> socket.socket | ssl.SSLSocket:
    """Connect, and shake hands if there is a TLS context. Blocks, so call it off the event loop.

    Args:
        host: name or address. TLS checks the certificate against it.
        port: TCP port.
        timeout_s: bound on every step: each address of the host, and each packet of the handshake.
        context: of TLS; None for plain TCP.

    Returns:
        The socket, in non-blocking mode.

    Raises:
        OSError: no connection, or no TLS over it.
        UnicodeError: the host cannot be a name.
    """
    sock = socket.create_connection((host, port), timeout_s)
    try:
        # Small packets would otherwise wait up to 40 ms for the delayed acknowledgement of those before them. Before
        # the handshake, whose packets are small as well.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is not None:
            sock = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            sock.do_handshake()
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


class SocketStream:
    """The bytes that go through a socket. What the socket does not take waits here, in order.

    Invariant. `_waiting` holds the bytes from `written_bytes` to `queued_bytes` of all that was sent.

    Attributes:
        queued_bytes: number of bytes given to `send` so far.
        written_bytes: number of bytes that the socket has taken so far.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Take over a connected, non-blocking socket."""
        self.queued_bytes = 0
        self.written_bytes = 0
        self._socket = sock
        self._waiting: deque[memoryview] = deque()

    @property
    def descriptor(self) -> int:
        """The file descriptor, to be watched by an event loop."""
        return self._socket.fileno()

    @property
    def wants_write(self) -> bool:
        """True while bytes wait that the socket has not taken."""
        return bool(self._waiting)

    def send(self, pieces: Sequence[Buffer]) -> int:
        """Write as much as the socket takes and keep the rest by reference: it must not change until it is written.

        Returns:
            The position of the last byte: it is written once `written_bytes` is as large.

        Raises:
            OSError: the connection is lost.
        """
        was_empty = not self._waiting
        for piece in pieces:
            view = memoryview(piece).cast("B")
            if view.nbytes:
                self._waiting.append(view)
                self.queued_bytes += view.nbytes
        if was_empty:
            self.flush()
        return self.queued_bytes

    def flush(self) -> None:
        """Write as much of what waits as the socket takes.

        Raises:
            OSError: the connection is lost.
        """
        while self._waiting:
            try:
                size_bytes = self._write()
            except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            self._drop(size_bytes)

    def copy_waiting(self) -> None:
        """Copy what waits, so that the memory behind it may change."""
        self._waiting = deque(memoryview(bytes(view)) for view in self._waiting)

    def receive_into(self, buffer: memoryview) -> int | None:
        """Read what has arrived.

        Returns:
            The number of bytes read; 0 at the end of the stream; None if nothing has arrived.

        Raises:
            OSError: the connection is lost.
        """
        try:
            return self._socket.recv_into(buffer)
        except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return None

    def end_writing(self) -> None:
        """Tell the peer that nothing more comes. Does nothing with TLS, which would end the reading as well."""
        if not isinstance(self._socket, ssl.SSLSocket):
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket. What waits is not sent."""
        self._waiting.clear()
        with contextlib.suppress(OSError):
            self._socket.close()

    def _write(self) -> int:
        if not isinstance(self._socket, ssl.SSLSocket):
            count = min(len(self._waiting), _MAX_PIECES)
            return self._socket.sendmsg([self._waiting[index] for index in range(count)])
        self._join_small()
        return self._socket.send(self._waiting[0])

    def _join_small(self) -> None:
        """Replace small pieces at the head by one."""
        joined: list[memoryview] = []
        size_bytes = 0
        while self._waiting and size_bytes + self._waiting[0].nbytes <= _JOINED_BYTES:
            joined.append(self._waiting.popleft())
            size_bytes += joined[-1].nbytes
        if joined:
            self._waiting.appendleft(memoryview(b"".join(joined)) if len(joined) > 1 else joined[0])

    def _drop(self, size_bytes: int) -> None:
        self.written_bytes += size_bytes
        while size_bytes:
            first = self._waiting[0]
            if size_bytes < first.nbytes:
                self._waiting[0] = first[size_bytes:]
                return
            size_bytes -= first.nbytes
            self._waiting.popleft()
