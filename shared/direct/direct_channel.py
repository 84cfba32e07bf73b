"""One direct connection on the event loop: a non-blocking socket, its decoder, and the messages that wait to be sent.

asyncio's streams and transports copy what they carry. Here frames are received into their memory (`recvmsg_into`) and
sent from where they lie (`sendmsg`). `ssl` has neither, but reads into and writes from memory as well.
"""

import asyncio
import errno
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from shared.bus.errors import BusError, DecodeError
from shared.bus.feature_maps.chunk_sender import Pace
from shared.bus.frame import Buffer, frame_size_bytes
from shared.bus.mqtt.socket_stream import SocketStream
from shared.direct.direct_decoder import DirectDecoder
from shared.direct.direct_messages import PART_BYTES, DirectEvent, MessageKind, frame_messages, message

_MESSAGES_PER_CALL: Final = 16
_PARTS_PER_CALL: Final = 2
# Reads in a row before other connections get their turn.
_READS_PER_TURN: Final = 32
# Short messages that wait behind a peer that does not read.
_MAX_WAITING: Final = 4096
# Small frames that wait so, of at most a part each.
_MAX_FRAMES: Final = 16
_UNSENT_BYTES: Final = 512 * 1024
_SOCKET_BUFFER_BYTES: Final = 4 * 1024 * 1024
_HEARTBEAT_S: Final = 3.0
_SILENT_S: Final = 12.0
_GREETING_S: Final = 5.0
# A frame that has begun ends its connection if no byte of it arrives for this time.
_STALLED_S: Final = 60.0


class DirectSendFailed(BusError):
    """A frame could not be sent on a direct connection.

    Attributes:
        device: the receiver.
        reason: the cause.
    """

    def __init__(self, device: str, reason: str) -> None:
        self.device = device
        self.reason = reason
        super().__init__(f"no direct way to {device}: {reason}")


@dataclass(eq=False, slots=True)
class _Outgoing:
    """A message to send.

    Attributes:
        views: its pieces.
        end: position of its last byte among all that was sent; 0 until it has begun.
        sent: who waits for it.
    """

    views: list[memoryview]
    end: int = 0
    sent: "asyncio.Future[None] | None" = None


