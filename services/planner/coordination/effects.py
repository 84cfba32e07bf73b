"""Effects that the planner's service performs, and steps that one stream asks of the others."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from services.planner.coordination.planner_store import Document, Kind
from services.planner.problems.corrections import Part
from services.planner.problems.problem_from_snapshot import Exclusion
from shared.bus import topics
from shared.messages.base import Message
from shared.messages.events import Event, EventKind
from shared.messages.models import Manifest

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish a message; an empty retained payload clears the topic."""

    topic: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Persist:
    """Write a document. The effects that follow are performed only after it is on disk."""

    document: Document


@dataclass(frozen=True, slots=True)
class DeleteDocument:
    """Remove a document."""

    kind: Kind
    key: str


@dataclass(frozen=True, slots=True)
class FetchModel:
    """Pull an offered model into the library.

    Attributes:
        manifest: as it will be published, with the planner as provider.
        provider: the client that has the bytes now.
    """

    manifest: Manifest
    provider: str


@dataclass(frozen=True, slots=True)
class DeleteModelFile:
    """Remove a file from the library; `file_id` is its identity (`Manifest.file_id`)."""

    file_id: str


Effect = Publish | Persist | DeleteDocument | FetchModel | DeleteModelFile


@dataclass(frozen=True, slots=True)
class Replan:
    """Plan a stream no later than ``at_s`` (planner's clock)."""

    stream: str
    at_s: float


@dataclass(frozen=True, slots=True)
class ReplanAll:
    """Plan every stream now."""


@dataclass(frozen=True, slots=True)
class AbandonProposals:
    """End the proposals of these streams, which were chosen together with one that has failed."""

    streams: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AddExclusion:
    """Plan without a rejected choice until its time is over."""

    exclusion: Exclusion


@dataclass(frozen=True, slots=True)
class Correct:
    """Multiply the cost of parts of the fleet by these factors from now on."""

    factors: Mapping[Part, float]


@dataclass(frozen=True, slots=True)
class AwaitResponse:
    """A device has been sent a command that it must answer in time."""

    device: str


# A stream changes only its own state. For changes to other streams, or to the planner as a whole, it returns steps,
# which `PlannedStreams.perform` executes in order. Effects pass through to the service.
Step = Effect | Replan | ReplanAll | AbandonProposals | AddExclusion | Correct | AwaitResponse


def retained(topic: str, message: Message) -> Publish:
    """Return the publication of a message that the broker keeps."""
    return Publish(topic, message.encode(), retain=True)


def command(topic: str, message: Message) -> Publish:
    """Return the publication of a message that is not retained."""
    return Publish(topic, message.encode())


def cleared(topic: str) -> Publish:
    """Return the publication that clears a retained message."""
    return Publish(topic, b"", retain=True)


def announcement(origin: str, kind: EventKind, text: str, now_s: float, **details: object) -> Publish:
    """Return the publication of an event, and log its text.

    Args:
        origin: name of the planner.
        kind: of the event.
        text: one line for people.
        now_s: planner's clock.
        details: further fields of `Event`: stream, device, data.
    """
    _LOGGER.info("%s", text)
    return command(topics.events(), Event(kind=kind, at_s=now_s, origin=origin, text=text, **details))
