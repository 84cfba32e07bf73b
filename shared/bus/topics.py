"""Every topic of the bus, below the root: those of devices, models and streams, and of the fleet as a whole.

No topic is spelled anywhere else. A message class names the topic that it travels on (`TOPIC`), the AsyncAPI document
is generated from both. `sender` and `receivers` say which process uses a topic, for people. `publishers` and
`subscribers` say which accounts may: the access rules of brokers are derived from them (`shared.bus.account_rights`).
"""

import re
from typing import Final

from shared.bus import device_topics, model_topics, stream_topics
from shared.bus.device_topics import (
    clock,
    commands,
    direct_probes,
    emulation,
    inbox,
    links,
    observations,
    outcome_chunks,
    outcomes,
    presence,
    probes,
    profiles,
    receipts,
    reports,
    telemetry,
)
from shared.bus.model_topics import (
    calibration,
    manifest,
    model_chunks,
    model_version,
    offer,
    pulls,
    shadow,
)
from shared.bus.roles import Reach, Role
from shared.bus.stream_topics import (
    alternatives,
    explanations,
    outputs,
    plan,
    policy,
    questions,
    requests,
    results,
    status,
    stream,
    usage,
)
from shared.bus.topic import Topic, defined

__all__ = [
    "ALL_TOPICS",
    "MONITOR_PREFIX",
    "NAME_PATTERN",
    "alternatives",
    "calibration",
    "clock",
    "commands",
    "confirmations",
    "direct_probes",
    "emulation",
    "events",
    "explanations",
    "inbox",
    "is_name",
    "is_response_topic",
    "links",
    "manifest",
    "model_chunks",
    "model_version",
    "monitor_name",
    "observations",
    "offer",
    "outcome_chunks",
    "outcomes",
    "outputs",
    "plan",
    "policy",
    "presence",
    "probes",
    "profiles",
    "pulls",
    "questions",
    "receipts",
    "replies",
    "reports",
    "requests",
    "results",
    "service_presence",
    "shadow",
    "status",
    "stream",
    "subscriptions",
    "telemetry",
    "usage",
]

# Names are single levels of topics. Without `/`, `+`, `#` and `$` in them no name can reach another topic.
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
_NAME: Final = re.compile(NAME_PATTERN)
# The service name of a monitor is this prefix and the name of its device.
MONITOR_PREFIX: Final = "monitor-"
_MAX_RESPONSE_LEVELS: Final = 8


def is_name(text: str) -> bool:
    """Return whether `text` may name a device, stream or service: 1 to 64 of letters, digits, `_`, `.` and `-`."""
    # `fullmatch`: in Python `$` also matches before a newline at the end.
    return _NAME.fullmatch(text) is not None


def monitor_name(device: str) -> str:
    """Return the name under which the monitor of a device publishes its presence."""
    return f"{MONITOR_PREFIX}{device}"


def is_response_topic(text: str, root: str, stream: str) -> bool:
    """Return whether a request of a stream may ask for its result on a whole topic, root included.

    That is the stream's results topic, or a topic below `replies` of at most eight levels. Whoever may send requests
    could otherwise let the executor publish on any topic that its account allows, or be disconnected by the broker.
    """
    if text == f"{root}/streams/{stream}/results":
        return True
    prefix = f"{root}/replies/"
    levels = text.removeprefix(prefix).split("/")
    return text.startswith(prefix) and len(levels) <= _MAX_RESPONSE_LEVELS and all(map(is_name, levels))


def subscriptions(*topics: Topic[...]) -> dict[str, int]:
    """Return the filters that match these topics for all names, each with its quality of service."""
    return {topic.any: topic.qos for topic in topics}


@defined(
    sender="planner, collector, monitor",
    receivers="all",
    publishers={Role.DEVICE: Reach.OWN, Role.PLANNER: Reach.OWN, Role.COLLECTOR: Reach.OWN, Role.OPERATOR: Reach.ANY},
    subscribers={
        Role.DEVICE: Reach.ANY,
        Role.PLANNER: Reach.ANY,
        Role.COLLECTOR: Reach.ANY,
        Role.OPERATOR: Reach.ANY,
        Role.VIEWER: Reach.ANY,
    },
    summary="A service comes or goes. Offline is its last will.",
    retained=True,
)
def service_presence(name: str) -> str:
    """Return the topic of the presence of a planner, collector or monitor, which is also its last will."""
    return f"services/{name}/presence"


@defined(
    sender="source executor",
    receivers="application",
    publishers={Role.DEVICE: Reach.ANY},
    subscribers={Role.APPLICATION: Reach.OWN},
    summary="Results on the response topic of a request. Up to seven more levels may follow.",
)
def replies(application: str) -> str:
    """Return the first level below which response topics of an application lie."""
    return f"replies/{application}"


@defined(
    sender="collector",
    receivers="source executors",
    publishers={Role.COLLECTOR: Reach.ANY},
    subscribers={Role.DEVICE: Reach.ANY},
    summary="These outcomes are stored.",
)
def confirmations() -> str:
    """Return the topic of the collector's confirmations."""
    return "collector/confirmations"


@defined(
    sender="any",
    receivers="collector, people",
    publishers={Role.DEVICE: Reach.ANY, Role.PLANNER: Reach.ANY, Role.COLLECTOR: Reach.ANY},
    subscribers={Role.COLLECTOR: Reach.ANY, Role.OPERATOR: Reach.ANY, Role.VIEWER: Reach.ANY},
    summary="Reroutes with their reason, rejections, failures.",
)
def events() -> str:
    """Return the topic of events."""
    return "events"


# In the order of their definition.
_DEFINED: Final = [*vars(device_topics).values(), *vars(model_topics).values(), *vars(stream_topics).values()]
ALL_TOPICS: Final[tuple[Topic[...], ...]] = tuple(
    dict.fromkeys(each for each in [*_DEFINED, *vars().values()] if isinstance(each, Topic))
)
