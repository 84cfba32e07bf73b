"""What a collector hears, decoded once at the boundary. Pure."""

from dataclasses import dataclass
from typing import TypeVar

from pydantic import ValidationError

from shared.bus import topics
from shared.bus.properties import NO_PROPERTIES, Properties
from shared.messages.base import MessageError, describe
from shared.messages.devices import Links, Presence, ServicePresence, State, Telemetry
from shared.messages.events import Event, EventKind, Reroute
from shared.messages.requests import Outcome, given_request_id
from shared.messages.streams import CommittedPlan

_Message = TypeVar("_Message", Outcome, CommittedPlan)


@dataclass(frozen=True, slots=True)
class RequestSeen:
    """A request was published.

    Attributes:
        stream: its stream.
        request_id: the id that its application gave it.
    """

    stream: str
    request_id: str


@dataclass(frozen=True, slots=True)
class RerouteSeen:
    """The event of a reroute, and what it says."""

    event: Event
    reroute: Reroute


Record = Outcome | Event | RerouteSeen | Telemetry | Links | Presence | ServicePresence | CommittedPlan | RequestSeen

DURABLE = {topics.ANY_RESULT: 1, topics.EVENTS: 1}
"""Heard on a persistent session, acknowledged when stored."""

CONTROL = {
    topics.ANY_PRESENCE: 1,
    topics.ANY_SERVICE: 1,
    topics.ANY_TELEMETRY: 0,
    topics.ANY_LINKS: 1,
    topics.ANY_PLAN: 1,
}
"""Heard on a session that starts clean, so that retained messages come every time."""

REQUESTS = topics.requests("+")
"""Heard with quality of service 0, if asked for."""


def ingest(topic: str, payload: bytes | memoryview, properties: Properties = NO_PROPERTIES) -> Record | None:
    """Return what has been heard; none for what says nothing: a cleared retained message, a request without an id.

    Args:
        topic: below the root.
        payload: msgpack or JSON.
        properties: of the message; a request's id is among them.

    Raises:
        MessageError: it is none of the messages that a collector hears.
    """
    parts = topic.split("/")
    match parts:
        case ["streams", stream, "results"]:
            return _of_stream(Outcome.decode(payload), stream)
        case ["events"]:
            return _event(payload)
        case ["devices", device, "presence"]:
            return Presence.decode(payload) if payload else Presence(device=device, state=State.OFFLINE)
        case ["services", _, "presence"]:
            return ServicePresence.decode(payload) if payload else None
        case ["devices", _, "telemetry"]:
            return Telemetry.decode(payload)
        case ["devices", _, "links"]:
            return Links.decode(payload) if payload else None
        case ["streams", stream, "plan"]:
            return _of_stream(CommittedPlan.decode(payload), stream) if payload else None
        case ["streams", stream, "requests"]:
            request_id = given_request_id(properties.user, properties.correlation_data)
            return RequestSeen(stream, request_id) if request_id else None
    raise MessageError("a topic that a collector does not know")


def topic_kind(topic: str) -> str:
    """Return the last level of a topic that may appear as a label of a metric; of unknown topics `other`."""
    kind = topic.rpartition("/")[2]
    return kind if kind in ("results", "events", "presence", "telemetry", "links", "plan", "requests") else "other"


def _of_stream(message: _Message, stream: str) -> _Message:
    if message.stream != stream:
        raise MessageError(f"it is of stream {message.stream}, not {stream}")
    return message


def _event(payload: bytes | memoryview) -> Event | RerouteSeen:
    event = Event.decode(payload)
    if event.kind is not EventKind.REROUTE:
        return event
    try:
        return RerouteSeen(event, Reroute.model_validate(event.data))
    except ValidationError as error:
        raise MessageError(f"data: {describe(error)}") from error
