"""A connection to the broker that reconnects by itself and restores subscriptions and unconfirmed publications.

It holds what outlives an `MqttSession`: topic filters, received messages, unconfirmed publications, counters.
`SessionKeeper` opens the sessions.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Self

from shared.bus.access_rights import MissingRights
from shared.bus.connection_counters import Counters
from shared.bus.errors import (
    MessageTooLarge,
    PublishFailed,
    PublishForbidden,
    SessionLost,
)
from shared.bus.frame import Buffer
from shared.bus.mqtt.properties import Properties
from shared.bus.mqtt.publish_packet import Payload, overhead_bytes, payload_pieces
from shared.bus.receive_queue import Received, ReceiveQueue
from shared.bus.session import MqttSession, SessionOptions, Will
from shared.bus.session_keeper import SessionKeeper
from shared.bus.settings import BusSettings
from shared.bus.subscriptions import Subscriptions
from shared.exception_groups import only_error

__all__ = ["Connection", "Counters", "Properties", "Received", "Will", "unique_client_id"]

# Longest wait for the answer to the first message of QoS 0 on a topic.
_FIRST_S: Final = 2.0
# rumqttd sends this many messages of QoS 1 ahead of their acknowledgement; it ignores the client's receive maximum.
_RUMQTTD_WINDOW: Final = 100


def unique_client_id(prefix: str) -> str:
    """Return a client id for programs that may run several times in parallel, such as command-line tools."""
    return f"{prefix}-{secrets.token_hex(4)}"


OnConnected = Callable[["Connection"], Awaitable[None]]


class Connection:
    """A client of the bus. Open it with `Connection.open`. Topics are given and returned without the root."""

    def __init__(
        self, settings: BusSettings, options: SessionOptions, manual_ack: bool, on_connected: OnConnected | None
    ) -> None:
        self.settings = settings
        self.counters = Counters()
        self.missing_rights = MissingRights()
        self._options = options
        self._manual_ack = manual_ack
        self._on_connected = on_connected
        # Twice the window: a resumed session may deliver again what the application has not yet taken.
        self._incoming = ReceiveQueue(settings.queue_limit, 2 * max(options.receive_maximum, _RUMQTTD_WINDOW))
        self._outstanding = asyncio.Semaphore(settings.max_outstanding)
        self._keeper = SessionKeeper(settings, options.client_id, self.counters)
        self._subscriptions = Subscriptions(settings.root, self.missing_rights, self._keeper.connected)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: BusSettings,
        *,
        client_id: str | None = None,
        will: Will | None = None,
        persistent_session: bool = False,
        manual_ack: bool = False,
        receive_maximum: int | None = None,
        max_payload_bytes: Callable[[], int] | None = None,
        on_connected: OnConnected | None = None,
        connect_timeout_s: float | None = 10.0,
    ) -> AsyncIterator[Self]:
        """Connect, stay connected, and disconnect at the end of the block, without publishing the will.

        Args:
            settings: where the broker is.
            client_id: the settings' secret is added. With a stable id a service replaces its own dead connection
                immediately. Two programs with the same id disconnect each other. None for a random id.
            will: published by the broker if this client vanishes.
            persistent_session: the broker stores messages of QoS 1 for this client while it is away. With rumqttd, a
                resumed session does not receive retained messages again.
            manual_ack: the broker delivers a message of QoS 1 again unless `Received.acknowledge()` was called.
            receive_maximum: bound on unacknowledged messages; None for the value in the settings.
            max_payload_bytes: returns the size beyond which a payload is read and not kept (`Received.skipped_bytes`).
            on_connected: called after every connect, once the subscriptions are in force again. Publish retained
                messages there: the broker may have lost them. It may publish and subscribe. A `BusError` in it is
                logged, any other error ends the connection.
            connect_timeout_s: bound on the first connection, `on_connected` included; None to keep trying.

        Yields:
            The connection, connected.

        Raises:
            BrokerUnreachable: not connected in time.
            AccessRefused: the broker refused this client (not if `connect_timeout_s` is None).
        """
        parts = (client_id or unique_client_id("segue"), settings.client_secret)
        options = SessionOptions(
            "-".join(filter(None, parts)),
            will,
            persistent_session,
            receive_maximum or settings.receive_maximum,
            max_payload_bytes,
        )
        connection = cls(settings, options, manual_ack, on_connected)
        try:
            async with asyncio.TaskGroup() as group:
                keeper = group.create_task(
                    connection._keeper.run(
                        connection._new_session,
                        restore=connection._subscriptions.restore,
                        announce=connection._announce,
                        refusal_is_final=connect_timeout_s is not None,
                    ),
                    name=f"bus connection {options.client_id}",
                )
                try:
                    await connection._keeper.wait_ready(connect_timeout_s)
                    yield connection
                finally:
                    keeper.cancel()
        except BaseExceptionGroup as group_error:
            raise only_error(group_error) from None

    @property
    def client_id(self) -> str:
        """The client identifier."""
        return self._options.client_id

    @property
    def is_connected(self) -> bool:
        """True if it is connected and all subscriptions are in force."""
        return self._keeper.serving is not None

    @property
    def offline_s(self) -> float:
        """Time without a connection whose subscriptions are in force, in seconds; 0 while there is one."""
        return self._keeper.offline_s

    @property
    def silent_s(self) -> float:
        """Time for which the broker has sent nothing although it owes an answer; 0 if it owes none, or is lost."""
        session = self._keeper.serving
        return 0.0 if session is None else session.silent_s

    @property
    def dropped_incoming(self) -> int:
        """Number of messages dropped because the application was too slow."""
        return self._incoming.dropped

    @property
    def waiting(self) -> int:
        """Number of received messages that wait for the application."""
        return len(self._incoming)

    def payload_limit_bytes(self, topic: str, properties: Properties | None = None, *, absolute: bool = False) -> int:
        """Return the size of the largest payload that can be published: the bound of the settings, or the broker's.

        The broker states the maximum size of a packet when it accepts the connection (MQTT 5.0, 3.2.2.3.6). The
        result may be negative: the broker then accepts no message with this topic and these properties.

        Args:
            topic: below the root.
            properties: of the message.
            absolute: `topic` includes the root.
        """
        max_packet_bytes = self._keeper.max_packet_bytes
        if max_packet_bytes is None:
            return self.settings.max_payload_bytes
        overhead = overhead_bytes(self._whole_topic(topic, absolute), properties)
        return min(self.settings.max_payload_bytes, max_packet_bytes - overhead)

    async def wait_connected(self, timeout_s: float) -> None:
        """Wait until there is a connection.

        Raises:
            BrokerUnreachable: not in time.
        """
        await self._keeper.wait_serving(timeout_s)

    async def publish(
        self,
        topic: str,
        payload: Payload,
        *,
        qos: int = 1,
        retain: bool = False,
        properties: Properties | None = None,
        timeout_s: float = 10.0,
        absolute: bool = False,
    ) -> None:
        """Publish a message.

        A message of QoS 1 waits for a connection and for PUBACK. After a reconnect it is sent again, and may then
        arrive twice. A message of QoS 0 is dropped, and counted, if there is no connection.

        Args:
            topic: below the root.
            payload: the bytes, text, which is encoded as UTF-8, or pieces that are sent one behind another. It is not
                copied and must not change until this returns.
            qos: 0 or 1.
            retain: the broker keeps it for later subscribers; an empty payload removes the retained message.
            properties: correlation data, response topic and the like.
            timeout_s: bound on the whole call.
            absolute: `topic` includes the root, as a response topic does.

        Raises:
            PublishFailed: not confirmed in time, too large (`MessageTooLarge`), or rejected by the broker.
        """
        pieces = payload_pieces(payload)
        size_bytes = sum(memoryview(piece).nbytes for piece in pieces)
        if size_bytes > self.settings.max_payload_bytes:
            raise MessageTooLarge(
                topic, f"{size_bytes} bytes, at most {self.settings.max_payload_bytes} in one message"
            )
        if qos == 0 and not self.is_connected:
            self.counters.dropped_offline += 1
            return
        whole_topic = self._whole_topic(topic, absolute)
        is_first = not self.missing_rights.is_tried(whole_topic)
        wanted_qos = qos
        if is_first and self.missing_rights.try_to_write(whole_topic):
            # A message of QoS 0 that is not allowed would vanish. Each later one is sent as it is.
            qos = 1
            timeout_s = timeout_s if wanted_qos else min(timeout_s, _FIRST_S)
        try:
            async with asyncio.timeout(timeout_s):
                if await self._send_until_confirmed(whole_topic, pieces, qos, retain, properties):
                    self.counters.published += 1
                    self.counters.published_bytes += size_bytes
                    if is_first:
                        self.missing_rights.forget("write", whole_topic)
                else:
                    self.counters.dropped_offline += 1
        except PublishForbidden:
            self.missing_rights.note("write", whole_topic)
            if wanted_qos:
                raise
        except TimeoutError:
            if not wanted_qos:
                self.counters.dropped_offline += 1
                return
            state = "the broker did not confirm it" if self.is_connected else "there is no connection to the broker"
            raise PublishFailed(topic, f"{state} within {timeout_s:g} s") from None

    def publish_now(self, topic: str, payload: Payload) -> bool:
        """Publish a message of QoS 0 at once, or return False if that is not possible now.

        It is not possible without a connection, while earlier bytes wait for the socket, with a payload larger than the
        broker accepts, and on a topic on which nothing was published before: the broker says only for QoS 1 whether
        this client may.

        Args:
            topic: below the root.
            payload: as for `publish`. It must never change.
        """
        whole_topic = self._whole_topic(topic, absolute=False)
        session = self._keeper.serving
        if session is None or not self.missing_rights.is_tried(whole_topic):
            return False
        pieces = payload_pieces(payload)
        size_bytes = sum(memoryview(piece).nbytes for piece in pieces)
        if size_bytes > self.payload_limit_bytes(topic) or not session.send_now(whole_topic, pieces):
            return False
        self.counters.published += 1
        self.counters.published_bytes += size_bytes
        return True

    async def subscribe(self, topic_filter: str, qos: int = 1, *, timeout_s: float = 10.0) -> None:
        """Subscribe, now and after every reconnect, and wait for SUBACK.

        Raises:
            SubscriptionFailed: no SUBACK in time. The subscription is requested again after a reconnect.
            AccessRefused: the broker does not allow it. It is not requested again.
        """
        await self._subscriptions.add(topic_filter, qos, timeout_s)

    async def unsubscribe(self, topic_filter: str) -> None:
        """End a subscription. Messages that were received before are still delivered."""
        await self._subscriptions.remove(topic_filter, self._keeper.serving)

    def __aiter__(self) -> AsyncIterator[Received]:
        """Iterate over messages in order of arrival, across reconnects, without end."""
        return self

    async def __anext__(self) -> Received:
        """Return the next message. Safe to cancel: a message that was not returned stays in the queue."""
        received = await self._incoming.get()
        # Acknowledged only now: while the application is slow, the broker holds back messages beyond the receive
        # maximum.
        if not self._manual_ack:
            received.acknowledge()
        return received

    def _whole_topic(self, topic: str, absolute: bool) -> str:
        return topic if absolute else f"{self.settings.root}/{topic}"

    def _new_session(self) -> MqttSession:
        return MqttSession(
            self.settings,
            self._options,
            on_received=self._take_in,
            on_undecodable=self._note_undecodable,
            on_resumed=self._incoming.discard_unacknowledged,
        )

    async def _announce(self) -> None:
        if self._on_connected is not None:
            await self._on_connected(self)

    async def _send_until_confirmed(
        self, topic: str, pieces: Sequence[Buffer], qos: int, retain: bool, properties: Properties | None
    ) -> bool:
        while True:
            # Not held while offline: after the reconnect the publications of `on_connected` come first, and need places
            # too.
            async with self._outstanding:
                session = self._keeper.serving
                if session is not None:
                    try:
                        await session.send(topic, pieces, qos, retain, properties)
                        return True
                    except SessionLost:
                        await asyncio.sleep(0)
            if qos == 0:
                return False
            await self._keeper.connected()

    def _note_undecodable(self) -> None:
        self.counters.dropped_undecodable += 1

    def _take_in(self, received: Received) -> None:
        self.counters.received += 1
        self.counters.received_bytes += len(received.payload)
        self._incoming.put(received)
