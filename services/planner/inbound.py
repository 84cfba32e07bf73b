"""Topics that the planner subscribes to, and the decoding of their messages."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from services.planner.problems.snapshot import ModelWithdrawn, VersionWithdrawn
from shared.bus import topics
from shared.messages.base import MessageError, of_topic
from shared.messages.calibration import Calibration, ShadowReport
from shared.messages.control import REPORTS, Preparing, ProfileFailed, Ready, Rejected, Report
from shared.messages.devices import Links, Presence, Profile, Telemetry
from shared.messages.explanations import Question
from shared.messages.models import Manifest, ModelVersion, Offer
from shared.messages.streams import CommittedPlan, StreamDeclaration, StreamUsage, withdrawn

_Decoded = TypeVar("_Decoded")

# Topic filters with their quality of service.
SUBSCRIPTIONS: Mapping[str, int] = topics.subscriptions(
    topics.presence,
    topics.telemetry,
    topics.links,
    topics.profiles,
    topics.reports,
    topics.manifest,
    topics.model_version,
    topics.offer,
    topics.calibration,
    topics.shadow,
    topics.stream,
    topics.policy,
    topics.plan,
    topics.usage,
    topics.questions,
)
_UNKNOWN_TOPIC = "the planner does not read this topic"


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """A policy that is not parsed yet; an empty payload stands for the default policy."""

    stream: str
    payload: bytes


# Messages of devices, and of the executors that run on them.
DeviceMessage = (
    Presence | Telemetry | Links | Profile | StreamUsage | ShadowReport | Preparing | Ready | Rejected | ProfileFailed
)
# Every message that `Coordinator.handle` takes.
Inbound = (
    DeviceMessage
    | Manifest
    | ModelWithdrawn
    | ModelVersion
    | VersionWithdrawn
    | Offer
    | Calibration
    | StreamDeclaration
    | PolicyDocument
    | CommittedPlan
    | Question
)


def decode(topic: str, payload: bytes | memoryview) -> Inbound | None:
    """Return the message; None for the removal of a retained message that has no meaning for the planner.

    Raises:
        MessageError: the payload is no message of this topic, or its sender is not the one that the topic names.
    """
    match topic.split("/"):
        case ["devices", device, *kind]:
            return _of_device(device, kind, payload)
        case ["models", model, *kind]:
            return _of_model(model, kind, payload)
        case ["streams", stream, *kind]:
            return _of_stream(stream, kind, payload)
        case _:
            raise MessageError(_UNKNOWN_TOPIC)


def _of_device(device: str, kind: list[str], payload: bytes | memoryview) -> Inbound | None:
    match kind:
        case ["presence"]:
            return _device(Presence.decode, device, payload) if payload else None
        case ["telemetry"]:
            return _device(Telemetry.decode, device, payload)
        case ["links"]:
            return _device(Links.decode, device, payload) if payload else None
        case ["profiles", model]:
            return _profile(device, model, payload) if payload else None
        case ["reports"]:
            return _device(_report, device, payload)
        case _:
            raise MessageError(_UNKNOWN_TOPIC)


def _of_model(model: str, kind: list[str], payload: bytes | memoryview) -> Inbound | None:
    match kind:
        case []:
            return of_topic(Manifest.decode(payload), "model", model) if payload else ModelWithdrawn(model)
        case ["versions", version]:
            return _version(model, version, payload)
        case ["offer"]:
            return _offer(model, payload)
        case ["calibration"]:
            return of_topic(Calibration.decode(payload), "model", model) if payload else None
        case ["shadow"]:
            return of_topic(ShadowReport.decode(payload), "model", model)
        case _:
            raise MessageError(_UNKNOWN_TOPIC)


def _of_stream(stream: str, kind: list[str], payload: bytes | memoryview) -> Inbound | None:
    match kind:
        case []:
            return _stream(stream, payload)
        case ["policy"]:
            return PolicyDocument(_name(stream), bytes(payload))
        case ["plan"]:
            return of_topic(CommittedPlan.decode(payload), "stream", stream) if payload else None
        case ["usage"]:
            return of_topic(StreamUsage.decode(payload), "stream", stream) if payload else None
        case ["questions"]:
            return of_topic(Question.decode(payload), "stream", stream)
        case _:
            raise MessageError(_UNKNOWN_TOPIC)


def _device(decoder: Callable[[bytes | memoryview], _Decoded], device: str, payload: bytes | memoryview) -> _Decoded:
    return of_topic(decoder(payload), "device", device)


def _report(payload: bytes | memoryview) -> Report:
    report: Report = REPORTS.decode(payload)
    return report


def _profile(device: str, model: str, payload: bytes | memoryview) -> Profile:
    return of_topic(of_topic(Profile.decode(payload), "device", device), "model", model)


def _offer(model: str, payload: bytes | memoryview) -> Offer:
    offer = Offer.decode(payload)
    of_topic(offer.manifest, "model", model)
    return offer


def _version(model: str, version: str, payload: bytes | memoryview) -> ModelVersion | VersionWithdrawn:
    if not payload:
        return VersionWithdrawn(model, version)
    return of_topic(of_topic(ModelVersion.decode(payload), "model", model), "version", version)


def _stream(stream: str, payload: bytes | memoryview) -> StreamDeclaration:
    if not payload:
        return withdrawn(stream)
    return of_topic(StreamDeclaration.decode(payload), "stream", stream)


def _name(text: str) -> str:
    if not topics.is_name(text):
        raise MessageError("the topic's stream is no name")
    return text
