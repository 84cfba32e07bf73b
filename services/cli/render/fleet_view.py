"""The state of a fleet as its messages on the bus describe it."""

import logging
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeVar

from shared.bus import topics
from shared.messages.base import Message, MessageError, of_topic
from shared.messages.devices import Links, Presence, Profile, ServicePresence, State, Telemetry
from shared.messages.events import Event
from shared.messages.models import Manifest, ModelVersion
from shared.messages.plan_checks import plan_misfit
from shared.messages.requests import Outcome, OutcomeStatus
from shared.messages.streams import CommittedPlan, StreamDeclaration, StreamStatus, StreamUsage

_LOGGER = logging.getLogger(__name__)

_SHA256: Final = re.compile("[0-9a-f]{64}")

# Topic filters of all messages that a `FleetView` handles, below the root topic.
FILTERS: Final = (
    "devices/+/presence",
    "devices/+/telemetry",
    "devices/+/links",
    "devices/+/profiles/+",
    "services/+/presence",
    "models/+",
    "models/+/versions/+",
    "streams/+",
    "streams/+/plan",
    "streams/+/policy",
    "streams/+/status",
    "streams/+/usage",
    "streams/+/results",
    "events",
)

# Encodings that restore tensors bit for bit.
LOSSLESS: Final = frozenset({"raw", "raw+zstd"})

_M = TypeVar("_M", bound=Message)

_MAX_EVENTS: Final = 200
_MAX_LATENCIES: Final = 240


@dataclass(slots=True)
class DeviceView:
    """The messages of one device."""

    name: str
    presence: Presence | None = None
    telemetry: Telemetry | None = None
    telemetry_at_s: float | None = None
    links: Links | None = None
    profiles: dict[str, Profile] = field(default_factory=dict)

    @property
    def is_online(self) -> bool:
        """True if its executor is online."""
        return self.presence is not None and self.presence.state is State.ONLINE

    @property
    def load_factor(self) -> float:
        """Slowdown against the idle device; 1 if unknown."""
        return 1.0 if self.telemetry is None else self.telemetry.load_factor


@dataclass(slots=True)
class StreamView:
    """The messages of one stream."""

    name: str
    declaration: StreamDeclaration | None = None
    plan: CommittedPlan | None = None
    policy: bytes | None = None
    status: StreamStatus | None = None
    usage: StreamUsage | None = None
    results: int = 0
    errors: int = 0
    last: Outcome | None = None
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_MAX_LATENCIES))


