"""Transport of feature maps between devices: the interface, and the implementation over the broker."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol, Self

import numpy as np

from shared.bus import topics
from shared.bus.chunks import CHUNK_BYTES, Complete, Reassembler
from shared.bus.connection import Connection, unique_client_id
from shared.bus.errors import DecodeError, PublishFailed
from shared.bus.feature_maps.chunk_sender import UNCONFIRMED_CHUNKS, ChunkSender, Pace
from shared.bus.frame import Buffer, frame_size_bytes
from shared.bus.settings import BusSettings
from shared.messages.reject_counter import RejectCounter
from shared.transport_mode import Carrier, TransportMode

_LOGGER = logging.getLogger(__name__)

_SWEEP_INTERVAL_S: Final = 1.0
# Longest way of a message through the broker to its own sender.
_SELF_TEST_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """A frame that has arrived whole.

    Attributes:
        buffer: the frame, read-only.
        sender: the device that sent it.
        first_chunk_at_s: arrival of its first chunk, on the event loop's clock.
        completed_at_s: arrival of its last chunk.
        size_bytes: its size.
        first_chunk_bytes: size of the chunk that arrived first.
        acknowledge: sends the receipt of a transfer, with this device's processing time in ms, back on the same way;
            None where receipts have a way of their own.
    """

    buffer: memoryview
    sender: str
    first_chunk_at_s: float
    completed_at_s: float
    size_bytes: int
    first_chunk_bytes: int
    acknowledge: Callable[[str, float], None] | None = None


# Takes a frame over at once and returns True, or leaves it to whoever iterates over the transport. Never raises.
TakeNow = Callable[[Delivery], bool]


def _uncleared(size_bytes: int) -> memoryview:
    return np.empty(size_bytes, np.uint8).data


def takes_nothing(delivery: Delivery) -> bool:
    """Leave every frame to whoever iterates over the transport."""
    return False


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A frame that the transport has taken over.

    Attributes:
        size_bytes: its size.
        started_at_s: start of its first chunk, on the event loop's clock.
        completed_at_s: confirmation of its last chunk.
        carrier: what carried it.
    """

    size_bytes: int
    started_at_s: float
    completed_at_s: float
    carrier: Carrier = Carrier.MQTT


@dataclass(slots=True)
class TransportCounters:
    """Frames that went through a transport, and faults. Changed only by the transport, and only upwards.

    Attributes:
        sent: frames sent.
        sent_bytes: sum of their sizes.
        delivered: frames that arrived whole.
        delivered_bytes: sum of their sizes.
        undecodable: chunks that were malformed or did not fit to their transfer.
        expired: transfers given up before they were complete.
    """

    sent: int = 0
    sent_bytes: int = 0
    delivered: int = 0
    delivered_bytes: int = 0
    undecodable: int = 0
    expired: int = 0


class FeatureMapTransport(Protocol):
    """Sends frames from device to device. Each arrives complete or not at all, possibly twice."""

    async def send(
        self, device: str, buffers: Sequence[Buffer], *, pace: Pace | None = None, mode: TransportMode | None = None
    ) -> SentMessage:
        """Send one frame to a device.

        Args:
            device: the receiver.
            buffers: the frame in pieces. They must not change until this returns.
            pace: delays each part until it may be sent.
            mode: carriers that are allowed; None for the transport's own setting.

        Raises:
            BusError: the frame could not be sent in time, or no allowed carrier reaches the device.
        """
        ...

    def carrier(self, device: str, mode: TransportMode | None = None) -> Carrier:
        """Return what would carry a frame to a device now."""
        ...

    def passes_others(self, device: str, size_bytes: int, mode: TransportMode | None = None) -> bool:
        """Return whether a frame to a device would be sent now without waiting for another one under way."""
        ...

    def send_now(self, device: str, buffers: Sequence[Buffer], mode: TransportMode | None = None) -> bool:
        """Send one small frame at once, or return False if that is not possible now. Nothing says whether it arrives.

        Args:
            device: the receiver.
            buffers: the frame in pieces. They must never change.
            mode: carriers that are allowed; None for the transport's own setting. `carrier` says which it is.
        """
        ...


