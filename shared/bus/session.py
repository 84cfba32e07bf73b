"""One MQTT 5 connection from CONNECT until it is lost. No other module uses aiomqtt, or calls paho's client."""

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiomqtt
from paho.mqtt.client import (
    MQTT_ERR_NO_CONN,
    MQTT_ERR_SUCCESS,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessage,
    error_string,
)
from paho.mqtt.client import Client as PahoClient
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.reasoncodes import ReasonCode

from shared.bus.acknowledgements import AcknowledgementOrder
from shared.bus.errors import AccessRefused, BrokerUnreachable, BusError, PublishFailed
from shared.bus.properties import Properties, from_paho, to_paho
from shared.bus.receive_queue import Received
from shared.bus.settings import BusSettings
from shared.bus.tls import ClientContext, client_context

_REFUSALS = frozenset({0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C})
_FIRST_FAILURE = 0x80
_CLOSE_TIMEOUT_S = 2.0
_PACKET_OVERHEAD_BYTES = 1024


class _HandshakeClosed(aiomqtt.MqttError):
    """The broker hung up instead of answering the CONNECT packet."""


class SessionLost(BusError):
    """The connection is gone. Never leaves `shared.bus`: `Connection` turns it into a retry."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes when this client vanishes without saying goodbye.

    Attributes:
        topic: below the root.
        payload: the message.
        qos: 0 or 1.
        retain: replaces the retained message of that topic.
    """

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = True


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a client presents itself to the broker.

    Attributes:
        client_id: the broker closes an older connection with the same id.
        will: last will, if any.
        persistent: the broker keeps subscriptions and unacknowledged messages while the client is away.
        receive_maximum: messages of QoS 1 that the broker may send ahead of their acknowledgement.
    """

    client_id: str
    will: Will | None
    persistent: bool
    receive_maximum: int


@dataclass(slots=True)
class _Granted:
    max_packet_bytes: int | None = None
    subscribed: set[str] = field(default_factory=set)


class MqttSession(aiomqtt.Client):
    """aiomqtt's client, with what Segue needs beyond it.

    Publications fail at once when the connection is lost, and report the broker's refusals. Messages of QoS 1 are
    acknowledged when they are released, in order. A closed handshake is an error instead of a timeout.
    """

    def __init__(
        self,
        settings: BusSettings,
        options: SessionOptions,
        *,
        on_received: Callable[["MqttSession", MQTTMessage], None],
        on_resumed: Callable[[], None],
    ) -> None:
        """Describe a connection; `open` makes it.

        Args:
            settings: where the broker is.
            options: how to present this client.
            on_received: called with every message that comes in.
            on_resumed: called, before any message, when the broker still knows this client's session.
        """
        self._settings = settings
        self._on_received = on_received
        self._on_resumed = on_resumed
        self._tls: ClientContext | None = None
        self._loop_thread = threading.get_ident()
        self._acknowledgements = AcknowledgementOrder()
        self._unconfirmed: dict[int, asyncio.Future[ReasonCode | None]] = {}
        self._granted = _Granted()
        super().__init__(
            settings.host,
            settings.port,
            username=settings.username,
            password=settings.password,
            identifier=options.client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            will=_paho_will(settings, options.will),
            timeout=settings.attempt_timeout_s,
            keepalive=settings.keepalive_s,
            clean_start=not options.persistent,
            properties=_connect_properties(settings, options),
            tls_insecure=True if settings.tls and settings.tls_insecure else None,
            socket_options=((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),),
            max_inflight_messages=settings.max_outstanding,
        )
        self._client.manual_ack_set(True)
        self._client.connect_timeout = settings.attempt_timeout_s
        self._logger = logging.getLogger(f"{__name__}.paho")
        self._logger.setLevel(logging.ERROR)
        self._client.enable_logger(self._logger)

    @property
    def subscribed(self) -> set[str]:
        """Topic filters that this connection has subscribed to."""
        return self._granted.subscribed

    @property
    def is_lost(self) -> bool:
        """The connection has ended."""
        return self._disconnected.done()

    async def open(self) -> None:
        """Connect.

        Raises:
            BrokerUnreachable: nobody there, or nobody who speaks MQTT 5 over these settings.
            AccessRefused: the broker says no.
        """
        if self._settings.tls:
            try:
                self._tls = await asyncio.to_thread(client_context, self._settings)
            except OSError as exc:
                raise BrokerUnreachable(self._settings.address, f"TLS certificates: {exc}") from exc
            self._client.tls_set_context(self._tls)
        opening = asyncio.ensure_future(self.__aenter__())
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The connecting thread cannot be interrupted. It ends within the attempt's timeout; only then is there a
            # socket to take away.
            await asyncio.wait({opening})
            self._abandon(opening)
            raise
        except aiomqtt.MqttError as exc:
            self._abandon(opening)
            raise self._translated(exc) from None

    async def lost(self) -> str:
        """Wait until the connection has ended, and say why."""
        await asyncio.wait({self._disconnected})
        error = self._disconnected.exception()
        return "closed" if error is None else str(error)

    async def close(self) -> None:
        """Disconnect, politely if possible, and free the socket."""
        try:
            with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await self.__aexit__(None, None, None)
        finally:
            self._fail_unconfirmed()
            self._close_socket()

    async def send(
        self, topic: str, payload: bytes | bytearray, qos: int, retain: bool, properties: Properties | None
    ) -> None:
        """Publish, and wait until the broker has confirmed it (QoS 1) or it is written to the socket (QoS 0).

        Raises:
            SessionLost: the connection ended first; the message may or may not have arrived.
            PublishFailed: the broker rejected it, or it is larger than the broker accepts.
        """
        limit = self._granted.max_packet_bytes
        if limit is not None and len(payload) + _PACKET_OVERHEAD_BYTES > limit:
            raise PublishFailed(topic, f"{len(payload)} bytes, the broker accepts packets of at most {limit} bytes")
        if self.is_lost:
            raise SessionLost("not connected")
        info = self._client.publish(topic, payload, qos, retain, to_paho(properties))
        if info.rc == MQTT_ERR_NO_CONN:
            raise SessionLost("not connected")
        if info.rc != MQTT_ERR_SUCCESS:
            raise PublishFailed(topic, f"not sent: {error_string(info.rc)}")
        if qos == 0 and info.is_published():
            return
        confirmation: asyncio.Future[ReasonCode | None] = self._loop.create_future()
        self._unconfirmed[info.mid] = confirmation
        try:
            reason = await confirmation
        finally:
            self._unconfirmed.pop(info.mid, None)
        if reason is not None and reason.value >= _FIRST_FAILURE:
            raise PublishFailed(topic, f"the broker rejected it: {reason}")

    async def request_subscription(self, topic_filter: str, qos: int) -> None:
        """Subscribe.

        Raises:
            SessionLost: the connection ended first, or the broker did not answer in time.
            AccessRefused: the broker does not allow it.
        """
        reasons = await self._or_lost(self.subscribe(topic_filter, qos))
        refused = [reason for reason in reasons if getattr(reason, "value", reason) >= _FIRST_FAILURE]
        if refused:
            raise AccessRefused(self._settings.address, f"no subscription to {topic_filter}: {refused[0]}")
        self.subscribed.add(topic_filter)

    async def cancel_subscription(self, topic_filter: str) -> None:
        """Unsubscribe.

        Raises:
            SessionLost: the connection ended first, or the broker did not answer in time.
        """
        self.subscribed.discard(topic_filter)
        await self._or_lost(self.unsubscribe(topic_filter))

    def received(self, message: MQTTMessage, root_length: int) -> Received:
        """The message as the application sees it."""
        release = (lambda packet_id=message.mid: self._release(packet_id)) if message.qos else None
        fields: dict[str, Any] = {} if release is None else {"on_acknowledge": release}
        return Received(
            topic=message.topic[root_length:],
            payload=bytes(message.payload),
            properties=from_paho(message.properties),
            retain=message.retain,
            qos=message.qos,
            **fields,
        )

    def _release(self, packet_id: int) -> None:
        if self.is_lost:
            return
        for ready in self._acknowledgements.acknowledge(packet_id):
            self._client.ack(ready, 1)

    async def _or_lost(self, call: Any) -> Any:
        task = asyncio.ensure_future(call)
        try:
            await asyncio.wait({task, self._disconnected}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
        if not task.done():
            raise SessionLost("connection lost")
        try:
            return task.result()
        except aiomqtt.MqttError as exc:
            raise SessionLost(str(exc)) from None

    def _on_connect(
        self,
        client: PahoClient,
        userdata: Any,
        flags: ConnectFlags,
        reason_code: ReasonCode,
        properties: PahoProperties | None = None,
    ) -> None:
        if getattr(flags, "session_present", False):
            self._on_resumed()
        self._granted.max_packet_bytes = getattr(properties, "MaximumPacketSize", None)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self,
        client: PahoClient,
        userdata: Any,
        flags: DisconnectFlags,
        reason_code: ReasonCode,
        properties: PahoProperties | None = None,
    ) -> None:
        if not self._connected.done():
            # Called from the thread that connects if the very first packet cannot be written.
            self._loop.call_soon_threadsafe(self._fail_handshake, str(reason_code))
            return
        super()._on_disconnect(client, userdata, flags, reason_code, properties)
        self._fail_unconfirmed()

    def _fail_handshake(self, reason: str) -> None:
        if not self._connected.done():
            self._connected.set_exception(_HandshakeClosed(reason))

    def _on_message(self, client: PahoClient, userdata: Any, message: MQTTMessage) -> None:
        if message.qos:
            self._acknowledgements.received(message.mid)
        self._on_received(self, message)

    def _on_publish(
        self, client: PahoClient, userdata: Any, mid: int, reason_code: ReasonCode, properties: PahoProperties
    ) -> None:
        confirmation = self._unconfirmed.get(mid)
        if confirmation is not None and not confirmation.done():
            confirmation.set_result(reason_code)

    def _on_socket_register_write(self, client: PahoClient, userdata: Any, sock: Any) -> None:
        if threading.get_ident() != self._loop_thread:
            super()._on_socket_register_write(client, userdata, sock)
            return
        # aiomqtt wakes the loop through its self-pipe and then waits for the socket; it is nearly always writable now.
        self._loop.call_soon(self._write, sock)

    def _write(self, sock: Any) -> None:
        if self.is_lost or sock.fileno() < 0:
            return
        try:
            self._client.loop_write()
        except OSError as exc:
            self._disconnected.set_exception(aiomqtt.MqttError(str(exc)))
            self._fail_unconfirmed()
            return
        if sock.fileno() >= 0 and self._client.want_write():
            self._loop.add_writer(sock.fileno(), self._write, sock)

    def _fail_unconfirmed(self) -> None:
        for confirmation in self._unconfirmed.values():
            if not confirmation.done():
                confirmation.set_exception(SessionLost("connection lost"))

    def _abandon(self, opening: "asyncio.Future[Any]") -> None:
        if opening.done() and not opening.cancelled():
            opening.exception()
        self._close_socket()
        if self._tls is not None:
            self._tls.close_latest()

    def _close_socket(self) -> None:
        if self._misc_task is not None:
            self._misc_task.cancel()
        self._client._sock_close()
        if self._disconnected.done() and not self._disconnected.cancelled():
            self._disconnected.exception()
        if self._connected.done() and not self._connected.cancelled():
            self._connected.exception()

    def _translated(self, error: aiomqtt.MqttError) -> BusError:
        address = self._settings.address
        if isinstance(error, _HandshakeClosed):
            reason = "it hung up without an answer, as some brokers do for a wrong password, or for MQTT 5"
            return AccessRefused(address, reason, is_certain=False)
        code = getattr(getattr(error, "rc", None), "value", None)
        if code in _REFUSALS:
            return AccessRefused(address, str(getattr(error, "rc", error)))
        return BrokerUnreachable(address, str(error) or "no answer")


def _paho_will(settings: BusSettings, will: Will | None) -> aiomqtt.Will | None:
    if will is None:
        return None
    return aiomqtt.Will(f"{settings.root}/{will.topic}", will.payload, will.qos, will.retain)


def _connect_properties(settings: BusSettings, options: SessionOptions) -> PahoProperties:
    properties = PahoProperties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.ReceiveMaximum = options.receive_maximum
    if options.persistent:
        properties.SessionExpiryInterval = settings.session_expiry_s
    return properties
