"""Messages that a collector receives, decoded once at the boundary."""

from dataclasses import dataclass
from typing import Final

from pydantic import ValidationError

from shared.bus import topics
from shared.bus.mqtt.properties import NO_PROPERTIES, Properties
from shared.messages.base import MessageError, describe_faults, of_topic
from shared.messages.devices import Links, Presence, ServicePresence, Telemetry, offline
from shared.messages.events import Event, EventKind, Reroute
from shared.messages.requests import Outcome, given_request_id
from shared.messages.streams import CommittedPlan


@dataclass(frozen=True, slots=True)
class RequestSeen:
    """A published request.

    Attributes:
        stream: its stream.
        request_id: as its application chose it.
    """

    stream: str
    request_id: str


@dataclass(frozen=True, slots=True)
class RerouteSeen:
    """The event of a reroute, with its decoded data."""

    event: Event
    reroute: Reroute


Record = Outcome | Event | RerouteSeen | Telemetry | Links | Presence | ServicePresence | CommittedPlan | RequestSeen

# Topic filters and quality of service of the persistent session, whose messages are acknowledged once stored.
DURABLE: Final = topics.subscriptions(topics.results, topics.events)

# Filters of the session that starts clean, so that the broker sends retained messages at every connection.
CONTROL: Final = topics.subscriptions(
    topics.presence, topics.service_presence, topics.telemetry, topics.links, topics.plan
)

# Subscribed with quality of service 0, and only if requests are watched.
REQUESTS: Final = topics.requests("+")


def ingest(topic: str, payload: bytes | memoryview, properties: Properties = NO_PROPERTIES) -> Record | None:
    """Return the record in a message; none for a cleared retained message and for a request without an id.

    Args:
        topic: relative to the root of all topics.
        payload: msgpack or JSON.
        properties: of the message; they carry a request's id.

    Raises:
        MessageError: the payload is malformed, or a collector does not receive this topic.
    """
    parts = topic.split("/")
    match parts:
        case ["streams", stream, "results"]:
            return of_topic(Outcome.decode(payload), "stream", stream)
        case ["events"]:
            return _event(payload)
        case ["devices", device, "presence"]:
            return of_topic(Presence.decode(payload), "device", device) if payload else offline(device)
        case ["services", name, "presence"]:
            return of_topic(ServicePresence.decode(payload), "name", name) if payload else None
        case ["devices", device, "telemetry"]:
            return of_topic(Telemetry.decode(payload), "device", device)
        case ["devices", device, "links"]:
            return of_topic(Links.decode(payload), "device", device) if payload else None
        case ["streams", stream, "plan"]:
            return of_topic(CommittedPlan.decode(payload), "stream", stream) if payload else None
        case ["streams", stream, "requests"]:
            request_id = given_request_id(properties.user, properties.correlation_data)
            return RequestSeen(stream, request_id) if request_id else None
    raise MessageError("a collector does not receive this topic")


def topic_kind(topic: str) -> str:
    """Return the last level of a topic as a metric's label; `other` for unknown topics, which bounds the labels."""
    kind = topic.rpartition("/")[2]
    return kind if kind in ("results", "events", "presence", "telemetry", "links", "plan", "requests") else "other"


def _event(payload: bytes | memoryview) -> Event | RerouteSeen:
    event = Event.decode(payload)
    if event.kind is not EventKind.REROUTE:
        return event
    try:
        return RerouteSeen(event, Reroute.model_validate(event.data))
    except ValidationError as error:
        raise MessageError(f"data: {describe_faults(error)}") from error
