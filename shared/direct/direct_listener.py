"""The accepting side of direct connections: sockets, TLS, and the check of who connects."""

import asyncio
import hmac
import logging
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from shared.bus.errors import DecodeError
from shared.direct.direct_channel import DirectChannel, error_text
from shared.direct.direct_decoder import DirectDecoder
from shared.direct.direct_messages import (
    DirectEvent,
    FrameArrived,
    Greeted,
    MessageKind,
    Side,
    SpanArrived,
    free_message,
    message,
    refusal_message,
)
from shared.direct.direct_tls import BootCertificate, shake_hands
from shared.direct.greetings import PROTOCOL_VERSION, Hello, Welcome, decode_hello, encode_greeting
from shared.direct.memory_budget import MemoryBudget
from shared.direct.shared_arena import PeerMemory
from shared.direct.socket_folder import peer_is_same_user
from shared.messages.reject_counter import RejectCounter

_LOGGER = logging.getLogger(__name__)

_MAX_CONNECTIONS: Final = 256
_MAX_STRANGERS: Final = 32
_HANDSHAKE_S: Final = 5.0
# Pause after the process has run out of descriptors: the connection that waits would wake the loop without end.
_FULL_PAUSE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class ArrivedFrame:
    """A frame from a peer.

    Attributes:
        buffer: the frame.
        channel: where it came from, and where its receipt goes.
        first_at_s: arrival of its first bytes.
        first_bytes: number of bytes that arrived first.
        arrived_at_s: arrival of its last bytes.
        budget_bytes: bytes to give back to the budget when the frame is taken; 0 for shared memory.
    """

    buffer: memoryview
    channel: DirectChannel
    first_at_s: float
    first_bytes: int
    arrived_at_s: float
    budget_bytes: int


