"""What the planner's core asks its shell to do."""

from dataclasses import dataclass

from services.planner.coordination.planner_store import Document, Kind
from shared.messages.base import Message
from shared.messages.models import Manifest


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish a message; an empty retained payload clears the topic."""

    topic: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Persist:
    """Write a document before anything that follows is done."""

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
        manifest: as it will be published, provided by the planner.
        provider: who has the bytes now.
    """

    manifest: Manifest
    provider: str


Effect = Publish | Persist | DeleteDocument | FetchModel


def retained(topic: str, message: Message) -> Publish:
    """Publish a message that the broker keeps."""
    return Publish(topic, message.encode(), retain=True)


def command(topic: str, message: Message) -> Publish:
    """Publish a message that is for now."""
    return Publish(topic, message.encode())


def cleared(topic: str) -> Publish:
    """Clear a retained message."""
    return Publish(topic, b"", retain=True)
