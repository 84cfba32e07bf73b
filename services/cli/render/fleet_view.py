"""What the bus tells about a fleet, kept as a picture for people. Pure: takes messages and the time."""

import logging
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from shared.messages.base import Message, MessageError
from shared.messages.devices import Links, Presence, Profile, ServicePresence, State, Telemetry
from shared.messages.events import Event
from shared.messages.models import Manifest
from shared.messages.requests import Outcome, OutcomeStatus
from shared.messages.streams import CommittedPlan, StreamDeclaration, StreamStatus, StreamUsage

LOGGER = logging.getLogger(__name__)

_SHA256: Final = re.compile("[0-9a-f]{64}")

FILTERS: Final = (
    "devices/+/presence",
    "devices/+/telemetry",
    "devices/+/links",
    "devices/+/profiles/+",
    "services/+/presence",
    "models/+",
    "streams/+",
    "streams/+/plan",
    "streams/+/policy",
    "streams/+/status",
    "streams/+/usage",
    "streams/+/results",
    "events",
)
"""What to subscribe to, below the root."""

LOSSLESS: Final = frozenset({"raw", "raw+zstd"})
"""Encodings from which tensors come back bit for bit."""

_M = TypeVar("_M", bound=Message)

_EVENTS_KEPT = 200
_LATENCIES_KEPT = 240


@dataclass(slots=True)
class DeviceView:
    """A device as it is seen on the bus."""

    name: str
    presence: Presence | None = None
    telemetry: Telemetry | None = None
    telemetry_at_s: float | None = None
    links: Links | None = None
    profiles: dict[str, Profile] = field(default_factory=dict)

    @property
    def is_online(self) -> bool:
        """Whether its executor is there."""
        return self.presence is not None and self.presence.state is State.ONLINE

    @property
    def load_factor(self) -> float:
        """How many times slower than idle it computes."""
        return 1.0 if self.telemetry is None else self.telemetry.load_factor


@dataclass(slots=True)
class StreamView:
    """A stream as it is seen on the bus."""

    name: str
    declaration: StreamDeclaration | None = None
    plan: CommittedPlan | None = None
    policy: bytes | None = None
    status: StreamStatus | None = None
    usage: StreamUsage | None = None
    results: int = 0
    errors: int = 0
    last: Outcome | None = None
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES_KEPT))


class FleetView:
    """Feed it every message of `FILTERS`; read its fields."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.devices: dict[str, DeviceView] = {}
        self.services: dict[str, ServicePresence] = {}
        self.manifests: dict[str, Manifest] = {}
        self.streams: dict[str, StreamView] = {}
        self.events: deque[Event] = deque(maxlen=_EVENTS_KEPT)
        self.undecodable = 0

    def handle(self, topic: str, payload: bytes | memoryview, now_s: float) -> None:
        """Take a message that came in at `now_s` (wall clock); what does not decode is counted and dropped."""
        try:
            self._handle(topic.split("/"), payload, now_s)
        except MessageError as error:
            self.undecodable += 1
            LOGGER.debug("%s: %s", topic, error)

    def model_name(self, model: str) -> str:
        """Return the alias of a model that is told by its SHA-256 or its alias, or the beginning of the SHA-256."""
        manifest = self.manifests.get(model)
        if manifest is not None:
            return manifest.name
        return model[:12] if _SHA256.fullmatch(model) else model

    def _handle(self, levels: list[str], payload: bytes | memoryview, now_s: float) -> None:
        match levels:
            case ["events"]:
                self.events.append(Event.decode(payload))
            case ["services", name, "presence"]:
                _keep(self.services, name, payload, ServicePresence.decode)
            case ["models", model]:
                _keep(self.manifests, model, payload, Manifest.decode)
            case ["devices", name, *rest]:
                self._handle_device(self.devices.setdefault(name, DeviceView(name)), rest, payload, now_s)
            case ["streams", name, *rest]:
                self._handle_stream(name, rest, payload)

    def _handle_device(self, device: DeviceView, rest: list[str], payload: bytes | memoryview, now_s: float) -> None:
        match rest:
            case ["presence"]:
                device.presence = _read(payload, Presence.decode)
            case ["telemetry"]:
                device.telemetry, device.telemetry_at_s = Telemetry.decode(payload), now_s
            case ["links"]:
                device.links = _read(payload, Links.decode)
            case ["profiles", model]:
                _keep(device.profiles, model, payload, Profile.decode)

    def _handle_stream(self, name: str, rest: list[str], payload: bytes | memoryview) -> None:
        stream = self.streams.setdefault(name, StreamView(name))
        match rest:
            case []:
                declaration = _read(payload, StreamDeclaration.decode)
                stream.declaration = declaration if declaration is not None and declaration.model else None
            case ["plan"]:
                stream.plan = _read(payload, CommittedPlan.decode)
            case ["policy"]:
                stream.policy = bytes(payload) or None
            case ["status"]:
                stream.status = _read(payload, StreamStatus.decode)
            case ["usage"]:
                stream.usage = _read(payload, StreamUsage.decode)
            case ["results"]:
                _count(stream, Outcome.decode(payload))


def latency_ms(outcome: Outcome) -> float:
    """Return the time from the source's acceptance of a request to its result, in ms."""
    return 1000 * (outcome.completed_at_s - outcome.accepted_at_s)


def is_encoded(outcome: Outcome) -> bool:
    """Say whether a feature map of a request travelled in a lossy encoding."""
    return any(trace.codec not in LOSSLESS for trace in outcome.trace)


def _count(stream: StreamView, outcome: Outcome) -> None:
    stream.last = outcome
    if outcome.status is OutcomeStatus.OK:
        stream.results += 1
        stream.latencies_ms.append(latency_ms(outcome))
    else:
        stream.errors += 1


def _read(payload: bytes | memoryview, decode: Callable[[bytes | memoryview], _M]) -> _M | None:
    return decode(payload) if len(payload) else None


def _keep(
    known: dict[str, _M], key: str, payload: bytes | memoryview, decode: Callable[[bytes | memoryview], _M]
) -> None:
    value = _read(payload, decode)
    if value is None:
        known.pop(key, None)
    else:
        known[key] = value