class BrokerTransport:
    """Sends frames through the broker, in chunks of QoS 1 on a connection of its own.

    With a connection of their own, chunks do not delay control messages. At most four chunks are unconfirmed at a
    time, sent or received, which bounds the memory that the broker needs per receiver.
    """

    def __init__(self, connection: Connection, device: str, reassembler: Reassembler, chunks: ChunkSender) -> None:
        self.counters = TransportCounters()
        self.device = device
        self.take_now: TakeNow = takes_nothing
        self._connection = connection
        self._reassembler = reassembler
        self._chunks = chunks
        self._sending = asyncio.Lock()
        self._rejects = RejectCounter()
        self._clock = asyncio.get_running_loop()
        self._has_heard = asyncio.Event()

    async def check_inbox(self) -> None:
        """Send an empty message to this device's own inbox, and note a missing right to read it if it does not come.

        It must be iterated over meanwhile. Devices may write to every inbox, their own included.
        """
        topic = topics.inbox(self.device)
        with contextlib.suppress(PublishFailed):
            await self._connection.publish(topic, b"")
            try:
                async with asyncio.timeout(_SELF_TEST_S):
                    await self._has_heard.wait()
            except TimeoutError:
                if self._connection.is_connected:
                    self._connection.missing_rights.note("read", f"{self._connection.settings.root}/{topic}")

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: BusSettings,
        device: str,
        *,
        chunk_bytes: int = CHUNK_BYTES,
        reassembler: Reassembler | None = None,
        send_timeout_s: float = 30.0,
        connect_timeout_s: float | None = 10.0,
    ) -> AsyncIterator[Self]:
        """Connect and subscribe to the device's inbox.

        Args:
            settings: where the broker is.
            device: this device's name.
            chunk_bytes: size of the slice in a sent chunk. Smaller where the broker accepts only smaller packets.
            reassembler: reassembles received chunks within its bounds; None for the usual bounds.
            send_timeout_s: bound on the confirmation of one chunk, waits for a reconnect included.
            connect_timeout_s: bound on the first connection; None to keep trying.

        Yields:
            The transport, connected and subscribed.

        Raises:
            BrokerUnreachable: not connected in time.
            AccessRefused: the broker refused this device.
        """
        async with Connection.open(
            settings,
            client_id=unique_client_id(f"{device}-inbox"),
            receive_maximum=UNCONFIRMED_CHUNKS,
            connect_timeout_s=connect_timeout_s,
        ) as connection:
            bounds = Reassembler(allocate=_uncleared) if reassembler is None else reassembler
            chunks = ChunkSender(connection, device, chunk_bytes, send_timeout_s)
            transport = cls(connection, device, bounds, chunks)
            await connection.subscribe(topics.inbox(device), qos=1)
            yield transport

    @property
    def connection(self) -> Connection:
        """The connection that carries the chunks."""
        return self._connection

    async def send(
        self, device: str, buffers: Sequence[Buffer], *, pace: Pace | None = None, mode: TransportMode | None = None
    ) -> SentMessage:
        """Send one frame to a device's inbox. Frames go one at a time: a second call waits for the first.

        Raises:
            PublishFailed: a chunk was not confirmed in time. The receiver drops the others when the transfer expires.
                Or the mode does not allow the broker.
        """
        if mode is not None and not mode.allows(Carrier.MQTT):
            raise PublishFailed(topics.inbox(device), "only direct connections are allowed, and this device has none")
        size_bytes = frame_size_bytes(buffers)
        # One frame at a time: interleaved frames would all arrive late, and the receiver would hold all of them in
        # memory.
        async with self._sending:
            started_at_s = self._clock.time()
            await self._chunks.send(topics.inbox(device), buffers, pace=pace)
        self.counters.sent += 1
        self.counters.sent_bytes += size_bytes
        return SentMessage(size_bytes, started_at_s, self._clock.time())

    def carrier(self, device: str, mode: TransportMode | None = None) -> Carrier:
        """Return the broker."""
        return Carrier.MQTT

    def passes_others(self, device: str, size_bytes: int, mode: TransportMode | None = None) -> bool:
        """Return False: frames go one at a time."""
        return False

    def send_now(self, device: str, buffers: Sequence[Buffer], mode: TransportMode | None = None) -> bool:
        """Send one frame in a single chunk of QoS 0, unless the broker is away or the socket is full."""
        if mode is not None and not mode.allows(Carrier.MQTT):
            return False
        size_bytes = frame_size_bytes(buffers)
        if not self._chunks.send_now(topics.inbox(device), buffers, size_bytes):
            return False
        self.counters.sent += 1
        self.counters.sent_bytes += size_bytes
        return True

    def __aiter__(self) -> AsyncIterator[Delivery]:
        """Iterate over the frames that arrive in this device's inbox, without end."""
        return self

    async def __anext__(self) -> Delivery:
        """Return the next frame. Safe to cancel: chunks of incomplete frames are kept."""
        while True:
            # Expired transfers must be given up also while nothing arrives.
            try:
                async with asyncio.timeout(_SWEEP_INTERVAL_S):
                    received = await anext(self._connection)
            except TimeoutError:
                self._sweep()
                continue
            self._sweep()
            self._has_heard.set()
            if not received.payload:
                # From `check_inbox`.
                continue
            try:
                complete = self._reassembler.accept(received.payload, self._clock.time())
            except DecodeError as error:
                self._note_fault(received.topic, str(error))
                continue
            if complete is not None and not self.take_now(delivery := self._delivery(complete)):
                return delivery

    def _delivery(self, complete: Complete) -> Delivery:
        self.counters.delivered += 1
        self.counters.delivered_bytes += complete.size_bytes
        return Delivery(
            buffer=complete.buffer,
            sender=complete.sender,
            first_chunk_at_s=complete.first_chunk_at_s,
            completed_at_s=complete.completed_at_s,
            size_bytes=complete.size_bytes,
            first_chunk_bytes=complete.first_chunk_bytes,
        )

    def _sweep(self) -> None:
        for expired in self._reassembler.expire(self._clock.time()):
            self.counters.expired += 1
            _LOGGER.warning(
                "gave up a message from %s after %d of %d bytes: %s",
                expired.sender or "an unknown sender",
                expired.received_bytes,
                expired.total_bytes,
                expired.reason,
            )

    def _note_fault(self, topic: str, reason: str) -> None:
        self.counters.undecodable += 1
        if self._rejects.add(topic, reason):
            _LOGGER.warning("dropped a message on %s: %s", topic, reason)
