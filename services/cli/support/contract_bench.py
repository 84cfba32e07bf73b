"""Clients of a broker for the checks of its contract: single connections that never reconnect by themselves."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from shared.bus.errors import BusError
from shared.bus.frame import Buffer
from shared.bus.mqtt.properties import Properties
from shared.bus.receive_queue import Received
from shared.bus.session import MqttSession, SessionOptions, Will
from shared.bus.settings import BusSettings

# Longest wait for a message or an answer.
WAIT_S: Final = 5.0


class ContractBroken(Exception):
    """The broker does not do what a check needs; the text says what it does instead."""


class ContractClient:
    """One connection. Topics are below the root of the bench.

    Attributes:
        session: of the connection.
        is_resumed: whether the broker has kept its session.
    """

    def __init__(self, settings: BusSettings, options: SessionOptions, keeps_unacknowledged: bool) -> None:
        self._received: asyncio.Queue[Received] = asyncio.Queue()
        self._keeps_unacknowledged = keeps_unacknowledged
        self.is_resumed = False
        self._root = settings.root
        self.session = MqttSession(
            settings, options, on_received=self._take, on_undecodable=_ignore, on_resumed=self._note_resumed
        )

    @property
    def waiting(self) -> int:
        """Number of messages that have come and were not taken."""
        return self._received.qsize()

    async def publish(
        self, topic: str, payload: Buffer, *, qos: int = 1, retain: bool = False, properties: Properties | None = None
    ) -> None:
        """Publish, and wait for the broker's answer."""
        async with asyncio.timeout(WAIT_S):
            await self.session.send(f"{self._root}/{topic}", (payload,), qos, retain, properties)

    async def subscribe(self, topic_filter: str, qos: int = 1) -> None:
        """Subscribe, and wait for the broker's answer."""
        await self.session.request_subscription(f"{self._root}/{topic_filter}", qos)

    async def next(self, what: str) -> Received:
        """Return the next message.

        Raises:
            ContractBroken: none comes; the text begins with `what`.
        """
        try:
            async with asyncio.timeout(WAIT_S):
                return await self._received.get()
        except TimeoutError:
            raise ContractBroken(f"{what} does not arrive within {WAIT_S:g} s") from None

    async def take(self, count: int, what: str) -> list[Received]:
        """Return the next `count` messages.

        Raises:
            ContractBroken: fewer come.
        """
        found: list[Received] = []
        try:
            while len(found) < count:
                found.append(await self.next(what))
        except ContractBroken:
            raise ContractBroken(f"{len(found)} of {count} arrive: {what}") from None
        return found

    def _take(self, received: Received) -> None:
        if not self._keeps_unacknowledged:
            received.acknowledge()
        self._received.put_nowait(received)

    def _note_resumed(self) -> None:
        self.is_resumed = True


class ContractBench:
    """Opens clients, and leaves nothing at the broker: neither retained messages nor sessions.

    Attributes:
        settings: of the broker, with a root of its own below that of the fleet.
        second: of the broker at which messages are received; the same, or another node of a cluster.
    """

    def __init__(self, settings: BusSettings, second: BusSettings | None = None) -> None:
        root = f"{settings.root}/contract-{secrets.token_hex(4)}"
        self.settings = replace(settings, root=root)
        self.second = self.settings if second is None else replace(second, root=root)
        self._retained: set[str] = set()
        self._persistent: set[str] = set()

    @contextlib.asynccontextmanager
    async def client(
        self,
        name: str = "",
        *,
        at_second: bool = False,
        persistent: bool = False,
        keeps_unacknowledged: bool = False,
        receive_maximum: int = 64,
        will: Will | None = None,
    ) -> AsyncIterator[ContractClient]:
        """Connect, and disconnect at the end of the block.

        Args:
            name: the same for clients of one session; empty for a new client.
            at_second: connect to the second broker.
            persistent: the broker keeps the session.
            keeps_unacknowledged: acknowledge nothing.
            receive_maximum: bound on unacknowledged messages.
            will: last will.
        """
        client_id = f"{self.settings.root.rpartition('/')[2]}-{name or secrets.token_hex(4)}"
        if persistent:
            self._persistent.add(client_id)
        settings = self.second if at_second else self.settings
        options = SessionOptions(client_id, will, persistent, receive_maximum)
        client = ContractClient(settings, options, keeps_unacknowledged)
        await client.session.open()
        try:
            yield client
        finally:
            await client.session.close()

    async def retain(
        self, client: ContractClient, topic: str, payload: bytes, properties: Properties | None = None
    ) -> None:
        """Publish a retained message, which `clean_up` clears.

        Raises:
            ContractBroken: the broker says that it retains none.
        """
        if not client.session.has_retained:
            raise ContractBroken("it says that it retains no messages")
        self._retained.add(topic)
        await client.publish(topic, payload, retain=True, properties=properties)

    def will_retain(self, topic: str) -> None:
        """Let `clean_up` clear a topic on which a will is retained."""
        self._retained.add(topic)

    async def clean_up(self) -> None:
        """Clear retained messages and end sessions. A broker that fails here fails the checks as well."""
        with contextlib.suppress(BusError, TimeoutError):
            async with self.client() as client:
                for topic in self._retained:
                    await client.publish(topic, b"", retain=True)
        for client_id in self._persistent:
            with contextlib.suppress(BusError, TimeoutError):
                # A clean start ends the session of this id.
                async with self.client(client_id.rpartition("-")[2]):
                    pass


def _ignore() -> None:
    """Pass over what cannot be decoded: the message that a check awaits does not come then."""
