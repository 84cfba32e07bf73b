"""An MQTT 5 connection that comes back by itself: subscriptions, publications and presence survive the broker."""

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from shared.bus.errors import AccessRefused, BrokerUnreachable, BusError, PublishFailed, SubscriptionFailed
from shared.bus.paho_driver import SessionLost
from shared.bus.properties import Properties
from shared.bus.receive_queue import Received, ReceiveQueue
from shared.bus.session import MqttSession, SessionOptions, Will
from shared.bus.settings import BusSettings

__all__ = ["Connection", "Counters", "Properties", "Received", "Will", "unique_client_id"]

logger = logging.getLogger(__name__)

_STABLE_AFTER_S = 5.0
_HANG_UPS_THAT_REFUSE = 3
_BROKER_WINDOW = 100
"""Unacknowledged messages that rumqttd sends whatever the receive maximum says."""


def unique_client_id(prefix: str) -> str:
    """A client id for programs of which several may run at once, such as command-line tools."""
    return f"{prefix}-{secrets.token_hex(4)}"


@dataclass(slots=True)
class Counters:
    """What went through a connection, and what did not.

    Attributes:
        published: messages handed to the broker (QoS 1: confirmed).
        published_bytes: their payloads.
        received: messages that came in.
        received_bytes: their payloads.
        reconnects: times the connection came back after a loss.
        dropped_offline: publications of QoS 0 dropped because there was no connection.
        dropped_undecodable: messages dropped because their topic is not text.
    """

    published: int = 0
    published_bytes: int = 0
    received: int = 0
    received_bytes: int = 0
    reconnects: int = 0
    dropped_offline: int = 0
    dropped_undecodable: int = 0


OnConnected = Callable[["Connection"], Awaitable[None]]


