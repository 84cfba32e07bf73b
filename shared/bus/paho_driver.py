"""Runs paho-mqtt's client on an asyncio event loop, through its public methods only.

paho keeps the MQTT 5 protocol: packets, packet identifiers, keep-alive. It neither reads nor writes by itself here. The
driver calls `loop_read`, `loop_write` and `loop_misc` when the event loop says so, and turns paho's callbacks into
futures.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

from paho.mqtt.client import (
    MQTT_ERR_NO_CONN,
    MQTT_ERR_SUCCESS,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessage,
    error_string,
)
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.reasoncodes import ReasonCode

from shared.bus.errors import BusError, PublishFailed

_LOGGER = logging.getLogger(__name__)

# paho checks keep-alive and outstanding pings when it is called, not by a timer of its own.
_MISC_INTERVAL_S: Final = 1.0


class SessionLost(BusError):
    """The connection is lost. This error never leaves `shared.bus`: `Connection` turns it into a retry."""


class HandshakeClosed(Exception):
    """The broker closed the connection instead of answering the CONNECT packet."""


class PahoDriver:
    """One network connection of a paho client, from CONNECT until it is lost. Not to be used again afterwards.

    Invariants. All methods except the blocking half of `connect` run on the event loop's thread. The socket is
    registered with the loop exactly while `_descriptor` is not None, and for writing while `_has_writer`. Every call
    that queues a packet is followed by `_watch_writing`. Every future in `_unconfirmed` is resolved by an
    acknowledgement of the broker, or failed with `SessionLost` when the connection ends.
    """

    def __init__(
        self,
        client: PahoClient,
        *,
        on_connected: Callable[[bool, PahoProperties | None], None],
        on_message: Callable[[MQTTMessage], None],
    ) -> None:
        """Take over a client that is configured and not connected.

        Args:
            client: made for MQTT 5, with `manual_ack` and without `reconnect_on_failure`.
            on_connected: called, before any message, with "session present" and the properties of CONNACK.
            on_message: called with every PUBLISH packet that arrives.
        """
        self._client = client
        self._on_connected = on_connected
        self._on_message = on_message
        self._loop = asyncio.get_running_loop()
        self._handshake: asyncio.Future[ReasonCode | None] = self._loop.create_future()
        self._end: asyncio.Future[str] = self._loop.create_future()
        # Packet identifiers are one space for PUBLISH, SUBSCRIBE and UNSUBSCRIBE (MQTT 5.0, 2.2.1).
        self._unconfirmed: dict[int, asyncio.Future[list[ReasonCode]]] = {}
        self._descriptor: int | None = None
        self._has_writer = False
        self._misc_timer: asyncio.TimerHandle | None = None
        client.on_connect = self._handle_connack
        client.on_disconnect = self._handle_disconnect
        client.on_publish = self._handle_puback
        client.on_subscribe = client.on_unsubscribe = self._handle_suback
        client.on_message = self._handle_message
        client.on_socket_close = self._handle_socket_close
        # Without `on_socket_register_write`, paho writes a packet to the socket in the call that queues it. The loop
        # writes only what the socket did not take.

    @property
    def is_lost(self) -> bool:
        """True if the connection has ended."""
        return self._end.done()

    async def connect(
        self,
        host: str,
        port: int,
        *,
        keepalive_s: int,
        clean_start: bool,
        properties: PahoProperties,
        timeout_s: float,
    ) -> ReasonCode:
        """Open the socket, send CONNECT and wait for CONNACK.

        Returns:
            The reason code of CONNACK. A code of 0x80 or more is a refusal, and ends the connection.

        Raises:
            OSError: no connection, or no TLS over it.
            HandshakeClosed: the broker closed the connection.
            TimeoutError: no CONNACK within `timeout_s`.
        """
        # paho resolves the name, connects and shakes hands in one blocking call, bounded by its `connect_timeout`.
        opening = asyncio.ensure_future(
            asyncio.to_thread(
                self._client.connect, host, port, keepalive_s, clean_start=clean_start, properties=properties
            )
        )
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread cannot be interrupted. The socket exists, and can be closed, only after the thread has ended.
            await asyncio.wait({opening})
            if not opening.cancelled():
                opening.exception()
            raise
        self._register_socket()
        async with asyncio.timeout(timeout_s):
            reason = await asyncio.shield(self._handshake)
        if reason is None:
            raise HandshakeClosed
        return reason

    async def lost(self) -> str:
        """Wait until the connection has ended and return the reason."""
        return await asyncio.shield(self._end)

    async def publish(
        self, topic: str, payload: bytes | bytearray, qos: int, retain: bool, properties: PahoProperties | None
    ) -> ReasonCode | None:
        """Publish, and wait for PUBACK (QoS 1) or until the packet is in the socket (QoS 0).

        Returns:
            The reason code of PUBACK; None if nothing had to be waited for.

        Raises:
            SessionLost: the connection ended first. The message may or may not have arrived.
            PublishFailed: paho did not take the message.
        """
        if self.is_lost:
            raise SessionLost("not connected")
        info = self._client.publish(topic, payload, qos, retain, properties)
        self._watch_writing()
        # The second half: the write of the packet found that the connection is lost.
        if info.rc == MQTT_ERR_NO_CONN or self.is_lost:
            raise SessionLost("not connected")
        if info.rc != MQTT_ERR_SUCCESS:
            raise PublishFailed(topic, f"not sent: {error_string(info.rc)}")
        if qos == 0 and info.is_published():
            return None
        return (await self._confirmation(info.mid))[0]

    async def subscribe(self, topic_filter: str, qos: int, timeout_s: float) -> list[ReasonCode]:
        """Subscribe, and return the reason codes of SUBACK.

        Raises:
            SessionLost: the connection ended first, or there was no SUBACK in time.
        """
        return await self._answered(self._client.subscribe(topic_filter, qos), timeout_s)

    async def unsubscribe(self, topic_filter: str, timeout_s: float) -> None:
        """Unsubscribe, and wait for UNSUBACK.

        Raises:
            SessionLost: the connection ended first, or there was no UNSUBACK in time.
        """
        await self._answered(self._client.unsubscribe(topic_filter), timeout_s)

    def acknowledge(self, packet_id: int) -> None:
        """Send PUBACK for a message of QoS 1 that was received. Does nothing once the connection is lost."""
        if not self.is_lost:
            self._client.ack(packet_id, 1)
            self._watch_writing()

    async def disconnect(self, timeout_s: float) -> None:
        """Send queued packets and DISCONNECT, so that the broker discards the will; give up after `timeout_s`."""
        if self.is_lost or self._client.disconnect() != MQTT_ERR_SUCCESS:
            return
        self._watch_writing()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.lost()

    def close(self) -> None:
        """Close the socket immediately, without sending queued packets."""
        self._unregister_socket()
        if (sock := self._client.socket()) is not None:
            sock.close()
        self._finish("closed")

    async def _answered(self, request: tuple[int, int | None], timeout_s: float) -> list[ReasonCode]:
        code, packet_id = request
        self._watch_writing()
        if self.is_lost or code != MQTT_ERR_SUCCESS or packet_id is None:
            raise SessionLost(error_string(code) if code and not self.is_lost else "not connected")
        try:
            async with asyncio.timeout(timeout_s):
                return await self._confirmation(packet_id)
        except TimeoutError:
            raise SessionLost(f"no answer within {timeout_s:g} s") from None

    async def _confirmation(self, packet_id: int) -> list[ReasonCode]:
        confirmation: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        self._unconfirmed[packet_id] = confirmation
        try:
            return await confirmation
        finally:
            self._unconfirmed.pop(packet_id, None)

    def _register_socket(self) -> None:
        sock = self._client.socket()
        if not isinstance(sock, socket.socket):
            raise ConnectionError("the socket was closed while connecting")
        # Small packets would otherwise wait up to 40 ms for the delayed acknowledgement of those before them.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._descriptor = sock.fileno()
        self._loop.add_reader(self._descriptor, self._read)
        self._check_keepalive()
        # CONNECT was queued by the connecting thread.
        self._write()

    def _unregister_socket(self) -> None:
        if self._misc_timer is not None:
            self._misc_timer.cancel()
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            self._loop.remove_writer(self._descriptor)
            self._descriptor = None
            self._has_writer = False

    def _read(self) -> None:
        try:
            self._client.loop_read()
            # OpenSSL may hold decrypted packets for which the socket does not become readable again.
            while isinstance(sock := self._client.socket(), ssl.SSLSocket) and sock.pending():
                self._client.loop_read()
        except Exception as error:  # paho lets any error of unpacking through: the packet was malformed
            self._fail(error)
            return
        # paho only queues what is published or acknowledged inside one of its callbacks.
        if self._descriptor is not None and self._client.want_write():
            self._write()

    def _write(self) -> None:
        if self._descriptor is None:
            return
        try:
            self._client.loop_write()
        except Exception as error:  # as in `_read`: errors of the callbacks come through as well
            self._fail(error)
            return
        self._watch_writing()

    def _watch_writing(self) -> None:
        """Register for writing exactly while paho has bytes that the socket did not take."""
        # Without a descriptor the call that wrote has closed the socket, or it is not registered yet.
        if self._descriptor is None or self._client.want_write() == self._has_writer:
            return
        self._has_writer = not self._has_writer
        if self._has_writer:
            self._loop.add_writer(self._descriptor, self._write)
        else:
            self._loop.remove_writer(self._descriptor)

    def _check_keepalive(self) -> None:
        if self._client.loop_misc() == MQTT_ERR_SUCCESS and self._descriptor is not None:
            self._watch_writing()
            self._misc_timer = self._loop.call_later(_MISC_INTERVAL_S, self._check_keepalive)

    def _fail(self, error: Exception) -> None:
        _LOGGER.debug("the connection is given up", exc_info=error)
        self._unregister_socket()
        self._finish(str(error) or type(error).__name__)

    def _finish(self, reason: str) -> None:
        """End the connection: nothing that is not confirmed now ever will be."""
        if not self._handshake.done():
            self._handshake.set_result(None)
        if not self._end.done():
            self._end.set_result(reason)
        for confirmation in self._unconfirmed.values():
            if not confirmation.done():
                confirmation.set_exception(SessionLost("connection lost"))

    def _resolve(self, packet_id: int, reasons: list[ReasonCode]) -> None:
        confirmation = self._unconfirmed.get(packet_id)
        if confirmation is not None and not confirmation.done():
            confirmation.set_result(reasons)

    # The callbacks of paho. Their signatures are those of its callback API version 2.

    def _handle_connack(
        self,
        _client: PahoClient,
        _data: Any,
        flags: ConnectFlags,
        reason: ReasonCode,
        properties: PahoProperties | None,
    ) -> None:
        if self._handshake.done():
            return
        self._on_connected(flags.session_present, properties)
        self._handshake.set_result(reason)

    def _handle_disconnect(
        self,
        _client: PahoClient,
        _data: Any,
        flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: PahoProperties | None,
    ) -> None:
        ended_by = "the broker ended it" if flags.is_disconnect_packet_from_server else "the connection broke"
        self._finish(f"{ended_by}: {reason}")

    def _handle_message(self, _client: PahoClient, _data: Any, message: MQTTMessage) -> None:
        self._on_message(message)

    def _handle_puback(
        self, _client: PahoClient, _data: Any, packet_id: int, reason: ReasonCode, _properties: PahoProperties | None
    ) -> None:
        self._resolve(packet_id, [reason])

    def _handle_suback(
        self,
        _client: PahoClient,
        _data: Any,
        packet_id: int,
        reasons: list[ReasonCode],
        _properties: PahoProperties | None,
    ) -> None:
        self._resolve(packet_id, reasons)

    def _handle_socket_close(self, _client: PahoClient, _data: Any, _sock: Any) -> None:
        # Called just before the socket is closed, also by the destructor of paho's client.
        self._unregister_socket()
