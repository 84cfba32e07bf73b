"""What the planner hears, decoded once at the boundary. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from services.planner.problems.snapshot import ModelWithdrawn
from shared.bus import topics
from shared.messages.base import MessageError
from shared.messages.calibration import Calibration, ShadowReport
from shared.messages.control import REPORTS, Preparing, ProfileFailed, Ready, Rejected, Report
from shared.messages.devices import Links, Presence, Profile, Telemetry
from shared.messages.explanations import Question
from shared.messages.models import Manifest, Offer
from shared.messages.streams import CommittedPlan, StreamDeclaration, StreamUsage

_Decoded = TypeVar("_Decoded")

SUBSCRIPTIONS: Mapping[str, int] = topics.subscriptions(
    topics.presence,
    topics.telemetry,
    topics.links,
    topics.profiles,
    topics.reports,
    topics.manifest,
    topics.offer,
    topics.calibration,
    topics.shadow,
    topics.stream,
    topics.policy,
    topics.plan,
    topics.usage,
    topics.questions,
)
"""Topic filters and their quality of service."""


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """A policy as it came, not read yet; empty to go back to the default."""

    stream: str
    payload: bytes


DeviceMessage = (
    Presence | Telemetry | Links | Profile | StreamUsage | ShadowReport | Preparing | Ready | Rejected | ProfileFailed
)
Inbound = (
    DeviceMessage
    | Manifest
    | ModelWithdrawn
    | Offer
    | Calibration
    | StreamDeclaration
    | PolicyDocument
    | CommittedPlan
    | Question
)


def decode(topic: str, payload: bytes | memoryview) -> Inbound | None:
    """Return what has been heard; None for a retained message that has been cleared and means nothing.

    Raises:
        MessageError: the payload is no message of this topic, or speaks for somebody else than the topic.
    """
    match topic.split("/"):
        case ["devices", device, "presence"]:
            return _device(Presence.decode, device, payload) if payload else None
        case ["devices", device, "telemetry"]:
            return _device(Telemetry.decode, device, payload)
        case ["devices", device, "links"]:
            return _device(Links.decode, device, payload) if payload else None
        case ["devices", device, "profiles", model]:
            return _profile(device, model, payload) if payload else None
        case ["devices", device, "reports"]:
            return _device(_report, device, payload)
        case ["models", model]:
            return _same(Manifest.decode(payload), "model", model) if payload else ModelWithdrawn(model)
        case ["models", model, "offer"]:
            return _offer(model, payload)
        case ["models", model, "calibration"]:
            return _same(Calibration.decode(payload), "model", model) if payload else None
        case ["models", model, "shadow"]:
            return _same(ShadowReport.decode(payload), "model", model)
        case ["streams", stream]:
            return _stream(stream, payload)
        case ["streams", stream, "policy"]:
            return PolicyDocument(_name(stream), bytes(payload))
        case ["streams", stream, "plan"]:
            return _same(CommittedPlan.decode(payload), "stream", stream) if payload else None
        case ["streams", stream, "usage"]:
            return _same(StreamUsage.decode(payload), "stream", stream) if payload else None
        case ["streams", stream, "questions"]:
            return _same(Question.decode(payload), "stream", stream)
        case _:
            raise MessageError("nobody publishes that for the planner")


def _device(decoder: Callable[[bytes | memoryview], _Decoded], device: str, payload: bytes | memoryview) -> _Decoded:
    return _same(decoder(payload), "device", device)


def _report(payload: bytes | memoryview) -> Report:
    report: Report = REPORTS.decode(payload)
    return report


def _profile(device: str, model: str, payload: bytes | memoryview) -> Profile:
    return _same(_same(Profile.decode(payload), "device", device), "model", model)


def _offer(model: str, payload: bytes | memoryview) -> Offer:
    offer = Offer.decode(payload)
    _same(offer.manifest, "model", model)
    return offer


def _stream(stream: str, payload: bytes | memoryview) -> StreamDeclaration:
    if not payload:
        return StreamDeclaration(stream=_name(stream), model="", source="none")
    return _same(StreamDeclaration.decode(payload), "stream", stream)


def _same(message: _Decoded, field: str, expected: str) -> _Decoded:
    said = getattr(message, field)
    if said != expected:
        raise MessageError(f"{field} {said!r} is not the topic's")
    return message


def _name(text: str) -> str:
    if not topics.is_name(text):
        raise MessageError("the topic's stream is no name")
    return text
