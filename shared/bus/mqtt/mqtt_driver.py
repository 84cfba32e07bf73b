"""Runs the MQTT 5 protocol of a client over one network connection, on an asyncio event loop.

`packet_reader` and `publish_packet` read and write PUBLISH, the library `mqtt5` all other packets. `pending_answers`
turns answers of the broker into futures, and `keep_alive` decides when a silent broker is given up.
"""

import asyncio
import contextlib
import logging
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import mqtt5

from shared.bus.errors import DecodeError, HandshakeClosed, SessionLost
from shared.bus.frame import Buffer
from shared.bus.mqtt.keep_alive import KeepAlive, KeepAliveAction
from shared.bus.mqtt.packet_reader import IncomingPacket, IncomingPublish, PacketReader, UnreadablePublish
from shared.bus.mqtt.pending_answers import PendingAnswers
from shared.bus.mqtt.properties import NO_PROPERTIES, Properties
from shared.bus.mqtt.publish_packet import PublishHead, encode_head
from shared.bus.mqtt.reason_codes import Reason
from shared.bus.mqtt.socket_stream import SocketStream, open_socket

_LOGGER = logging.getLogger(__name__)

# Reads, and packets handled, in one turn of the event loop. A fast sender must not keep it from other work. The
# application has to take messages in between, or its queue overflows: Mosquitto may exceed the receive maximum.
_READS_PER_TURN: Final = 8
_PACKETS_PER_TURN: Final = 8