class FleetView:
    """The latest message of every device, service, model and stream.

    Only `handle` changes the fields. A device or a stream that was seen once stays in its map, with None in place of
    messages that were cleared. Services and models leave their maps when their retained message is cleared.
    """

    def __init__(self) -> None:
        """Start without any message."""
        self.devices: dict[str, DeviceView] = {}
        self.services: dict[str, ServicePresence] = {}
        self.manifests: dict[str, Manifest] = {}
        self.versions: dict[str, ModelVersion] = {}
        self.streams: dict[str, StreamView] = {}
        self.events: deque[Event] = deque(maxlen=_MAX_EVENTS)
        self.undecodable = 0

    def handle(self, topic: str, payload: bytes | memoryview, now_s: float) -> None:
        """Take a message that arrived at `now_s` (wall clock). Malformed messages are counted and dropped.

        Args:
            topic: below the root.
            payload: the message.
            now_s: wall clock.
        """
        try:
            self._handle(topic.split("/"), payload, now_s)
        except MessageError as error:
            self.undecodable += 1
            _LOGGER.debug("%s: %s", topic, error)

    def misfits(self, now_s: float) -> Iterator[tuple[str, str]]:
        """Yield the topics of plans that contradict their stream or their model, each with the reason."""
        versions = (version.manifest for version in self.versions.values())
        manifests = (*self.manifests.values(), *versions)
        for stream in self.streams.values():
            if stream.plan is None:
                continue
            declared = "" if stream.declaration is None else stream.declaration.model
            reason = plan_misfit(stream.plan, manifests, declared, now_s)
            if reason is not None:
                yield topics.plan(stream.name), reason

    def model_name(self, model: str) -> str:
        """Return the alias of a model given by SHA-256 or alias; the first digits of an unknown SHA-256."""
        manifest = self.manifests.get(model)
        if manifest is not None:
            return manifest.name
        return model[:12] if _SHA256.fullmatch(model) else model

    def is_monitored(self, device: str) -> bool:
        """Return whether the monitor of a device is online."""
        monitor = self.services.get(topics.monitor_name(device))
        return monitor is not None and monitor.state is State.ONLINE

    def _handle(self, levels: list[str], payload: bytes | memoryview, now_s: float) -> None:
        match levels:
            case ["events"]:
                self.events.append(Event.decode(payload))
            case ["services", name, "presence"]:
                _keep(self.services, name, payload, ServicePresence.decode, "name")
            case ["models", model]:
                _keep(self.manifests, model, payload, Manifest.decode, "model")
            case ["models", _, "versions", version]:
                _keep(self.versions, version, payload, ModelVersion.decode, "version")
            case ["devices", name, *rest]:
                self._handle_device(self.devices.setdefault(name, DeviceView(name)), rest, payload, now_s)
            case ["streams", name, *rest]:
                self._handle_stream(name, rest, payload)

    def _handle_device(self, device: DeviceView, rest: list[str], payload: bytes | memoryview, now_s: float) -> None:
        match rest:
            case ["presence"]:
                device.presence = _read(payload, Presence.decode, "device", device.name)
            case ["telemetry"]:
                device.telemetry, device.telemetry_at_s = Telemetry.decode(payload), now_s
            case ["links"]:
                device.links = _read(payload, Links.decode, "device", device.name)
            case ["profiles", model]:
                _keep(device.profiles, model, payload, Profile.decode, "model")

    def _handle_stream(self, name: str, rest: list[str], payload: bytes | memoryview) -> None:
        stream = self.streams.setdefault(name, StreamView(name))
        match rest:
            case []:
                declaration = _read(payload, StreamDeclaration.decode, "stream", name)
                stream.declaration = declaration if declaration is not None and declaration.model else None
            case ["plan"]:
                stream.plan = _read(payload, CommittedPlan.decode, "stream", name)
            case ["policy"]:
                stream.policy = bytes(payload) or None
            case ["status"]:
                stream.status = _read(payload, StreamStatus.decode, "stream", name)
            case ["usage"]:
                stream.usage = _read(payload, StreamUsage.decode, "stream", name)
            case ["results"]:
                _count(stream, Outcome.decode(payload))


def latency_ms(outcome: Outcome) -> float:
    """Return the time from the source's acceptance of a request to its result, in ms."""
    return 1000 * (outcome.completed_at_s - outcome.accepted_at_s)


def is_encoded(outcome: Outcome) -> bool:
    """Return whether a feature map of a request travelled in a lossy encoding."""
    return any(trace.codec not in LOSSLESS for trace in outcome.trace)


def _count(stream: StreamView, outcome: Outcome) -> None:
    stream.last = outcome
    if outcome.status is OutcomeStatus.OK:
        stream.results += 1
        stream.latencies_ms.append(latency_ms(outcome))
    else:
        stream.errors += 1


def _read(
    payload: bytes | memoryview, decode: Callable[[bytes | memoryview], _M], field_name: str, expected: str
) -> _M | None:
    return of_topic(decode(payload), field_name, expected) if len(payload) else None


def _keep(
    known: dict[str, _M],
    key: str,
    payload: bytes | memoryview,
    decode: Callable[[bytes | memoryview], _M],
    field_name: str,
) -> None:
    value = _read(payload, decode, field_name, key)
    if value is None:
        known.pop(key, None)
    else:
        known[key] = value
