"""One MQTT 5 session of this process at the broker, from CONNECT until the connection is lost.

`PahoDriver` moves the packets. This module decides their contents: will, session expiry, receive maximum, and the order
of acknowledgements. It also maps refusals of the broker to errors.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from paho.mqtt.client import MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.reasoncodes import ReasonCode

from shared.bus.acknowledgements import AcknowledgementOrder
from shared.bus.bounded_client import BoundedClient
from shared.bus.errors import AccessRefused, BrokerUnreachable, BusError, PublishFailed
from shared.bus.paho_driver import HandshakeClosed, PahoDriver
from shared.bus.properties import Properties, from_paho, to_paho
from shared.bus.receive_queue import Received, nothing_to_acknowledge
from shared.bus.settings import BusSettings
from shared.bus.tls import ClientContext, client_context

_LOGGER = logging.getLogger(__name__)

# paho logs the operating system's text about a lost connection at level ERROR, and much detail below it.
_PAHO_LOGGER = _LOGGER.getChild("paho")
_PAHO_LOGGER.setLevel(logging.ERROR)

# CONNACK reason codes that another attempt does not change (MQTT 5.0, 3.2.2.2). In this order: unsupported protocol
# version, client identifier not valid, bad user name or password, not authorized, banned, bad authentication method.
_REFUSALS: Final = frozenset({0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C})
# Reason codes from here on report a failure (MQTT 5.0, 2.4).
_FIRST_FAILURE: Final = 0x80
_CLOSE_TIMEOUT_S: Final = 2.0
# Longest fixed header: type and remaining length (MQTT 5.0, 2.1). Behind it, the lengths of the topic and the packet
# identifier take two bytes each.
_FIXED_BYTES: Final = 5 + 2 + 2


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


def publish_overhead_bytes(topic: str, properties: PahoProperties | None) -> int:
    """Return the bytes that a PUBLISH packet has beside its payload, at most.

    Args:
        topic: with root.
        properties: in paho's form.
    """
    packed = 1 if properties is None else len(properties.pack())  # type: ignore[no-untyped-call]
    return _FIXED_BYTES + len(topic.encode()) + packed


class MqttSession:
    """An MQTT 5 session over one network connection; not to be used again once the connection is lost.

    Publications fail immediately when the connection is lost, and report the broker's refusals. Messages of QoS 1 are
    acknowledged when the application releases them, in the order in which they came.

    Attributes:
        subscribed: topic filters, with root, that the broker has granted on this connection. Changed only by
            `request_subscription` and `cancel_subscription`.
        max_packet_bytes: largest packet that the broker accepts. Set at CONNACK; None without a maximum.
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
            on_undecodable: called for every message whose topic is not UTF-8.
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
        # Replaced at CONNACK, before anything can be published.
        self._send_quota = asyncio.Semaphore(settings.max_outstanding)
        self._acknowledgements = AcknowledgementOrder()
        self._tls: ClientContext | None = None
        self._paho = _paho_client(settings, options)
        self._driver = PahoDriver(self._paho, on_connected=self._connected, on_message=self._take_in)

    @property
    def is_lost(self) -> bool:
        """True if the connection has ended."""
        return self._driver.is_lost

    async def open(self) -> None:
        """Connect.

        Raises:
            BrokerUnreachable: no broker there, or none that speaks MQTT 5 over these settings.
            AccessRefused: the broker refuses this client.
        """
        await self._load_certificates()
        settings = self._settings
        try:
            reason = await self._driver.connect(
                settings.host,
                settings.port,
                keepalive_s=settings.keepalive_s,
                clean_start=not self._options.persistent,
                properties=_connect_properties(settings, self._options),
                timeout_s=settings.attempt_timeout_s,
            )
            if reason.value >= _FIRST_FAILURE:
                raise self._refusal(reason)
        except BaseException as error:
            self._abandon()
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

    async def send(
        self, topic: str, payload: bytes | bytearray, qos: int, retain: bool, properties: Properties | None
    ) -> None:
        """Publish, and wait until the broker has confirmed it (QoS 1) or it is written to the socket (QoS 0).

        Raises:
            SessionLost: the connection ended first. The message may or may not have arrived.
            PublishFailed: the broker rejected it, or it is larger than the broker accepts.
        """
        packed = to_paho(properties)
        limit = self.max_packet_bytes
        if limit is not None and len(payload) + publish_overhead_bytes(topic, packed) > limit:
            # The broker would disconnect this client for it (MQTT 5.0, 3.2.2.3.6).
            raise PublishFailed(topic, f"{len(payload)} bytes, the broker accepts packets of at most {limit} bytes")
        if qos == 0:
            reason = await self._driver.publish(topic, payload, qos, retain, packed)
        else:
            async with self._send_quota:
                reason = await self._driver.publish(topic, payload, qos, retain, packed)
        if reason is not None and reason.value >= _FIRST_FAILURE:
            raise PublishFailed(topic, f"the broker rejected it: {reason}")

    async def request_subscription(self, topic_filter: str, qos: int) -> None:
        """Subscribe.

        Raises:
            SessionLost: the connection ended first, or the broker did not answer in time.
            AccessRefused: the broker does not allow it.
        """
        reasons = await self._driver.subscribe(topic_filter, qos, self._settings.attempt_timeout_s)
        refused = [reason for reason in reasons if reason.value >= _FIRST_FAILURE]
        if refused:
            raise AccessRefused(self._settings.address, f"no subscription to {topic_filter}: {refused[0]}")
        self.subscribed.add(topic_filter)

    async def cancel_subscription(self, topic_filter: str) -> None:
        """Unsubscribe.

        Raises:
            SessionLost: the connection ended first, or the broker did not answer in time.
        """
        self.subscribed.discard(topic_filter)
        await self._driver.unsubscribe(topic_filter, self._settings.attempt_timeout_s)

    def _connected(self, session_present: bool, properties: PahoProperties | None) -> None:
        if session_present:
            self._on_resumed()
        self.max_packet_bytes = getattr(properties, "MaximumPacketSize", None)
        # The broker's receive maximum bounds unacknowledged publications (MQTT 5.0, 4.9). paho ignores it, and the
        # broker may disconnect a client that exceeds it.
        receive_maximum: int = getattr(properties, "ReceiveMaximum", self._settings.max_outstanding)
        self._send_quota = asyncio.Semaphore(min(receive_maximum, self._settings.max_outstanding))

    def _take_in(self, message: MQTTMessage) -> None:
        if message.qos:
            self._acknowledgements.received(message.mid)
        try:
            received = self._received(message)
        except UnicodeDecodeError:
            # Left unacknowledged it would hold back the acknowledgements of all messages after it.
            self._release(message.mid)
            self._on_undecodable()
            return
        self._on_received(received)

    def _received(self, message: MQTTMessage) -> Received:
        packet_id = message.mid
        return Received(
            topic=message.topic[self._root_length :],
            payload=bytes(message.payload),
            properties=from_paho(message.properties),
            retain=message.retain,
            qos=message.qos,
            skipped_bytes=self._paho.skipped_bytes,
            on_acknowledge=(lambda: self._release(packet_id)) if message.qos else nothing_to_acknowledge,
        )

    def _release(self, packet_id: int) -> None:
        # After a reconnect the packet identifier means another message, or none.
        if self.is_lost:
            return
        for ready in self._acknowledgements.acknowledge(packet_id):
            self._driver.acknowledge(ready)

    async def _load_certificates(self) -> None:
        if not self._settings.tls:
            return
        try:
            self._tls = await asyncio.to_thread(client_context, self._settings)
        except OSError as error:
            raise BrokerUnreachable(self._settings.address, f"TLS certificates: {error}") from error
        self._paho.tls_set_context(self._tls)
        if self._settings.tls_insecure:
            # paho checks the host name by itself, in addition to the context.
            self._paho.tls_insecure_set(True)

    def _abandon(self) -> None:
        self._driver.close()
        if self._tls is not None:
            self._tls.close_latest()

    def _translated(self, error: BaseException) -> BusError | None:
        """Return the bus error for the error of an attempt; None for errors that are not of the network."""
        address = self._settings.address
        match error:
            case HandshakeClosed():
                reason = "it hung up without an answer, as some brokers do for a wrong password, or for MQTT 5"
                return AccessRefused(address, reason, is_certain=False)
            case TimeoutError():
                return BrokerUnreachable(address, str(error) or "no answer in time")
            case OSError():
                return BrokerUnreachable(address, str(error) or type(error).__name__)
            case UnicodeError():
                return BrokerUnreachable(address, f"the host name is not valid: {error}")
            case _:
                return None

    def _refusal(self, reason: ReasonCode) -> BusError:
        if reason.value in _REFUSALS:
            return AccessRefused(self._settings.address, str(reason))
        return BrokerUnreachable(self._settings.address, f"the broker answered CONNECT with {reason}")


def _paho_client(settings: BusSettings, options: SessionOptions) -> BoundedClient:
    client = BoundedClient(
        CallbackAPIVersion.VERSION2,
        options.client_id,
        protocol=MQTTProtocolVersion.MQTTv5,
        reconnect_on_failure=False,
        manual_ack=True,
        max_payload_bytes=options.max_payload_bytes,
    )
    client.enable_logger(_PAHO_LOGGER)
    client.connect_timeout = settings.attempt_timeout_s
    client.max_inflight_messages = settings.max_outstanding
    if settings.username is not None:
        client.username_pw_set(settings.username, settings.password)
    if options.will is not None:
        will = options.will
        client.will_set(f"{settings.root}/{will.topic}", will.payload, will.qos, will.retain)
    return client


def _connect_properties(settings: BusSettings, options: SessionOptions) -> PahoProperties:
    properties = PahoProperties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.ReceiveMaximum = options.receive_maximum
    if options.persistent:
        # Without it the session ends with the connection (MQTT 5.0, 3.1.2.11.2).
        properties.SessionExpiryInterval = settings.session_expiry_s
    return properties