class Connection:
    """A client of the bus. Open it with `Connection.open`; topics are given and seen without the root."""

    def __init__(
        self, settings: BusSettings, options: SessionOptions, manual_ack: bool, on_connected: OnConnected | None
    ) -> None:
        self.settings = settings
        self.counters = Counters()
        self._options = options
        self._manual_ack = manual_ack
        self._on_connected = on_connected
        self._intake = ReceiveQueue(settings.queue_limit, 2 * max(options.receive_maximum, _BROKER_WINDOW))
        self._outstanding = asyncio.Semaphore(settings.max_outstanding)
        self._subscriptions: dict[str, int] = {}
        self._session: MqttSession | None = None
        self._online = asyncio.Event()
        self._ready = asyncio.Event()
        self._failure: BusError | None = None

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
        on_connected: OnConnected | None = None,
        connect_timeout_s: float | None = 10.0,
    ) -> AsyncIterator[Self]:
        """Connect, stay connected, and disconnect at the end of the block. Leaving publishes nothing.

        Args:
            settings: where the broker is.
            client_id: used as it is. A service whose id is stable takes over from its own dead connection at once;
                two programs with the same id keep throwing each other out. None for a random one.
            will: published by the broker if this client vanishes.
            persistent_session: the broker keeps what it could not deliver while this client is away. With rumqttd, a
                resumed session does not see retained messages again.
            manual_ack: messages of QoS 1 stay the broker's until `Received.acknowledge()`.
            receive_maximum: how many of those at once; None for the settings' value.
            on_connected: called after every connect, when subscriptions are in force again: the place to publish what
                this program has retained. It may publish and subscribe. A `BusError` in it is logged, anything else
                ends the connection.
            connect_timeout_s: how long the first connection may take, `on_connected` included; None to keep trying.

        Yields:
            The connection, connected.

        Raises:
            BrokerUnreachable: not connected in time.
            AccessRefused: the broker refused this client (not if `connect_timeout_s` is None).
        """
        options = SessionOptions(
            client_id or unique_client_id("segue"),
            will,
            persistent_session,
            receive_maximum or settings.receive_maximum,
        )
        connection = cls(settings, options, manual_ack, on_connected)
        try:
            async with asyncio.TaskGroup() as group:
                keeper = group.create_task(
                    connection._stay_connected(refusal_is_final=connect_timeout_s is not None),
                    name=f"bus connection {options.client_id}",
                )
                try:
                    await connection._first_connection(connect_timeout_s)
                    yield connection
                finally:
                    keeper.cancel()
        except BaseExceptionGroup as group_error:
            raise _innermost(group_error) from None

    @property
    def client_id(self) -> str:
        """The id under which the broker knows this client."""
        return self._options.client_id

    @property
    def is_connected(self) -> bool:
        """Connected, and all subscriptions are in force."""
        return self._online.is_set()

    @property
    def dropped_incoming(self) -> int:
        """Messages dropped because the application took too long."""
        return self._intake.dropped

    @property
    def waiting(self) -> int:
        """Messages that have come in and wait for the application."""
        return len(self._intake)

    async def wait_connected(self, timeout_s: float) -> None:
        """Wait until there is a connection.

        Raises:
            BrokerUnreachable: not in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._online.wait()
        except TimeoutError:
            raise self._unreachable(timeout_s) from None

    async def publish(
        self,
        topic: str,
        payload: bytes | bytearray | memoryview | str,
        *,
        qos: int = 1,
        retain: bool = False,
        properties: Properties | None = None,
        timeout_s: float = 10.0,
        absolute: bool = False,
    ) -> None:
        """Publish a message.

        QoS 1 waits for a connection and for the broker's confirmation, and tries again after a reconnect: the message
        may then arrive twice. QoS 0 is dropped, and counted, when there is no connection.

        Args:
            topic: below the root.
            payload: the bytes; text is encoded as UTF-8.
            qos: 0 or 1.
            retain: the broker keeps it for later subscribers; an empty payload removes it.
            properties: correlation data, response topic and the like.
            timeout_s: bound on all of it.
            absolute: the topic is a whole one, not below the root: a response topic, for example.

        Raises:
            PublishFailed: not confirmed in time, too large, or rejected by the broker.
        """
        data = _as_bytes(payload)
        if len(data) > self.settings.max_payload_bytes:
            raise PublishFailed(topic, f"{len(data)} bytes, at most {self.settings.max_payload_bytes} in one message")
        if qos == 0 and not self.is_connected:
            self.counters.dropped_offline += 1
            return
        whole_topic = topic if absolute else f"{self.settings.root}/{topic}"
        try:
            async with asyncio.timeout(timeout_s):
                if await self._send_until_confirmed(whole_topic, data, qos, retain, properties):
                    self.counters.published += 1
                    self.counters.published_bytes += len(data)
                else:
                    self.counters.dropped_offline += 1
        except TimeoutError:
            state = "the broker did not confirm it" if self.is_connected else "there is no connection to the broker"
            raise PublishFailed(topic, f"{state} within {timeout_s:g} s") from None

    async def subscribe(self, topic_filter: str, qos: int = 1, *, timeout_s: float = 10.0) -> None:
        """Subscribe, now and after every reconnect.

        Raises:
            SubscriptionFailed: the broker did not confirm in time; the subscription stays remembered.
            AccessRefused: the broker does not allow it; it is not remembered.
        """
        self._subscriptions[topic_filter] = qos
        whole = f"{self.settings.root}/{topic_filter}"
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    session = await self._connected_session()
                    if whole in session.subscribed:
                        return
                    try:
                        return await session.request_subscription(whole, qos)
                    except SessionLost:
                        await asyncio.sleep(0)
        except TimeoutError:
            raise SubscriptionFailed(topic_filter, f"not confirmed within {timeout_s:g} s") from None
        except AccessRefused:
            self._subscriptions.pop(topic_filter, None)
            raise

    async def unsubscribe(self, topic_filter: str) -> None:
        """End a subscription. Messages that have already come in are still delivered."""
        if self._subscriptions.pop(topic_filter, None) is None or self._session is None:
            return
        try:
            await self._session.cancel_subscription(f"{self.settings.root}/{topic_filter}")
        except SessionLost:
            logger.debug("connection lost while unsubscribing from %s", topic_filter)

    def __aiter__(self) -> AsyncIterator[Received]:
        """Messages in order of arrival, across reconnects, without end."""
        return self

    async def __anext__(self) -> Received:
        """The next message. Safe to cancel: a message that was not returned stays."""
        received = await self._intake.get()
        if not self._manual_ack:
            received.acknowledge()
        return received

    async def _first_connection(self, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError:
            raise self._failure or self._unreachable(timeout_s or 0.0) from None

    async def _stay_connected(self, refusal_is_final: bool) -> None:
        clock = asyncio.get_running_loop()
        attempt = refusals = 0
        while True:
            session = MqttSession(
                self.settings,
                self._options,
                on_received=self._take_in,
                on_undecodable=self._note_undecodable,
                on_resumed=self._intake.discard_unacknowledged,
            )
            try:
                await session.open()
            except BusError as error:
                refusals = refusals + 1 if isinstance(error, AccessRefused) else 0
                if refusal_is_final and not self._ready.is_set() and _is_refusal(error, refusals):
                    raise
                self._note(error)
            else:
                refusals = 0
                opened_at_s = clock.time()
                await self._serve(session)
                attempt = 0 if clock.time() - opened_at_s >= _STABLE_AFTER_S else attempt
            await asyncio.sleep(_pause_s(self.settings, attempt))
            attempt += 1

    async def _serve(self, session: MqttSession) -> None:
        """Use one session from its first moment to its last."""
        try:
            await self._resubscribe(session)
            self._session = session
            self._online.set()
            self._failure = None
            self.counters.reconnects += self._ready.is_set()
            logger.info("connected to %s as %s", self.settings.address, self.client_id)
            async with asyncio.TaskGroup() as group:
                announcement = group.create_task(self._announce(), name=f"on_connected {self.client_id}")
                reason = await session.lost()
                announcement.cancel()
            self._note(BrokerUnreachable(self.settings.address, f"connection lost: {reason}"))
        except SessionLost as error:
            self._note(BrokerUnreachable(self.settings.address, f"connection lost while subscribing: {error}"))
        finally:
            self._online.clear()
            self._session = None
            await session.close()

    async def _resubscribe(self, session: MqttSession) -> None:
        for topic_filter, qos in tuple(self._subscriptions.items()):
            try:
                await session.request_subscription(f"{self.settings.root}/{topic_filter}", qos)
            except AccessRefused as error:
                logger.error("%s", error)

    async def _announce(self) -> None:
        if self._on_connected is not None:
            try:
                await self._on_connected(self)
            except BusError as error:
                logger.warning("what should be published after connecting was not: %s", error)
        self._ready.set()

    async def _connected_session(self) -> MqttSession:
        while True:
            await self._online.wait()
            if self._session is not None and not self._session.is_lost:
                return self._session
            await asyncio.sleep(0)

    async def _send_until_confirmed(
        self, topic: str, data: bytes | bytearray, qos: int, retain: bool, properties: Properties | None
    ) -> bool:
        while True:
            async with self._outstanding:
                session = self._session if self.is_connected else None
                if session is not None:
                    try:
                        await session.send(topic, data, qos, retain, properties)
                        return True
                    except SessionLost:
                        await asyncio.sleep(0)
            if qos == 0:
                return False
            await self._connected_session()

    def _note_undecodable(self) -> None:
        self.counters.dropped_undecodable += 1

    def _take_in(self, received: Received) -> None:
        self.counters.received += 1
        self.counters.received_bytes += len(received.payload)
        self._intake.put(received)

    def _note(self, error: BusError) -> None:
        """Remember the present cause, and log it once as long as it stays the same."""
        if self._failure is None or str(self._failure) != str(error):
            logger.warning("%s", error)
        self._failure = error

    def _unreachable(self, timeout_s: float) -> BusError:
        return self._failure or BrokerUnreachable(self.settings.address, f"no answer within {timeout_s:g} s")


def _is_refusal(error: BusError, times: int) -> bool:
    """Whether trying again is of no use: the broker said no, or hung up several times in a row."""
    return isinstance(error, AccessRefused) and (error.is_certain or times >= _HANG_UPS_THAT_REFUSE)


def _pause_s(settings: BusSettings, attempt: int) -> float:
    """Exponential backoff with jitter, so that a fleet does not come back all at once."""
    longest = min(settings.reconnect_max_s, settings.reconnect_min_s * 2.0 ** min(attempt, 16))
    return longest * random.uniform(0.5, 1.0)


def _as_bytes(payload: bytes | bytearray | memoryview | str) -> bytes | bytearray:
    if isinstance(payload, str):
        return payload.encode()
    return bytes(payload) if isinstance(payload, memoryview) else payload


def _innermost(error: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error in a group of one; the group itself if it holds several."""
    if len(error.exceptions) != 1:
        return error
    only = error.exceptions[0]
    return _innermost(only) if isinstance(only, BaseExceptionGroup) else only
