"""Bounded queue of outgoing control messages; waits out broker outages and never raises in the caller."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.errors import BusError
from shared.bus.mqtt.properties import Properties
from shared.messages.events import Event, EventKind
from shared.messages.reject_counter import RejectCounter
from shared.messages.requests import REQUEST_ID_PROPERTY

_LOGGER = logging.getLogger(__name__)

TRACEPARENT_PROPERTY = "traceparent"

# Number of tasks that publish, and so of messages that await their confirmation by the broker at the same time.
_PUBLISHERS = 4
_MAX_QUEUED = 1024


@dataclass(frozen=True, slots=True)
class Publication:
    """A message for the broker.

    Attributes:
        topic: below the root, or a complete topic if `absolute`.
        payload: its bytes.
        properties: its MQTT 5 properties.
        retain: whether the broker keeps it.
        absolute: whether the topic was given by an application.
        acknowledged: called when the broker has the message.
    """

    topic: str
    payload: bytes
    properties: Properties | None = None
    retain: bool = False
    absolute: bool = False
    acknowledged: Callable[[], None] | None = None


@dataclass(slots=True)
class Outbox:
    """Publishes messages on the control connection.

    `put` queues a message of QoS 1; when the queue is full its callers wait. `publish_best_effort` sends QoS 0, for
    messages that are worthless later. A message that is not confirmed within `patience_s` is dropped and logged. That
    loses nothing important: sources publish outcomes again, and the service its retained messages.

    Attributes:
        device: name of this device.
        connection: the control connection.
        patience_s: bound on the publication of one message, reconnects included.
    """

    device: str
    connection: Connection
    patience_s: float = 60.0
    _queue: asyncio.Queue[Publication] = field(init=False)
    _rejects: RejectCounter = field(default_factory=RejectCounter, init=False)

    def __post_init__(self) -> None:
        self._queue = asyncio.Queue(_MAX_QUEUED)

    async def run(self) -> None:
        """Publish queued messages until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(_PUBLISHERS):
                group.create_task(self._publish(), name=f"outbox {number}")

    async def put(self, publication: Publication) -> None:
        """Queue a message of QoS 1; waits while the queue is full."""
        await self._queue.put(publication)

    def payload_limit_bytes(self, publication: Publication) -> int:
        """Return the size of the largest payload that the broker accepts in the place of a publication's payload."""
        return self.connection.payload_limit_bytes(
            publication.topic, publication.properties, absolute=publication.absolute
        )

    async def publish_best_effort(self, topic: str, payload: bytes) -> None:
        """Publish a message of QoS 0; it is dropped if there is no connection."""
        try:
            await self.connection.publish(topic, payload, qos=0)
        except BusError as error:
            _LOGGER.debug("dropped a message on %s: %s", topic, error)

    async def report(self, kind: EventKind, text: str, *, stream: str | None = None, device: str | None = None) -> None:
        """Queue an event for operators and the collector."""
        event = Event(kind=kind, at_s=time.time(), origin=self.device, text=text, stream=stream, device=device)
        await self.put(Publication(topics.events(), event.encode()))

    async def note_bad_message(self, topic: str, reason: str) -> None:
        """Count a message that does not decode; the first of each reason is logged and reported."""
        if self._rejects.add(topic, reason):
            _LOGGER.warning("dropped a message on %s: %s", topic, reason)
            await self.report(EventKind.BAD_MESSAGE, f"dropped a message on {topic}: {reason}", device=self.device)

    @property
    def bad_messages(self) -> int:
        """Number of messages that did not decode."""
        return self._rejects.count

    async def drain(self) -> None:
        """Wait until every queued message is published or dropped."""
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
            except (BusError, ValueError) as error:  # ValueError: an application gave an invalid response topic.
                _LOGGER.warning("%s", error)
            else:
                if item.acknowledged is not None:
                    item.acknowledged()
            finally:
                self._queue.task_done()


def outcome_properties(
    request_id: str, content_type: str, correlation_data: bytes | None, traceparent: str | None = None
) -> Properties:
    """Return the MQTT properties of an outcome."""
    user = {REQUEST_ID_PROPERTY: request_id}
    if traceparent:
        user[TRACEPARENT_PROPERTY] = traceparent
    return Properties(correlation_data=correlation_data, content_type=content_type, user=user)


def outcome_publications(
    outbox: Outbox,
    stream: str,
    payload: bytes,
    properties: Properties,
    response_topic: str | None,
    acknowledged: Callable[[], None] | None = None,
) -> tuple[Publication, ...]:
    """Return an outcome for the stream's results topic, and for the requester's own topic if it may have one.

    Args:
        outbox: will publish them.
        stream: of the request.
        payload: the outcome.
        properties: of both messages.
        response_topic: complete topic that the request asks for.
        acknowledged: called when the broker has the message for the results topic, which is the last.
    """
    root = outbox.connection.settings.root
    result = Publication(topics.results(stream), payload, properties, acknowledged=acknowledged)
    # Checked here and not only at the source: the topic may come in a feature map of another device.
    is_other = response_topic != f"{root}/{topics.results(stream)}"
    if response_topic and is_other and topics.is_response_topic(response_topic, root, stream):
        return Publication(response_topic, payload, properties, absolute=True), result
    return (result,)