class MqttDriver:
    """One network connection, from CONNECT until it is lost. Not to be used again afterwards.

    Invariants. All methods except the blocking half of `connect` run on the event loop's thread. The socket is
    registered with the loop exactly while `_stream` is not None, and for writing while `_has_writer`. Every future is
    resolved by an answer of the broker, or failed with `SessionLost` when the connection ends.
    """

    def __init__(
        self,
        *,
        on_connected: Callable[[mqtt5.ConnAckPacket], None],
        on_publication: Callable[[IncomingPublish], None],
        on_unreadable: Callable[[UnreadablePublish], None],
        max_payload_bytes: Callable[[], int] | None = None,
    ) -> None:
        """Describe what to do with what arrives; `connect` makes the connection.

        Args:
            on_connected: called with CONNACK, before any message. Not if it is a refusal.
            on_publication: called with every message.
            on_unreadable: called for every message that cannot be delivered.
            max_payload_bytes: returns the size beyond which a payload is thrown away unread; None for no bound.
        """
        self._on_connected = on_connected
        self._on_publication = on_publication
        self._on_unreadable = on_unreadable
        self._loop = asyncio.get_running_loop()
        self._reader = PacketReader(max_payload_bytes)
        self._stream: SocketStream | None = None
        self._has_writer = False
        self._has_left = False
        self._reads_on = False
        self._handshake: asyncio.Future[Reason | None] = self._loop.create_future()
        self._end: asyncio.Future[str] = self._loop.create_future()
        self._answers = PendingAnswers()
        # Publications of QoS 0 that the socket has not taken yet, by the position of their last byte.
        self._unwritten: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._keep_alive = KeepAlive()
        self._keep_alive_timer: asyncio.TimerHandle | None = None

    @property
    def is_lost(self) -> bool:
        """True if the connection has ended."""
        return self._end.done()

    @property
    def silent_s(self) -> float:
        """Time for which the broker has sent nothing although it owes an answer; 0 if it owes none."""
        owed_since_s = self._answers.owed_since_s()
        if owed_since_s is None:
            return 0.0
        return max(0.0, self._loop.time() - max(owed_since_s, self._keep_alive.received_at_s))

    async def connect(
        self, host: str, port: int, packet: mqtt5.ConnectPacket, *, context: ssl.SSLContext | None, timeout_s: float
    ) -> Reason:
        """Open the socket, send CONNECT and wait for CONNACK.

        Args:
            host: name or address of the broker.
            port: TCP port.
            packet: the CONNECT packet.
            context: of TLS; None for plain TCP.
            timeout_s: bound on each address of the host, and on CONNACK.

        Returns:
            The reason code of CONNACK. A failure ends the connection.

        Raises:
            OSError: no connection, or no TLS over it.
            HandshakeClosed: the broker closed the connection.
            TimeoutError: no CONNACK within `timeout_s`.
        """
        opening = asyncio.ensure_future(asyncio.to_thread(open_socket, host, port, timeout_s, context))
        try:
            sock = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread cannot be interrupted. The socket exists, and can be closed, only after the thread has ended.
            await asyncio.wait({opening})
            if not opening.cancelled() and opening.exception() is None:
                opening.result().close()
            raise
        self._stream = SocketStream(sock)
        self._keep_alive.interval_s = packet.keep_alive
        self._keep_alive.received_at_s = self._loop.time()
        self._loop.add_reader(self._stream.descriptor, self._read)
        self._send([packet.write()])
        self._check_keep_alive()
        async with asyncio.timeout(timeout_s):
            reason = await asyncio.shield(self._handshake)
        if reason is None:
            raise HandshakeClosed
        return reason

    async def lost(self) -> str:
        """Wait until the connection has ended and return the reason."""
        return await asyncio.shield(self._end)

    async def publish(
        self, topic: str, payload: Sequence[Buffer], qos: int, retain: bool, properties: Properties | None
    ) -> Reason | None:
        """Publish, and wait for PUBACK (QoS 1) or until the packet is in the socket (QoS 0).

        Args:
            topic: with root.
            payload: pieces that are sent one behind another. They must not change until this returns.
            qos: 0 or 1.
            retain: the broker keeps the message for later subscribers.
            properties: of the message.

        Returns:
            The reason code of PUBACK; None for QoS 0.

        Raises:
            SessionLost: the connection ended first. The message may or may not have arrived.
            ValueError: the packet is larger than MQTT allows.
        """
        packet_id = self._answers.new_packet_id() if qos else None
        payload_bytes = sum(memoryview(piece).nbytes for piece in payload)
        head = encode_head(PublishHead(topic, properties or NO_PROPERTIES, packet_id, retain), payload_bytes)
        try:
            if packet_id is not None:
                return await self._answered(packet_id, [head, *payload])
            await self._written(self._send([head, *payload]))
        except (asyncio.CancelledError, TimeoutError):
            # A packet that has begun has to end, and its pieces belong to the caller again.
            if self._stream is not None:
                self._stream.copy_waiting()
            raise
        return None

    def publish_now(self, topic: str, payload: Sequence[Buffer]) -> bool:
        """Publish with QoS 0, or return False if earlier bytes wait for the socket or the connection has ended.

        Args:
            topic: with root.
            payload: pieces that are sent one behind another. They must never change.

        Raises:
            ValueError: the packet is larger than MQTT allows.
        """
        if self._stream is None or self._stream.wants_write:
            return False
        payload_bytes = sum(memoryview(piece).nbytes for piece in payload)
        try:
            self._send([encode_head(PublishHead(topic, NO_PROPERTIES, None, False), payload_bytes), *payload])
        except SessionLost:
            return False
        return True

    async def subscribe(self, topic_filter: str, qos: int, timeout_s: float) -> Reason:
        """Subscribe, and return the reason code of SUBACK.

        Raises:
            SessionLost: the connection ended first, or there was no SUBACK in time.
        """
        packet_id = self._answers.new_packet_id()
        wanted = mqtt5.TopicFilter(topic_filter, max_qos=mqtt5.QoS(qos), retain_as_published=False)
        return await self._answered(packet_id, [mqtt5.SubscribePacket(packet_id, [wanted]).write()], timeout_s)

    async def unsubscribe(self, topic_filter: str, timeout_s: float) -> None:
        """Unsubscribe, and wait for UNSUBACK.

        Raises:
            SessionLost: the connection ended first, or there was no UNSUBACK in time.
        """
        packet_id = self._answers.new_packet_id()
        await self._answered(packet_id, [mqtt5.UnsubscribePacket(packet_id, [topic_filter]).write()], timeout_s)

    def acknowledge(self, packet_id: int) -> None:
        """Send PUBACK for a message of QoS 1 that was received. Does nothing once the connection is lost."""
        # Also if this write finds that it is lost: who acknowledges need not know, for the broker delivers again.
        with contextlib.suppress(SessionLost):
            self._send([mqtt5.PubAckPacket(packet_id).write()])

    async def disconnect(self, timeout_s: float) -> None:
        """Send queued packets and DISCONNECT, so that the broker discards the will; give up after `timeout_s`."""
        if self._stream is None or self._has_left:
            return
        with contextlib.suppress(SessionLost, TimeoutError):
            position = self._send([mqtt5.DisconnectPacket().write()])
            # Nothing may follow DISCONNECT (MQTT 5.0, 3.14.4).
            self._has_left = True
            async with asyncio.timeout(timeout_s):
                await self._written(position)
                if self._stream is not None:
                    self._stream.end_writing()
                # A socket that is closed with unread bytes resets the connection: the broker might not see DISCONNECT.
                await self.lost()

    def close(self) -> None:
        """Close the socket immediately, without sending queued packets."""
        self._finish("closed")

    async def _answered(self, packet_id: int, pieces: Sequence[Buffer], timeout_s: float | None = None) -> Reason:
        answer = self._answers.expect(packet_id, self._loop.time())
        try:
            self._send(pieces)
        except SessionLost:
            self._answers.not_sent(packet_id)
            raise
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise SessionLost(f"no answer within {timeout_s:g} s") from None

    def _send(self, pieces: Sequence[Buffer]) -> int:
        """Write, or queue what the socket does not take; return the position of the last byte.

        Raises:
            SessionLost: there is no connection, or writing found that it is lost.
        """
        if self._stream is None or self._has_left:
            raise SessionLost("not connected")
        try:
            position = self._stream.send(pieces)
        except OSError as error:
            self._finish(f"the connection broke: {error}")
            raise SessionLost("not connected") from None
        self._keep_alive.sent_at_s = self._loop.time()
        self._watch_writing()
        return position

    async def _written(self, position: int) -> None:
        """Wait until the socket has taken all bytes up to a position."""
        if self._stream is not None and self._stream.written_bytes < position:
            written: asyncio.Future[None] = self._loop.create_future()
            self._unwritten.append((position, written))
            await written

    def _read(self) -> None:
        try:
            self._read_some()
        except OSError as error:
            self._finish(f"the connection broke: {error}")
        except (DecodeError, SessionLost) as error:
            self._finish(str(error))
        except Exception as error:
            # A fault in the handling of a message: without an end it would be repeated at every message.
            _LOGGER.exception("the connection is given up")
            self._finish(type(error).__name__)

    def _read_some(self) -> None:
        handled = 0
        for _ in range(_READS_PER_TURN):
            while (packet := self._reader.next_packet()) is not None:
                self._handle(packet)
                handled += 1
                if handled == _PACKETS_PER_TURN:
                    self._read_on()
                    return
            if not self._receive():
                return
        # What TLS has decrypted already does not make the socket readable again.
        self._read_on()

    def _read_on(self) -> None:
        """Go on in the next turn of the event loop, once, whether the socket is readable or not."""
        if not self._reads_on:
            self._reads_on = True
            self._loop.call_soon(self._continue_reading)

    def _continue_reading(self) -> None:
        self._reads_on = False
        if self._stream is not None:
            self._read()

    def _receive(self) -> bool:
        """Read once; return False if nothing has arrived, or the connection has ended."""
        stream = self._stream
        if stream is None:
            return False
        size_bytes = stream.receive_into(self._reader.buffer())
        if size_bytes is None:
            return False
        if not size_bytes:
            self._finish("the connection broke: the broker hung up")
            return False
        self._keep_alive.received_at_s = self._loop.time()
        self._reader.received(size_bytes)
        return True

    def _handle(self, packet: IncomingPacket) -> None:
        match packet:
            case IncomingPublish():
                self._on_publication(packet)
            case UnreadablePublish():
                self._on_unreadable(packet)
            case mqtt5.PubAckPacket():
                self._answers.resolve(packet.packet_id, packet.reason_code)
            case mqtt5.SubAckPacket() | mqtt5.UnsubAckPacket() if packet.reason_codes:
                # Each request has one topic filter, so each answer has one reason.
                self._answers.resolve(packet.packet_id, packet.reason_codes[0])
            case mqtt5.PingRespPacket():
                self._keep_alive.answered()
            case mqtt5.ConnAckPacket() if not self._handshake.done():
                self._accept(packet)
            case mqtt5.DisconnectPacket():
                self._finish(f"the broker ended it: {Reason.of(packet.reason_code)}")
            case _:
                raise DecodeError(f"Protocol error: the broker sent a {type(packet).__name__}")

    def _accept(self, packet: mqtt5.ConnAckPacket) -> None:
        reason = Reason.of(packet.reason_code)
        if not reason.is_failure:
            if packet.server_keep_alive is not None:
                self._keep_alive.interval_s = packet.server_keep_alive
            self._on_connected(packet)
        self._handshake.set_result(reason)

    def _flush(self) -> None:
        if self._stream is None:
            return
        try:
            self._stream.flush()
        except OSError as error:
            self._finish(f"the connection broke: {error}")
            return
        while self._unwritten and self._unwritten[0][0] <= self._stream.written_bytes:
            _, written = self._unwritten.popleft()
            if not written.done():
                written.set_result(None)
        self._watch_writing()

    def _watch_writing(self) -> None:
        """Register for writing exactly while there are bytes that the socket did not take."""
        if self._stream is None or self._stream.wants_write == self._has_writer:
            return
        self._has_writer = not self._has_writer
        if self._has_writer:
            self._loop.add_writer(self._stream.descriptor, self._flush)
        else:
            self._loop.remove_writer(self._stream.descriptor)

    def _check_keep_alive(self) -> None:
        if self._stream is None or not self._keep_alive.interval_s:
            return
        action, due_at_s = self._keep_alive.step(self._loop.time())
        if action is KeepAliveAction.GIVE_UP:
            self._finish("Keep alive timeout")
            return
        if action is KeepAliveAction.PING:
            with contextlib.suppress(SessionLost):
                self._send([mqtt5.PingReqPacket().write()])
        self._keep_alive_timer = self._loop.call_at(due_at_s, self._check_keep_alive)

    def _finish(self, reason: str) -> None:
        """End the connection, and fail everything that waits for it."""
        if self._keep_alive_timer is not None:
            self._keep_alive_timer.cancel()
        if self._stream is not None:
            self._loop.remove_reader(self._stream.descriptor)
            self._loop.remove_writer(self._stream.descriptor)
            self._stream.close()
            self._stream = None
        if not self._handshake.done():
            self._handshake.set_result(None)
        if not self._end.done():
            self._end.set_result(reason)
        self._answers.fail()
        for _, written in self._unwritten:
            if not written.done():
                written.set_exception(SessionLost("connection lost"))
        self._unwritten.clear()