class DirectChannel:
    """A connection to one peer.

    `on_event` is called for every message, `on_closed` once. A frame larger than a part waits for others like it.
    Smaller ones, receipts and the like go between its parts.

    Invariant: `_begun` holds the messages that the stream has and the kernel has not, in order.
    """

    def __init__(
        self,
        sock: socket.socket,
        decoder: DirectDecoder,
        on_event: Callable[["DirectChannel", DirectEvent], None],
        on_closed: Callable[["DirectChannel", str], None],
    ) -> None:
        """Take over a connected socket, after its TLS handshake if it has one. `start` begins to read."""
        self.peer = ""
        self.is_closed = False
        self.descriptors: list[int] = []
        self._sock = sock
        self._stream = SocketStream(sock)
        self._decoder = decoder
        self._on_event = on_event
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self._is_admitted = self._is_reading = self._is_writing = self._is_paused = False
        self._urgent: deque[_Outgoing] = deque()
        self._parts: deque[_Outgoing] = deque()
        self._begun: deque[_Outgoing] = deque()
        self._large = asyncio.Lock()
        self._started_s = self._heard_s = self._sent_s = self._progress_s = self._loop.time()
        self._progress_bytes = 0
        sock.setblocking(False)
        if sock.family == socket.AF_UNIX:
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BUFFER_BYTES)
        elif hasattr(socket, "TCP_NOTSENT_LOWAT"):
            # What the kernel has and has not sent yet goes before a small message, so it must not be much.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)

    @property
    def socket(self) -> socket.socket:
        """The socket."""
        return self._sock

    @property
    def is_unix(self) -> bool:
        """True for a Unix socket, which can carry descriptors."""
        return self._sock.family == socket.AF_UNIX

    @property
    def needs_room(self) -> bool:
        """True while a large frame waits for memory (`resume`)."""
        return self._decoder.needs_room and not self.is_closed

    def start(self) -> None:
        """Begin to read."""
        self._set_reading(True)

    def admit(self) -> None:
        """Decode what follows the peer's greeting."""
        self._is_admitted = True
        self._handle(self._decoder.admit)

    def pause(self) -> None:
        """Read nothing until `resume`; the peer is then held back by the socket."""
        self._is_paused = True
        self._set_reading(False)

    def resume(self) -> None:
        """Read again after `pause` or a wait for memory."""
        if self.is_closed:
            return
        self._is_paused = False
        self._heard_s = self._progress_s = self._loop.time()
        if self._decoder.needs_room:
            self._handle(self._decoder.resume)
        self._set_reading(True)
        # TLS may hold bytes that the socket no longer signals.
        self._loop.call_soon(self._readable)

    def post(self, short: bytes) -> None:
        """Send a short message as soon as possible."""
        if self.is_closed:
            return
        if len(self._urgent) >= _MAX_WAITING:
            self.close("it does not read")
            return
        self._urgent.append(_Outgoing([memoryview(short)]))
        self._pump()

    def post_frame(self, buffers: Sequence[Buffer]) -> bool:
        """Send a frame of at most one part as soon as possible, or return False if others like it wait already.

        Its buffers must never change.
        """
        if self.is_closed or len(self._urgent) >= _MAX_FRAMES or frame_size_bytes(buffers) > PART_BYTES:
            return False
        self._urgent += map(_Outgoing, frame_messages(buffers))
        self._pump()
        return not self.is_closed

    def post_with_descriptor(self, short: bytes, descriptor: int) -> None:
        """Send the first message, together with an open file. On Unix sockets only.

        Raises:
            OSError: the socket did not take it.
        """
        # Nothing has been sent before, so there is room for all of it.
        socket.send_fds(self._sock, [short], [descriptor])

    async def send(self, buffers: Sequence[Buffer], pace: Pace | None = None) -> None:
        """Send a frame; return when the kernel has all of it.

        If this is cancelled, the rest of the frame is not sent, and the receiver drops what it has.

        Raises:
            DirectSendFailed: the connection ended.
        """
        messages = [_Outgoing(views) for views in frame_messages(buffers)]
        if len(messages) == 1:
            if pace is not None:
                await pace(sum(map(len, messages[0].views[1:])))
            await self._send_all(messages, self._urgent)
            return
        async with self._large:
            passed_bytes = 0
            try:
                if pace is None:
                    await self._send_all(messages, self._parts)
                    return
                for part in messages:
                    passed_bytes += sum(map(len, part.views[1:]))
                    await pace(passed_bytes)
                    await self._send_all([part], self._parts)
            except asyncio.CancelledError:
                self.post(message(MessageKind.CANCEL))
                raise

    def tick(self, now_s: float) -> None:
        """Send what shows that this side is alive; end a connection whose other side is not."""
        if not self._is_admitted and now_s - self._started_s > _GREETING_S:
            self.close(f"no greeting within {_GREETING_S:g} s")
            return
        if self._is_admitted and now_s - self._sent_s > _HEARTBEAT_S and not self._begun:
            self._sent_s = now_s
            self.post(message(MessageKind.HEARTBEAT))
        if not self._is_reading:
            return
        if now_s - self._heard_s > _SILENT_S:
            self.close(f"silent for {_SILENT_S:g} s")
        elif not self._decoder.has_begun_frame or self._decoder.frame_bytes != self._progress_bytes:
            self._progress_s, self._progress_bytes = now_s, self._decoder.frame_bytes
        elif now_s - self._progress_s > _STALLED_S:
            self.close(f"a frame without progress for {_STALLED_S:g} s")

    def close(self, reason: str) -> None:
        """End the connection. Sends that have not finished fail."""
        if self.is_closed:
            return
        self.is_closed = True
        self._set_reading(False)
        self._set_writing(False)
        # What is queued here and short, such as a refusal, has been sent by `post` already if there was room.
        self._stream.close()
        self._decoder.close()
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors.clear()
        waiting = [*self._begun, *self._urgent, *self._parts]
        for queue in (self._begun, self._urgent, self._parts):
            queue.clear()
        for outgoing in waiting:
            if outgoing.sent is not None and not outgoing.sent.done():
                outgoing.sent.set_exception(DirectSendFailed(self.peer, reason))
        self._on_closed(self, reason)

    # Reading.

    def _set_reading(self, is_reading: bool) -> None:
        wanted = is_reading and not self.is_closed and not self._is_paused and not self._decoder.needs_room
        if wanted and not self._is_reading:
            self._loop.add_reader(self._sock, self._readable)
        elif not wanted and self._is_reading:
            self._loop.remove_reader(self._sock)
        self._is_reading = wanted

    def _readable(self) -> None:
        for _ in range(_READS_PER_TURN):
            if not self._is_reading or not (buffers := self._decoder.buffers()):
                return
            room_bytes = sum(map(len, buffers))
            try:
                count = self._receive(buffers)
            except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
                return
            except OSError as error:
                self.close(error_text(error))
                return
            if count == 0:
                self.close("the peer ended it")
                return
            self._heard_s = self._loop.time()
            self._handle(partial(self._decoder.received, count))
            # A short read has emptied the socket. TLS reads one record at a time.
            if count < room_bytes and not isinstance(self._sock, ssl.SSLSocket):
                return
        self._loop.call_soon(self._readable)

    def _receive(self, buffers: list[memoryview]) -> int:
        if isinstance(self._sock, ssl.SSLSocket):
            return self._sock.recv_into(buffers[0])
        if self.is_unix and not self._is_admitted:
            space = socket.CMSG_SPACE(4)
            count, ancillary, _, _ = self._sock.recvmsg_into(buffers, space, socket.MSG_CMSG_CLOEXEC)
            self._keep_descriptors(ancillary)
            return count
        return self._sock.recvmsg_into(buffers)[0]

    def _keep_descriptors(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                size = len(data) - len(data) % 4
                self.descriptors += memoryview(data[:size]).cast("i").tolist()
        # One memory file is all that a greeting may bring.
        while len(self.descriptors) > 1:
            os.close(self.descriptors.pop())

    def _handle(self, decode: Callable[[float], list[DirectEvent]]) -> None:
        try:
            events = decode(self._loop.time())
            for event in events:
                if self.is_closed:
                    return
                self._on_event(self, event)
        except DecodeError as error:
            self.close(str(error))
            return
        except MemoryError:
            self.close("there is no memory for the frame")
            return
        if self._decoder.needs_room:
            self._set_reading(False)

    # Writing.

    async def _send_all(self, messages: list[_Outgoing], queue: deque[_Outgoing]) -> None:
        """Queue messages, and wait until the kernel has the last one."""
        if self.is_closed:
            raise DirectSendFailed(self.peer, "the connection has ended")
        queue.extend(messages)
        self._pump()
        last = messages[-1]
        if self.is_closed:
            raise DirectSendFailed(self.peer, "the connection has ended")
        if 0 < last.end <= self._stream.written_bytes:
            return
        last.sent = self._loop.create_future()
        try:
            await last.sent
        except asyncio.CancelledError:
            for outgoing in messages:
                with suppress(ValueError):
                    queue.remove(outgoing)
            # A message that has begun has to end. Its bytes belong to the caller, who may change them from now on.
            self._stream.copy_waiting()
            raise

    def _pump(self) -> None:
        """Send what waits until the socket is full."""
        try:
            self._stream.flush()
            while not self._stream.wants_write and (batch := self._next()):
                self._sent_s = self._loop.time()
                end = self._stream.queued_bytes
                for outgoing in batch:
                    end = outgoing.end = end + sum(map(len, outgoing.views))
                self._begun += batch
                self._stream.send([view for outgoing in batch for view in outgoing.views])
                self._confirm()
        except OSError as error:
            self.close(error_text(error))
            return
        self._confirm()
        self._set_writing(self._stream.wants_write)

    def _next(self) -> list[_Outgoing]:
        """Take out the messages to send next: the urgent ones, else some parts.

        A small message waits for those that have begun, so these are few.
        """
        if self._urgent:
            return [self._urgent.popleft() for _ in range(min(len(self._urgent), _MESSAGES_PER_CALL))]
        return [self._parts.popleft() for _ in range(min(len(self._parts), _PARTS_PER_CALL))]

    def _confirm(self) -> None:
        """Tell those who wait for messages that the kernel has now."""
        while self._begun and self._begun[0].end <= self._stream.written_bytes:
            sent = self._begun.popleft().sent
            if sent is not None and not sent.done():
                sent.set_result(None)

    def _set_writing(self, is_writing: bool) -> None:
        if is_writing and not self._is_writing:
            self._loop.add_writer(self._sock, self._pump)
        elif not is_writing and self._is_writing:
            self._loop.remove_writer(self._sock)
        self._is_writing = is_writing


def error_text(error: OSError) -> str:
    """Return one line for an error of a socket."""
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if error.errno == errno.EPIPE:
        return "the peer ended it"
    return error.strerror or str(error) or type(error).__name__
