"""Duplicates of messages on the bus that come late, so that they also come out of order."""

import asyncio
import random
from dataclasses import dataclass, field

from shared.bus import topics
from shared.bus.connection import Connection, Received
from shared.bus.errors import BusError
from shared.bus.mqtt.properties import Properties

# Messages that some service acts on. Of the retained ones a late duplicate would be a forgery: only a broker that
# serves others first delivers them out of order.
_FILTERS = (
    topics.requests("+"),
    topics.results("+"),
    topics.inbox("+"),
    topics.receipts("+"),
    topics.commands("+"),
    topics.reports("+"),
    topics.observations("+"),
    topics.confirmations(),
    topics.events(),
)
_MARK = "repeated"
_LATEST_S = 4.0
_MAX_UNDER_WAY = 64


@dataclass(slots=True)
class MessageRepeater:
    """Publishes a share of all messages a second time.

    Attributes:
        share: of the messages.
        chance: decides which, and when.
        count: messages that were published again.
    """

    share: float
    chance: random.Random
    count: int = 0
    _under_way: int = field(default=0, init=False)

    async def run(self, connection: Connection) -> None:
        """Repeat messages until cancelled."""
        for topic_filter in _FILTERS:
            await connection.subscribe(topic_filter, qos=0)
        async with asyncio.TaskGroup() as group:
            async for received in connection:
                is_own = _MARK in received.user
                if not is_own and self._under_way < _MAX_UNDER_WAY and self.chance.random() < self.share:
                    self._under_way += 1
                    group.create_task(self._repeat(connection, received), name=f"repeat {received.topic}")

    async def _repeat(self, connection: Connection, received: Received) -> None:
        try:
            await asyncio.sleep(self.chance.uniform(0.0, _LATEST_S))
            before = received.properties
            properties = Properties(
                user={**before.user, _MARK: "1"},
                correlation_data=before.correlation_data,
                response_topic=before.response_topic,
                content_type=before.content_type,
            )
            await connection.publish(received.topic, bytes(received.payload), properties=properties)
            self.count += 1
        except BusError:
            # The broker is away; the message is repeated no more.
            return
        finally:
            self._under_way -= 1