class DirectListener:
    """Accepts connections, and hands over the frames of those that have shown who they are.

    A stranger can make this side hold one connection of `_MAX_STRANGERS` for some seconds, and nothing else.
    """

    def __init__(
        self,
        device: str,
        boot_id: str,
        token: str,
        certificate: BootCertificate | None,
        budget: MemoryBudget,
        *,
        certificates: Callable[[], Mapping[str, bytes]],
        on_frame: Callable[[ArrivedFrame], None],
    ) -> None:
        """Begin without sockets.

        Args:
            device: name of this device.
            boot_id: of this run of its executor.
            token: whoever connects has to state it.
            certificate: of this run; None if no connection is encrypted.
            budget: memory of received frames.
            certificates: returns the certificates of the other devices by name.
            on_frame: takes a frame.
        """
        self._welcome = message(MessageKind.WELCOME, encode_greeting(Welcome(device=device, boot_id=boot_id)))
        self._device = device
        self._token = token
        self._certificate = certificate
        self._budget = budget
        self._certificates = certificates
        self._on_frame = on_frame
        self._loop = asyncio.get_running_loop()
        self._listeners: dict[socket.socket, bool] = {}
        self._handshakes: set[asyncio.Task[None]] = set()
        self._strangers: set[DirectChannel] = set()
        self._known: dict[str, DirectChannel] = {}
        self._memories: dict[DirectChannel, PeerMemory] = {}
        self._rejects = RejectCounter()

    @property
    def channels(self) -> list[DirectChannel]:
        """All connections."""
        return [*self._strangers, *self._known.values()]

    @property
    def channels_without_room(self) -> list[DirectChannel]:
        """Connections whose next frame waits for memory."""
        return [channel for channel in self._known.values() if channel.needs_room]

    def listen(self, listener: socket.socket, *, tls: bool) -> None:
        """Accept connections of a listening socket, which is closed by `close`."""
        listener.setblocking(False)
        self._listeners[listener] = tls
        self._loop.add_reader(listener, self._accept, listener)

    async def close(self) -> None:
        """End all connections and close the listening sockets."""
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            listener.close()
        self._listeners.clear()
        for task in self._handshakes:
            task.cancel()
        await asyncio.gather(*self._handshakes, return_exceptions=True)
        for channel in self.channels:
            channel.close("this device stops")

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            _LOGGER.warning("no direct connection can be accepted: %s", error_text(error))
            self._loop.remove_reader(listener)
            self._loop.call_later(_FULL_PAUSE_S, self._accept_again, listener)
            return
        crowd = len(self._strangers) + len(self._handshakes)
        if crowd >= _MAX_STRANGERS or crowd + len(self._known) >= _MAX_CONNECTIONS:
            sock.close()
            return
        sock.setblocking(False)
        if sock.family == socket.AF_UNIX:
            if peer_is_same_user(sock):
                self._begin(sock)
            else:
                self._note_refused("a process", "it belongs to another user")
                sock.close()
            return
        # Before the handshake: without it each of its messages may wait 40 ms for an acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._listeners[listener]:
            task = self._loop.create_task(self._secure(sock), name="direct handshake")
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)
        else:
            self._begin(sock)

    def _accept_again(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            self._loop.add_reader(listener, self._accept, listener)

    async def _secure(self, sock: socket.socket) -> None:
        wrapped = sock
        try:
            assert self._certificate is not None
            context = await asyncio.to_thread(self._certificate.accepting_context, self._certificates().values())
            wrapped = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            async with asyncio.timeout(_HANDSHAKE_S):
                await shake_hands(wrapped)
        except (OSError, TimeoutError) as error:
            _LOGGER.debug("a direct connection was not encrypted: %s", error)
            wrapped.close()
        except asyncio.CancelledError:
            wrapped.close()
            raise
        else:
            self._begin(wrapped)

    def _begin(self, sock: socket.socket) -> None:
        channel = DirectChannel(sock, DirectDecoder(Side.ACCEPTING, self._budget), self._take, self._closed)
        self._strangers.add(channel)
        channel.start()

    def _take(self, channel: DirectChannel, event: DirectEvent) -> None:
        match event:
            case Greeted(body=body):
                self._greet(channel, decode_hello(body))
            case FrameArrived(buffer=buffer):
                now_s = self._loop.time()
                self._on_frame(ArrivedFrame(buffer, channel, event.first_at_s, event.first_bytes, now_s, len(buffer)))
            case SpanArrived(offset=offset, length=length):
                self._take_span(channel, offset, length)

    def _greet(self, channel: DirectChannel, hello: Hello) -> None:
        fault = self._fault(channel, hello)
        if fault is not None:
            self._note_refused(hello.device, fault)
            channel.post(refusal_message(fault))
            channel.close(fault)
            return
        if hello.shared_bytes and channel.descriptors:
            self._memories[channel] = PeerMemory(channel.descriptors[0], hello.shared_bytes)
        while channel.descriptors:
            os.close(channel.descriptors.pop())
        earlier = self._known.get(hello.device)
        if earlier is not None:
            earlier.close("the peer connected again")
        self._strangers.discard(channel)
        self._known[hello.device] = channel
        channel.peer = hello.device
        channel.post(self._welcome)
        channel.admit()

    def _note_refused(self, who: str, reason: str) -> None:
        # Anybody on the network can connect again and again, and call itself anything.
        if self._rejects.add("direct", reason):
            _LOGGER.warning("refused a direct connection of %s: %s", who, reason)

    def _fault(self, channel: DirectChannel, hello: Hello) -> str | None:
        """Return the reason to refuse a peer, None if it has shown who it is."""
        if hello.version != PROTOCOL_VERSION:
            return f"version {hello.version} of the protocol, not {PROTOCOL_VERSION}"
        if hello.receiver != self._device:
            return f"it means {hello.receiver}, this is {self._device}"
        if not hmac.compare_digest(hello.token.encode(), self._token.encode()):
            return "it states another token than the presence"
        if isinstance(channel.socket, ssl.SSLSocket):
            shown = channel.socket.getpeercert(binary_form=True)
            if not shown or shown != self._certificates().get(hello.device):
                return f"its certificate is not that of {hello.device}"
        return None

    def _take_span(self, channel: DirectChannel, offset: int, length: int) -> None:
        memory = self._memories.get(channel)
        if memory is None:
            raise DecodeError("a shared frame without shared memory")

        def free() -> None:
            # On the thread that held the frame last. The loop may have ended before.
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(channel.post, free_message(offset))

        now_s = self._loop.time()
        self._on_frame(ArrivedFrame(memory.frame(offset, length, free), channel, now_s, length, now_s, 0))

    def _closed(self, channel: DirectChannel, reason: str) -> None:
        self._strangers.discard(channel)
        self._memories.pop(channel, None)
        if self._known.get(channel.peer) is channel:
            del self._known[channel.peer]
        _LOGGER.debug("the direct connection of %s ended: %s", channel.peer or "a stranger", reason)
