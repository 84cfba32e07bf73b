"""The connecting side of a direct connection: finds the way to a peer, and shows who this device is."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from shared.bus.feature_maps.chunk_sender import Pace
from shared.bus.frame import Buffer
from shared.direct.direct_channel import DirectChannel, error_text
from shared.direct.direct_decoder import DirectDecoder
from shared.direct.direct_messages import (
    DirectEvent,
    Dismissed,
    Greeted,
    MessageKind,
    Side,
    SpanFreed,
    TransferReceipt,
    message,
    span_message,
)
from shared.direct.direct_settings import DirectSettings, Endpoint, is_loopback
from shared.direct.direct_tls import BootCertificate, shake_hands
from shared.direct.greetings import Hello, decode_welcome, encode_greeting
from shared.direct.memory_budget import MemoryBudget
from shared.direct.peer_table import PeerIdentity
from shared.direct.shared_arena import SharedArena
from shared.direct.socket_folder import check_folder, peer_is_same_user, reachable
from shared.messages.devices import DirectAccess

# Bound on one attempt, all addresses together.
_DIAL_S: Final = 5.0
# Below this size the messages that release shared memory cost more than the copies through the socket.
_SHARED_FROM_BYTES: Final = 256 * 1024


class DirectLink:
    """A connection to a peer, for frames in one direction and receipts in the other."""

    def __init__(
        self,
        identity: PeerIdentity,
        sock: socket.socket,
        on_receipt: Callable[[str, TransferReceipt], None],
        on_closed: Callable[["DirectLink", str], None],
    ) -> None:
        """Take over a connected socket.

        Args:
            identity: the peer.
            sock: connected, and encrypted if it has to be.
            on_receipt: called with the peer's name and a receipt.
            on_closed: called once, also if the peer refuses this device.
        """
        self.identity = identity
        self._on_receipt = on_receipt
        self._on_closed = on_closed
        self._welcomed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arena: SharedArena | None = None
        # No frames arrive here, so nothing is reserved.
        self.channel = DirectChannel(sock, DirectDecoder(Side.CONNECTING, MemoryBudget(0)), self._take, self._closed)
        self.channel.peer = identity.device

    @property
    def way(self) -> str:
        """What the connection is, for people."""
        if isinstance(self.channel.socket, ssl.SSLSocket):
            return "TLS"
        if not self.channel.is_unix:
            return "TCP"
        return "Unix socket" if self._arena is None else "Unix socket, shared memory"

    async def greet(self, device: str, boot_id: str) -> None:
        """State who this device is, and wait until the peer accepts it.

        Raises:
            OSError: the peer refuses it, or has ended the connection.
        """
        self._arena = _arena() if self.channel.is_unix else None
        hello = Hello(
            device=device,
            boot_id=boot_id,
            receiver=self.identity.device,
            token=self.identity.access.token,
            shared_bytes=0 if self._arena is None else self._arena.size_bytes,
        )
        greeting = message(MessageKind.HELLO, encode_greeting(hello))
        if self._arena is None:
            self.channel.post(greeting)
        else:
            self.channel.post_with_descriptor(greeting, self._arena.descriptor)
        self.channel.start()
        await self._welcomed

    async def send(self, buffers: Sequence[Buffer], size_bytes: int, pace: Pace | None) -> None:
        """Send a frame, through shared memory if it is large and there is room.

        Raises:
            DirectSendFailed: the connection has ended.
        """
        # With a pace the peer must receive the first bytes early, as over a real link.
        if self._arena is not None and size_bytes >= _SHARED_FROM_BYTES and pace is None:
            offset = self._arena.put(buffers, size_bytes)
            if offset is not None:
                self.channel.post(span_message(offset, size_bytes))
                return
        await self.channel.send(buffers, pace)

    def _take(self, channel: DirectChannel, event: DirectEvent) -> None:
        match event:
            case Greeted(body=body):
                welcome = decode_welcome(body)
                if (welcome.device, welcome.boot_id) != (self.identity.device, self.identity.boot_id):
                    channel.close(f"{welcome.device} answers, or another run of {self.identity.device}")
                    return
                channel.admit()
                if not self._welcomed.done():
                    self._welcomed.set_result(None)
            case Dismissed(reason=reason):
                channel.close(f"refused: {reason}")
            case TransferReceipt():
                self._on_receipt(self.identity.device, event)
            case SpanFreed(offset=offset) if self._arena is not None:
                self._arena.free(offset)

    def _closed(self, _: DirectChannel, reason: str) -> None:
        if not self._welcomed.done():
            self._welcomed.set_exception(ConnectionError(reason))
        if self._arena is not None:
            self._arena.close()
            self._arena = None
        self._on_closed(self, reason)


@dataclass(frozen=True, slots=True)
class DirectDialer:
    """Connects to peers.

    Attributes:
        device: name of this device.
        boot_id: of this run of its executor.
        settings: what must be encrypted, and the folder of the Unix sockets.
        network: of this device (`network_id`).
        certificate: of this run; None if there is none.
        on_receipt: called with a peer's name and a receipt.
        on_closed: called when a link has ended.
    """

    device: str
    boot_id: str
    settings: DirectSettings
    network: str
    certificate: BootCertificate | None
    on_receipt: Callable[[str, TransferReceipt], None]
    on_closed: Callable[[DirectLink, str], None]

    async def dial(self, identity: PeerIdentity) -> DirectLink:
        """Connect to a peer by the first of its endpoints that works, the Unix socket before TCP.

        Raises:
            OSError: none works. The text gives the reason of each.
        """
        reasons = []
        try:
            async with asyncio.timeout(_DIAL_S):
                for connect in self._ways(identity):
                    try:
                        return await self._greeted(await connect(), identity)
                    except (OSError, ValueError) as error:
                        reasons.append(error_text(error) if isinstance(error, OSError) else str(error))
        except TimeoutError:
            reasons.append(f"no answer within {_DIAL_S:g} s")
        raise ConnectionError("; ".join(reasons) or "it has no endpoint that this device may use")

    def _ways(self, identity: PeerIdentity) -> Iterator[Callable[[], Awaitable[socket.socket]]]:
        name = identity.access.socket_name
        if name and (self.settings.folder / name).is_socket():
            yield partial(self._connect_unix, self.settings.folder / name)
        for address in identity.access.addresses:
            yield partial(self._connect_tcp, address, identity.access)

    async def _greeted(self, sock: socket.socket, identity: PeerIdentity) -> DirectLink:
        link = DirectLink(identity, sock, self.on_receipt, self.on_closed)
        try:
            await link.greet(self.device, self.boot_id)
        except BaseException:
            link.channel.close("no connection came about")
            raise
        return link

    async def _connect_unix(self, path: Path) -> socket.socket:
        check_folder(path.parent)
        with reachable(path) as address:
            sock = await _connected(socket.AF_UNIX, address)
        if not peer_is_same_user(sock):
            sock.close()
            raise PermissionError("the socket belongs to a process of another user")
        return sock

    async def _connect_tcp(self, address: str, access: DirectAccess) -> socket.socket:
        endpoint = Endpoint.parse(address)
        if is_loopback(endpoint.host) and access.machine != self.network:
            raise PermissionError(f"{address} is on another machine")
        if not access.encrypted and self.settings.needs_tls(endpoint.host):
            raise PermissionError(f"{address} is not encrypted")
        if access.encrypted and self.certificate is None:
            raise PermissionError(f"{address} needs TLS, and this device lacks the library cryptography")
        family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
        sock = await _connected(family, (endpoint.host, endpoint.port))
        # Before TLS: without it each message of the handshake may wait 40 ms for an acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not access.encrypted or self.certificate is None:
            return sock
        wrapped: socket.socket = sock
        try:
            context = await asyncio.to_thread(self.certificate.connecting_context, access.certificate)
            wrapped = secured = context.wrap_socket(sock, do_handshake_on_connect=False)
            await shake_hands(secured)
            if secured.getpeercert(binary_form=True) != access.certificate:
                raise PermissionError(f"{address} shows another certificate than the presence of the device")
        except BaseException:
            wrapped.close()
            raise
        return secured


async def _connected(family: socket.AddressFamily, address: str | tuple[str, int]) -> socket.socket:
    sock = socket.socket(family)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _arena() -> SharedArena | None:
    try:
        return SharedArena()
    except OSError:
        # Without it frames go through the socket.
        return None
