"""One MQTT 5 session of this process at the broker, from CONNECT until the connection is lost.

`MqttDriver` moves the packets. This module decides their contents: will, session expiry, receive maximum, and the order
of acknowledgements. It also maps refusals of the broker to errors.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

import mqtt5

from shared.bus.errors import (
    AccessRefused,
    BrokerUnreachable,
    BusError,
    HandshakeClosed,
    MessageTooLarge,
    PublishFailed,
    PublishForbidden,
)
from shared.bus.frame import Buffer
from shared.bus.mqtt.acknowledgements import AcknowledgementOrder
from shared.bus.mqtt.mqtt_driver import MqttDriver
from shared.bus.mqtt.packet_reader import IncomingPublish, UnreadablePublish
from shared.bus.mqtt.properties import Properties
from shared.bus.mqtt.publish_packet import overhead_bytes
from shared.bus.mqtt.reason_codes import Reason
from shared.bus.receive_queue import Received, nothing_to_acknowledge
from shared.bus.settings import BusSettings
from shared.bus.tls import client_context

_LOGGER = logging.getLogger(__name__)

_NOT_AUTHORIZED: Final = 0x87
# CONNACK reason codes that another attempt does not change (MQTT 5.0, 3.2.2.2). In this order: unsupported protocol
# version, client identifier not valid, bad user name or password, not authorized, banned, bad authentication method.
_REFUSALS: Final = frozenset({0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C})
_CLOSE_TIMEOUT_S: Final = 2.0
# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL.
_CLOCK_DEPENDENT: Final = frozenset({9, 10})


@dataclass(frozen=True, slots=True)
class Will:
    """The message that the broker publishes when this client vanishes without DISCONNECT.

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
    """Contents of the CONNECT packet that depend on the client.

    Attributes:
        client_id: the broker closes an older connection with the same id.
        will: last will, if any.
        persistent: the broker keeps subscriptions and unacknowledged messages while the client is away.
        receive_maximum: messages of QoS 1 that the broker may send ahead of their acknowledgement.
        max_payload_bytes: returns the size beyond which a payload is thrown away unread; None for no bound.
    """

    client_id: str
    will: Will | None
    persistent: bool
    receive_maximum: int
    max_payload_bytes: Callable[[], int] | None = None


