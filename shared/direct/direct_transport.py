"""Transport of feature maps over direct connections: the connections of a device, as `peer_table` wants them."""

import asyncio
import contextlib
import logging
import secrets
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Self

from shared.bus.feature_maps.chunk_sender import Pace
from shared.bus.feature_maps.transport import Delivery, SentMessage, TakeNow, TransportCounters, takes_nothing
from shared.bus.frame import Buffer, frame_size_bytes
from shared.direct.direct_channel import DirectChannel, DirectSendFailed
from shared.direct.direct_dialer import DirectDialer, DirectLink
from shared.direct.direct_listener import ArrivedFrame, DirectListener
from shared.direct.direct_messages import TransferReceipt, receipt_message
from shared.direct.direct_probe import read_probe
from shared.direct.direct_settings import DirectSettings, Endpoint, is_unspecified, own_address
from shared.direct.direct_tls import BootCertificate
from shared.direct.memory_budget import MemoryBudget
from shared.direct.peer_table import Dial, HangUp, PeerAction, PeerIdentity, PeerState, PeerTable
from shared.direct.socket_folder import listen_in, socket_name
from shared.machine_identity import network_id
from shared.messages.devices import DirectAccess, Presence, State
from shared.transport_mode import Carrier

_LOGGER = logging.getLogger(__name__)

# Frames that have arrived and were not taken: beyond it their connections are not read.
_MAX_WAITING: Final = 16
_MAX_RECEIVED_BYTES: Final = 256 * 1024 * 1024
_MAX_ANSWERS: Final = 4096
_MAX_PROBES: Final = 256
_TICK_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class DirectReceipt:
    """A receipt that came back on the connection of its transfer.

    Attributes:
        receiver: the device that has the transfer.
        transfer_id: its id.
        processing_ms: processing time at the receiver.
        at_s: when the receipt arrived, on the event loop's clock.
    """

    receiver: str
    transfer_id: str
    processing_ms: float
    at_s: float


@dataclass(frozen=True, slots=True)
class ArrivedProbe:
    """A probe of another device.

    Attributes:
        sender: the other device.
        first_at_s: arrival of its first bytes, on the event loop's clock.
        acknowledge: sends its receipt, with the processing time at this device in ms.
    """

    sender: str
    first_at_s: float
    acknowledge: Callable[[float], None]


@dataclass(frozen=True, slots=True)
class DirectLoss:
    """A connection has ended. Transfers on it without a receipt may be lost.

    Attributes:
        receiver: the device at its other end.
    """

    receiver: str


