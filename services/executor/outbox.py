"""Control messages on their way out: bounded, patient while the broker is away, and never an error for the sender."""

import asyncio
import logging
import time
from dataclasses import dataclass, field

from services.executor.observation_throttle import ObservationThrottle
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.errors import BusError
from shared.bus.properties import Properties
from shared.messages.devices import ComputeObservation, TransferObservation
from shared.messages.events import Event, EventKind
from shared.messages.reject_counter import RejectCounter

_LOGGER = logging.getLogger(__name__)

_PUBLISHERS = 4
_MAX_QUEUED = 1024


@dataclass(frozen=True, slots=True)
class Publication:
    """A message for the broker.

    Attributes:
        topic: below the root, or a whole one if `absolute`.
        payload: its bytes.
        properties: its MQTT 5 properties.
        retain: whether the broker keeps it.
        absolute: the topic is given by an application.
    """

    topic: str
    payload: bytes
    properties: Properties | None = None
    retain: bool = False
    absolute: bool = False


@dataclass(slots=True)
class Outbox:
    """Publishes on the control connection.

    `put` queues for QoS 1: while the broker is away messages wait, and past the bound their senders do. `mention`
    is QoS 0, for what is worthless later. A message that is not confirmed within `patience_s` is dropped and logged:
    whatever matters is published again by whoever owns it.
    """

    device: str
    connection: Connection
    patience_s: float = 60.0
    _queue: asyncio.Queue[Publication] = field(init=False)
    _rejects: RejectCounter = field(default_factory=RejectCounter, init=False)
    _sparing: ObservationThrottle = field(default_factory=ObservationThrottle, init=False)

    def __post_init__(self) -> None:
        self._queue = asyncio.Queue(_MAX_QUEUED)

    async def run(self) -> None:
        """Publish what is queued, for ever."""
        async with asyncio.TaskGroup() as group:
            for number in range(_PUBLISHERS):
                group.create_task(self._publish(), name=f"outbox {number}")

    async def put(self, publication: Publication) -> None:
        """Queue a message of QoS 1."""
        await self._queue.put(publication)

    async def mention(self, topic: str, payload: bytes) -> None:
        """Publish a message of QoS 0; dropped if there is no connection."""
        try:
            await self.connection.publish(topic, payload, qos=0)
        except BusError as error:
            _LOGGER.debug("not mentioned: %s", error)

    async def observe(self, observation: ComputeObservation | TransferObservation) -> None:
        """Tell this device's monitor what was measured, unless it has just been told the like."""
        if self._sparing.is_worth(observation, time.monotonic()):
            await self.mention(topics.observations(self.device), observation.encode())

    async def report(self, kind: EventKind, text: str, *, stream: str | None = None, device: str | None = None) -> None:
        """Tell people and the collector that something has happened."""
        event = Event(kind=kind, at_s=time.time(), origin=self.device, text=text, stream=stream, device=device)
        await self.put(Publication(topics.events(), event.encode()))

    async def note_bad_message(self, topic: str, reason: str) -> None:
        """Count a message that does not decode; the first of a cause is logged and reported."""
        if self._rejects.add(topic, reason):
            _LOGGER.warning("dropped a message on %s: %s", topic, reason)
            await self.report(EventKind.BAD_MESSAGE, f"dropped a message on {topic}: {reason}", device=self.device)

    @property
    def bad_messages(self) -> int:
        """How many messages did not decode."""
        return self._rejects.count

    async def drain(self) -> None:
        """Wait until everything queued is published or given up."""
        await self._queue.join()

    async def _publish(self) -> None:
        while True:
            item = await self._queue.get()
            try:
                await self.connection.publish(
                    item.topic,
                    item.payload,
                    retain=item.retain,
                    properties=item.properties,
                    timeout_s=self.patience_s,
                    absolute=item.absolute,
                )
            except (BusError, ValueError) as error:  # ValueError: a topic that an application gave and that is none.
                _LOGGER.warning("%s", error)
            finally:
                self._queue.task_done()