class MqttSession:
    """An MQTT 5 session over one network connection; not to be used again once the connection is lost.

    Publications fail immediately when the connection is lost, and report the broker's refusals. Messages of QoS 1 are
    acknowledged when the application releases them, in the order in which they came.

    Attributes:
        subscribed: topic filters, with root, that the broker has granted on this connection. Changed only by
            `request_subscription` and `cancel_subscription`.
        max_packet_bytes: largest packet that the broker accepts. Set at CONNACK; None without a maximum.
        has_retained: whether the broker retains messages, as it says. Set at CONNACK.
        session_expiry_s: how long the broker keeps the session without a connection, as it says. Set at CONNACK.
    """

    def __init__(
        self,
        settings: BusSettings,
        options: SessionOptions,
        *,
        on_received: Callable[[Received], None],
        on_undecodable: Callable[[], None],
        on_resumed: Callable[[], None],
    ) -> None:
        """Describe a connection; `open` makes it.

        Args:
            settings: where the broker is.
            options: how to present this client.
            on_received: called with every message that comes in.
            on_undecodable: called for every message whose topic or properties cannot be read.
            on_resumed: called, before any message, when the broker has kept this client's session.
        """
        self.subscribed: set[str] = set()
        self._settings = settings
        self._options = options
        self._on_received = on_received
        self._on_undecodable = on_undecodable
        self._on_resumed = on_resumed
        self._root_length = len(settings.root) + 1
        self.max_packet_bytes: int | None = None
        self.has_retained = True
        self.session_expiry_s = _asked_expiry_s(settings, options)
        # Replaced at CONNACK, before anything can be published.
        self._send_quota = asyncio.Semaphore(settings.max_outstanding)
        self._acknowledgements = AcknowledgementOrder()
        self._driver = MqttDriver(
            on_connected=self._connected,
            on_publication=self._take_in,
            on_unreadable=self._pass_over,
            max_payload_bytes=options.max_payload_bytes,
        )

    @property
    def is_lost(self) -> bool:
        """True if the connection has ended."""
        return self._driver.is_lost

    @property
    def silent_s(self) -> float:
        """Time for which the broker has sent nothing although it owes an answer; 0 if it owes none."""
        return self._driver.silent_s

    async def open(self) -> None:
        """Connect.

        Raises:
            BrokerUnreachable: no broker there, or none that speaks MQTT 5 over these settings.
            AccessRefused: the broker refuses this client.
        """
        settings = self._settings
        context = await self._tls_context()
        try:
            reason = await self._driver.connect(
                settings.host,
                settings.port,
                _connect_packet(settings, self._options),
                context=context,
                timeout_s=settings.attempt_timeout_s,
            )
            if reason.is_failure:
                raise self._refusal(reason)
        except BaseException as error:
            self._driver.close()
            if (translated := self._translated(error)) is not None:
                raise translated from None
            raise

    async def lost(self) -> str:
        """Wait until the connection has ended and return the reason."""
        return await self._driver.lost()

    async def close(self) -> None:
        """Disconnect and free the socket; queued packets and DISCONNECT are sent if the broker takes them in time."""
        try:
            await self._driver.disconnect(_CLOSE_TIMEOUT_S)
        finally:
            self._driver.close()

    def abort(self) -> None:
        """End the connection without DISCONNECT, as a device without power does: the broker publishes the will."""
        self._driver.close()

    async def send(
        self, topic: str, payload: Sequence[Buffer], qos: int, retain: bool, properties: Properties | None
    ) -> None:
        """Publish, and wait until the broker has confirmed it (QoS 1) or it is written to the socket (QoS 0).

        Args:
            topic: with root.
            payload: pieces that are sent one behind another, without a copy.
            qos: 0 or 1.
            retain: the broker keeps the message for later subscribers.
            properties: of the message.

        Raises:
            SessionLost: the connection ended first. The message may or may not have arrived.
            PublishFailed: the broker rejected it, or it is larger than the broker accepts.
        """
        limit = self.max_packet_bytes
        if limit is not None:
            size_bytes = sum(memoryview(piece).nbytes for piece in payload)
            if size_bytes + overhead_bytes(topic, properties) > limit:
                # The broker would disconnect this client for it (MQTT 5.0, 3.2.2.3.6).
                raise MessageTooLarge(topic, f"{size_bytes} bytes, the broker accepts packets of at most {limit} bytes")
        try:
            if qos == 0:
                reason = await self._driver.publish(topic, payload, qos, retain, properties)
            else:
                async with self._send_quota:
                    reason = await self._driver.publish(topic, payload, qos, retain, properties)
        except ValueError as error:
            raise PublishFailed(topic, str(error)) from None
        if reason is not None and reason.code == _NOT_AUTHORIZED:
            raise PublishForbidden(topic, f"the broker rejected it: {reason} (no right to write {topic})")
        if reason is not None and reason.is_failure:
            raise PublishFailed(topic, f"the broker rejected it: {reason}")

    def send_now(self, topic: str, payload: Sequence[Buffer]) -> bool:
        """Publish with QoS 0, or return False if earlier bytes wait for the socket or the connection has ended.

        Args:
            topic: with root.
            payload: pieces that are sent one behind another, not larger than the broker accepts. They must never
                change.
        """
        return self._driver.publish_now(topic, payload)

    async def request_subscription(self, topic_filter: str, qos: int) -> None:
        """Subscribe.

        Raises:
            SessionLost: the connection ended first, or the broker did not answer in time.
            AccessRefused: the broker does not allow it.
        """
        reason = await self._driver.subscribe(topic_filter, qos, self._settings.attempt_timeout_s)
        if reason.is_failure:
            address = self._settings.address
            raise AccessRefused(address, f"no subscription to {topic_filter}: {reason}")
        self.subscribed.add(topic_filter)

    async def cancel_subscription(self, topic_filter: str) -> None:
        """Unsubscribe.

        Raises:
            SessionLost: the connection ended first, or the broker did not answer in time.
        """
        self.subscribed.discard(topic_filter)
        await self._driver.unsubscribe(topic_filter, self._settings.attempt_timeout_s)

    def _connected(self, answer: mqtt5.ConnAckPacket) -> None:
        if answer.session_present:
            self._on_resumed()
        self.max_packet_bytes = answer.max_packet_size
        self.has_retained = answer.retain_available
        if answer.session_expiry_interval is not None:
            self.session_expiry_s = answer.session_expiry_interval
        # The broker's receive maximum bounds unacknowledged publications (MQTT 5.0, 4.9). It may disconnect a client
        # that exceeds it.
        self._send_quota = asyncio.Semaphore(min(answer.receive_max, self._settings.max_outstanding))

    def _take_in(self, message: IncomingPublish) -> None:
        packet_id = message.packet_id
        on_acknowledge = nothing_to_acknowledge
        if packet_id is not None:
            self._acknowledgements.received(packet_id)
            on_acknowledge = partial(self._release, packet_id)
        self._on_received(
            Received(
                topic=message.topic[self._root_length :],
                payload=message.payload,
                properties=message.properties,
                retain=message.retain,
                qos=0 if packet_id is None else 1,
                skipped_bytes=message.skipped_bytes,
                on_acknowledge=on_acknowledge,
            )
        )

    def _pass_over(self, message: UnreadablePublish) -> None:
        if message.packet_id is not None:
            # Left unacknowledged it would hold back the acknowledgements of all messages after it.
            self._acknowledgements.received(message.packet_id)
            self._release(message.packet_id)
        _LOGGER.debug("a message was passed over: %s", message.reason)
        self._on_undecodable()

    def _release(self, packet_id: int) -> None:
        # After a reconnect the packet identifier means another message, or none.
        if self.is_lost:
            return
        for ready in self._acknowledgements.acknowledge(packet_id):
            self._driver.acknowledge(ready)

    async def _tls_context(self) -> ssl.SSLContext | None:
        if not self._settings.tls:
            return None
        try:
            return await asyncio.to_thread(client_context, self._settings)
        except OSError as error:
            raise BrokerUnreachable(self._settings.address, f"TLS certificates: {error}") from error

    def _translated(self, error: BaseException) -> BusError | None:
        """Return the bus error for the error of an attempt; None for errors that are not of the network."""
        address = self._settings.address
        match error:
            case HandshakeClosed():
                reason = "it hung up without an answer, as some brokers do for a wrong password, or for MQTT 5"
                return AccessRefused(address, reason, is_certain=False)
            case TimeoutError():
                return BrokerUnreachable(address, str(error) or "no answer in time")
            case ssl.SSLCertVerificationError() if error.verify_code in _CLOCK_DEPENDENT:
                now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
                return BrokerUnreachable(address, f"{error.verify_message}, and this machine's clock says {now} UTC")
            case OSError():
                return BrokerUnreachable(address, str(error) or type(error).__name__)
            case UnicodeError():
                return BrokerUnreachable(address, f"the host name is not valid: {error}")
            case _:
                return None

    def _refusal(self, reason: Reason) -> BusError:
        if reason.code in _REFUSALS:
            return AccessRefused(self._settings.address, str(reason))
        return BrokerUnreachable(self._settings.address, f"the broker answered CONNECT with {reason}")


def _connect_packet(settings: BusSettings, options: SessionOptions) -> mqtt5.ConnectPacket:
    will = options.will
    return mqtt5.ConnectPacket(
        options.client_id,
        username=settings.username,
        password=None if settings.password is None else settings.password.encode(),
        clean_start=not options.persistent,
        will=None
        if will is None
        else mqtt5.Will(
            f"{settings.root}/{will.topic}", payload=will.payload, qos=mqtt5.QoS(will.qos), retain=will.retain
        ),
        keep_alive=settings.keepalive_s,
        # Without it the session ends with the connection (MQTT 5.0, 3.1.2.11.2).
        session_expiry_interval=_asked_expiry_s(settings, options),
        receive_max=options.receive_maximum,
    )


def _asked_expiry_s(settings: BusSettings, options: SessionOptions) -> int:
    return settings.session_expiry_s if options.persistent else 0