class DirectTransport:
    """Sends frames to devices that are connected, and receives those of devices that have connected.

    Every device connects to those that it sends to. A connection carries frames one way and receipts the other, so two
    devices that send to each other have two.

    Memory is bounded: large frames that arrive reserve theirs in a budget, at most `_MAX_WAITING` frames wait to be
    taken, and beyond that connections are not read, which holds their senders back.
    """

    def __init__(
        self, device: str, boot_id: str, settings: DirectSettings, certificate: BootCertificate | None
    ) -> None:
        """Begin without sockets; see `open`."""
        self.counters = TransportCounters()
        self.device = device
        self.take_now: TakeNow = takes_nothing
        self._boot_id = boot_id
        self._settings = settings
        self._certificate = certificate
        self._loop = asyncio.get_running_loop()
        self._table = PeerTable(device)
        self._budget = MemoryBudget(_MAX_RECEIVED_BYTES)
        token = secrets.token_hex(16)
        network = network_id()
        self._listener = DirectListener(
            device,
            boot_id,
            token,
            certificate,
            self._budget,
            certificates=self._table.certificates,
            on_frame=self._arrived,
        )
        self._dialer = DirectDialer(
            device, boot_id, settings, network, certificate, on_receipt=self._receipt, on_closed=self._link_closed
        )
        self._links: dict[str, DirectLink] = {}
        self._dials: dict[str, asyncio.Task[None]] = {}
        self._frames: deque[ArrivedFrame] = deque()
        self._paused: set[DirectChannel] = set()
        self._answers: deque[DirectReceipt | DirectLoss] = deque(maxlen=_MAX_ANSWERS)
        self._probes: deque[ArrivedProbe] = deque(maxlen=_MAX_PROBES)
        self._frame_there, self._answer_there, self._link_changed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._probe_there = asyncio.Event()
        self.access = DirectAccess(
            machine=network, token=token, certificate=b"" if certificate is None else certificate.certificate
        )
        self._socket_path: Path | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, device: str, boot_id: str, settings: DirectSettings) -> AsyncIterator[Self]:
        """Listen on TCP and on a Unix socket. What is not possible is logged and left out.

        Yields:
            The transport. `access` is for the device's presence.
        """
        transport = cls(device, boot_id, settings, await asyncio.to_thread(BootCertificate.make))
        ticking = asyncio.create_task(transport._tick(), name="direct connections")
        try:
            await transport._listen()
            yield transport
        finally:
            ticking.cancel()
            await transport._close()

    def learn(self, presence: Presence) -> None:
        """Take the presence of another device."""
        access = presence.direct if presence.state is State.ONLINE else None
        self._act(self._table.announced(presence.device, presence.boot_id, access, self._loop.time()))

    def plan(self, receivers: Iterable[str]) -> None:
        """Connect to the devices that receive this device's frames by the plans in force."""
        self._act(self._table.planned(receivers, self._loop.time()))

    def is_connected(self, device: str) -> bool:
        """Return whether frames to a device can be sent now."""
        return device in self._links

    def connect(self, device: str) -> None:
        """Begin to connect to a device, unless that goes on already or has failed lately."""
        self._act(self._table.asked(device, self._loop.time()))

    async def connected(self, device: str) -> bool:
        """Begin to connect to a device if necessary, wait while that goes on, and return whether it has succeeded."""
        self.connect(device)
        while self._table.state(device) is PeerState.DIALLING:
            self._link_changed.clear()
            await self._link_changed.wait()
        return self.is_connected(device)

    async def send(self, device: str, buffers: Sequence[Buffer], *, pace: Pace | None = None) -> SentMessage:
        """Send one frame to a device that is connected. Large frames to one device go one at a time.

        Raises:
            DirectSendFailed: the device is not connected, or the connection ended before the kernel had the frame. Then
                the device has not received it.
        """
        link = self._links.get(device)
        if link is None:
            raise DirectSendFailed(device, "it is not connected")
        size_bytes = frame_size_bytes(buffers)
        started_at_s = self._loop.time()
        self._table.asked(device, started_at_s)
        await link.send(buffers, size_bytes, pace)
        self.counters.sent += 1
        self.counters.sent_bytes += size_bytes
        return SentMessage(size_bytes, started_at_s, self._loop.time(), Carrier.DIRECT)

    def send_now(self, device: str, buffers: Sequence[Buffer]) -> bool:
        """Send one small frame at once, or return False if the device is not connected or does not keep up."""
        link = self._links.get(device)
        if link is None or not link.channel.post_frame(buffers):
            return False
        self._table.asked(device, self._loop.time())
        self.counters.sent += 1
        self.counters.sent_bytes += frame_size_bytes(buffers)
        return True

    def __aiter__(self) -> AsyncIterator[Delivery]:
        """Iterate over the frames that arrive for this device, without end."""
        return self

    async def __anext__(self) -> Delivery:
        """Return the next frame. Safe to cancel."""
        while not self._frames:
            self._frame_there.clear()
            await self._frame_there.wait()
        frame = self._frames.popleft()
        self._budget.give(frame.budget_bytes)
        self._read_on()
        return _delivery(frame)

    async def answers(self) -> AsyncIterator[DirectReceipt | DirectLoss]:
        """Iterate over the receipts of sent frames and the losses of connections, without end."""
        while True:
            while self._answers:
                yield self._answers.popleft()
            self._answer_there.clear()
            await self._answer_there.wait()

    async def probes(self) -> AsyncIterator[ArrivedProbe]:
        """Iterate over the probes that arrive, without end. They wait for nothing that waits for other frames."""
        while True:
            while self._probes:
                yield self._probes.popleft()
            self._probe_there.clear()
            await self._probe_there.wait()

    async def _listen(self) -> None:
        settings = self._settings
        try:
            host = settings.host if settings.host else await asyncio.to_thread(own_address, settings.broker)
            needs_tls = settings.needs_tls(host)
            if needs_tls and self._certificate is None:
                raise PermissionError("TLS is needed there, and the library cryptography is missing")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server((host, settings.port), family=family)
            self._listener.listen(listener, tls=needs_tls)
            if is_unspecified(host):
                host = await asyncio.to_thread(own_address, settings.broker)
            address = str(Endpoint(host, listener.getsockname()[1]))
            self.access = self.access.model_copy(update={"addresses": (address,), "encrypted": needs_tls})
        except (OSError, ValueError) as error:
            _LOGGER.warning("no direct connections over TCP: %s", error)
        name = socket_name(self.device, self._boot_id)
        try:
            self._listener.listen(await asyncio.to_thread(listen_in, settings.folder, name), tls=False)
            self._socket_path = settings.folder / name
            self.access = self.access.model_copy(update={"socket_name": name})
        except OSError as error:
            _LOGGER.warning("no direct connections over a Unix socket in %s: %s", settings.folder, error)

    async def _close(self) -> None:
        for task in (dials := list(self._dials.values())):
            task.cancel()
        await asyncio.gather(*dials, return_exceptions=True)
        for link in list(self._links.values()):
            link.channel.close("this device stops")
        await self._listener.close()
        if self._socket_path is not None:
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._socket_path.unlink)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = self._loop.time()
            self._act(self._table.tick(now_s))
            for channel in [*self._listener.channels, *(link.channel for link in self._links.values())]:
                channel.tick(now_s)

    # Connections to peers.

    def _act(self, actions: Iterable[PeerAction]) -> None:
        for action in actions:
            match action:
                case Dial(peer=peer):
                    self._dials[peer.device] = self._loop.create_task(self._dial(peer), name=f"connect {peer.device}")
                case HangUp(device=device):
                    if (dial := self._dials.pop(device, None)) is not None:
                        dial.cancel()
                    if (link := self._links.get(device)) is not None:
                        link.channel.close("it is not needed any more")

    async def _dial(self, peer: PeerIdentity) -> None:
        try:
            link = await self._dialer.dial(peer)
        except OSError as error:
            self._table.failed(peer, self._loop.time())
            _LOGGER.info("no direct connection to %s: %s", peer.device, error)
        else:
            if self._table.dialled(peer, self._loop.time()):
                self._links[peer.device] = link
                _LOGGER.info("connected to %s directly (%s)", peer.device, link.way)
            else:
                link.channel.close("the peer has changed")
        finally:
            if self._dials.get(peer.device) is asyncio.current_task():
                del self._dials[peer.device]
            self._link_changed.set()

    def _link_closed(self, link: DirectLink, reason: str) -> None:
        device = link.identity.device
        if self._links.get(device) is not link:
            return
        del self._links[device]
        self._table.lost(link.identity, self._loop.time())
        _LOGGER.info("the direct connection to %s ended: %s", device, reason)
        self._answer(DirectLoss(device))

    def _receipt(self, device: str, receipt: TransferReceipt) -> None:
        self._answer(DirectReceipt(device, receipt.transfer_id, receipt.processing_ms, self._loop.time()))

    def _answer(self, answer: DirectReceipt | DirectLoss) -> None:
        self._answers.append(answer)
        self._answer_there.set()

    # Frames of peers.

    def _arrived(self, frame: ArrivedFrame) -> None:
        if (probe_id := read_probe(frame.buffer)) is not None:
            acknowledge = partial(_acknowledge, frame.channel, probe_id)
            self._probes.append(ArrivedProbe(frame.channel.peer, frame.first_at_s, acknowledge))
            self._probe_there.set()
            self._budget.give(frame.budget_bytes)
            # Later, because the channel is handing over what it has decoded.
            self._loop.call_soon(self._read_on)
            return
        self.counters.delivered += 1
        self.counters.delivered_bytes += len(frame.buffer)
        if self.take_now(_delivery(frame)):
            self._budget.give(frame.budget_bytes)
            return
        self._frames.append(frame)
        self._frame_there.set()
        if len(self._frames) >= _MAX_WAITING:
            self._paused.add(frame.channel)
            frame.channel.pause()

    def _read_on(self) -> None:
        """Read from connections again that were held back, if there is room now."""
        if self._paused and len(self._frames) < _MAX_WAITING // 2:
            for channel in self._paused:
                channel.resume()
            self._paused.clear()
        for channel in self._listener.channels_without_room:
            channel.resume()


def _delivery(frame: ArrivedFrame) -> Delivery:
    return Delivery(
        buffer=frame.buffer,
        sender=frame.channel.peer,
        first_chunk_at_s=frame.first_at_s,
        completed_at_s=frame.arrived_at_s,
        size_bytes=len(frame.buffer),
        first_chunk_bytes=frame.first_bytes,
        acknowledge=partial(_acknowledge, frame.channel),
    )


def _acknowledge(channel: DirectChannel, transfer_id: str, processing_ms: float) -> None:
    receipt = receipt_message(transfer_id, processing_ms)
    if receipt is not None:
        channel.post(receipt)
