"""Every topic of the bus, below the root. No topic is spelled anywhere else.

A message class names the topic that it travels on (`TOPIC`), the AsyncAPI document is generated from both. `sender` and
`receivers` say which process uses a topic, for people. `publishers` and `subscribers` say which accounts may: the
access rules of brokers are derived from them (`shared.bus.account_rights`).
"""

import re
from typing import Final

from shared.bus.roles import Reach, Role
from shared.bus.topic import Topic, defined

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
    sender="executor",
    receivers="all",
    publishers={Role.DEVICE: Reach.OWN, Role.PLANNER: Reach.ANY, Role.OPERATOR: Reach.ANY},
    subscribers={
        Role.DEVICE: Reach.ANY,
        Role.PLANNER: Reach.ANY,
        Role.COLLECTOR: Reach.ANY,
        Role.OPERATOR: Reach.ANY,
        Role.VIEWER: Reach.ANY,
    },
    summary="A device's executor comes or goes. Offline is its last will. For a silent one the planner publishes it.",
    retained=True,
)
def presence(device: str) -> str:
    """Return the topic of a device's presence, which is also its last will."""
    return f"devices/{device}/presence"


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
    sender="monitor",
    receivers="planner, collector",
    publishers={Role.DEVICE: Reach.OWN},
    subscribers={Role.PLANNER: Reach.ANY, Role.COLLECTOR: Reach.ANY, Role.OPERATOR: Reach.ANY, Role.VIEWER: Reach.ANY},
    summary="Processor, memory, temperature, power and load factor of a device.",
    qos=0,
)
def telemetry(device: str) -> str:
    """Return the topic of a device's telemetry."""
    return f"devices/{device}/telemetry"


@defined(
    sender="monitor",
    receivers="planner, collector",
    publishers={Role.DEVICE: Reach.OWN, Role.OPERATOR: Reach.ANY},
    subscribers={
        Role.DEVICE: Reach.OWN,
        Role.PLANNER: Reach.ANY,
        Role.COLLECTOR: Reach.ANY,
        Role.OPERATOR: Reach.ANY,
        Role.VIEWER: Reach.ANY,
    },
    summary="Bandwidth and latency of the links that leave a device.",
    retained=True,
)
def links(device: str) -> str:
    """Return the topic of the links that leave a device."""
    return f"devices/{device}/links"


@defined(
    sender="executor",
    receivers="planner and the device itself",
    publishers={Role.DEVICE: Reach.OWN, Role.OPERATOR: Reach.ANY},
    subscribers={Role.DEVICE: Reach.OWN, Role.PLANNER: Reach.ANY, Role.OPERATOR: Reach.ANY, Role.VIEWER: Reach.ANY},
    summary="The measured cost of a model's blocks on a device.",
    retained=True,
)
def profiles(device: str, model: str) -> str:
    """Return the topic of the profile of a model that a device has measured."""
    return f"devices/{device}/profiles/{model}"


@defined(
    sender="executor",
    receivers="monitor of the same device",
    publishers={Role.DEVICE: Reach.OWN},
    subscribers={Role.DEVICE: Reach.OWN},
    summary="What segments and transfers took.",
    qos=0,
)
def observations(device: str) -> str:
    """Return the topic of an executor's measurements for the monitor of its device."""
    return f"devices/{device}/observations"


@defined(
    sender="receiving executor",
    receivers="sending executor",
    publishers={Role.DEVICE: Reach.ANY},
    subscribers={Role.DEVICE: Reach.OWN},
    summary="A transfer has arrived whole.",
    qos=0,
)
def receipts(device: str) -> str:
    """Return the topic on which receivers acknowledge the transfers of a device."""
    return f"devices/{device}/receipts"


@defined(
    sender="executor",
    receivers="executor",
    publishers={Role.DEVICE: Reach.ANY},
    subscribers={Role.DEVICE: Reach.OWN},
    summary="Compares the monotonic clocks of two devices.",
    qos=0,
)
def clock(device: str) -> str:
    """Return the topic of the questions for a device's clock, and of the answers to its own questions."""
    return f"devices/{device}/clock"


@defined(
    sender="monitor",
    receivers="monitor",
    publishers={Role.DEVICE: Reach.ANY},
    subscribers={Role.DEVICE: Reach.OWN},
    summary="Measures an idle link.",
    qos=0,
)
def probes(device: str) -> str:
    """Return the topic of the link probes sent to a device's monitor, and of the echoes that come back to it."""
    return f"devices/{device}/probes"


@defined(
    sender="monitor",
    receivers="its executor",
    publishers={Role.DEVICE: Reach.OWN},
    subscribers={Role.DEVICE: Reach.OWN},
    summary="Orders a probe over a direct connection.",
    qos=0,
)
def direct_probes(device: str) -> str:
    """Return the topic of a monitor's orders to its executor to measure direct links."""
    return f"devices/{device}/direct_probes"


@defined(
    sender="demo",
    receivers="executor and monitor",
    publishers={Role.OPERATOR: Reach.ANY},
    subscribers={Role.DEVICE: Reach.OWN, Role.OPERATOR: Reach.ANY},
    summary="How an emulated device shall behave. Real devices ignore it.",
    retained=True,
)
def emulation(device: str) -> str:
    """Return the topic that shapes an emulated device."""
    return f"devices/{device}/emulation"


@defined(
    sender="planner",
    receivers="executor",
    publishers={Role.PLANNER: Reach.ANY},
    subscribers={Role.DEVICE: Reach.OWN},
    summary="Profile a model, prepare an epoch, release epochs.",
)
def commands(device: str) -> str:
    """Return the topic of the planner's commands to a device."""
    return f"devices/{device}/commands"


@defined(
    sender="executor",
    receivers="planner",
    publishers={Role.DEVICE: Reach.OWN},
    subscribers={Role.PLANNER: Reach.ANY},
    summary="Answers to commands.",
)
def reports(device: str) -> str:
    """Return the topic of a device's answers to commands."""
    return f"devices/{device}/reports"


@defined(
    sender="executor",
    receivers="executor",
    publishers={Role.DEVICE: Reach.ANY},
    subscribers={Role.DEVICE: Reach.OWN},
    summary="Feature maps in chunks. Reassembled, a msgpack header followed by the tensors (docs/wire.md).",
)
def inbox(device: str) -> str:
    """Return the topic of the feature maps sent to a device, in chunks."""
    return f"devices/{device}/inbox"


@defined(
    sender="last executor",
    receivers="source executor",
    publishers={Role.DEVICE: Reach.ANY},
    subscribers={Role.DEVICE: Reach.OWN},
    summary="The outcome of one attempt. The source publishes the first one of a request on the results topic.",
)
def outcomes(device: str) -> str:
    """Return the topic of the outcomes of attempts at the requests whose source a device is."""
    return f"devices/{device}/outcomes"


@defined(
    sender="last executor",
    receivers="source executor",
    publishers={Role.DEVICE: Reach.ANY},
    subscribers={Role.DEVICE: Reach.OWN},
    summary="Outputs of an attempt that are too large for its outcome, in chunks. User properties: stream, request_id.",
)
def outcome_chunks(device: str) -> str:
    """Return the topic of the large outputs for the requests whose source a device is."""
    return f"devices/{device}/outcome_chunks"


@defined(
    sender="planner",
    receivers="all",
    publishers={Role.PLANNER: Reach.ANY, Role.OPERATOR: Reach.ANY},
    subscribers={Role.DEVICE: Reach.ANY, Role.PLANNER: Reach.ANY, Role.OPERATOR: Reach.ANY, Role.VIEWER: Reach.ANY},
    summary="What a model consists of.",
    retained=True,
)
def manifest(model: str) -> str:
    """Return the topic of a model's manifest."""
    return f"models/{model}"


@defined(
    sender="planner",
    receivers="executors, people",
    publishers={Role.PLANNER: Reach.ANY, Role.OPERATOR: Reach.ANY},
    subscribers={Role.DEVICE: Reach.ANY, Role.PLANNER: Reach.ANY, Role.OPERATOR: Reach.ANY, Role.VIEWER: Reach.ANY},
    summary="A version of a model's description. An operator clears it to remove a version that nothing uses.",
    retained=True,
)
def model_version(model: str, version: str) -> str:
    """Return the topic of one version of a model's manifest."""
    return f"models/{model}/versions/{version}"


@defined(
    sender="whoever calibrates",
    receivers="planner",
    publishers={Role.PLANNER: Reach.ANY, Role.OPERATOR: Reach.ANY},
    subscribers={Role.PLANNER: Reach.ANY, Role.OPERATOR: Reach.ANY, Role.VIEWER: Reach.ANY},
    summary="What encodings of a model's feature maps cost, and what they change in its answer.",
    retained=True,
)
def calibration(model: str) -> str:
    """Return the topic of a model's calibration."""
    return f"models/{model}/calibration"


@defined(
    sender="executor",
    receivers="planner",
    publishers={Role.DEVICE: Reach.ANY},
    subscribers={Role.PLANNER: Reach.ANY},
    summary="What an encoding changed in one answer in the field.",
    qos=0,
)
def shadow(model: str) -> str:
    """Return the topic of reports on a model's encodings in the field."""
    return f"models/{model}/shadow"


@defined(
    sender="publisher",
    receivers="planner",
    publishers={Role.OPERATOR: Reach.ANY},
    subscribers={Role.PLANNER: Reach.ANY},
    summary="A model for the fleet's library.",
)
def offer(model: str) -> str:
    """Return the topic of offers of a model to the planner's library."""
    return f"models/{model}/offer"


@defined(
    sender="receiver",
    receivers="provider",
    publishers={Role.DEVICE: Reach.ANY, Role.PLANNER: Reach.ANY},
    subscribers={Role.PLANNER: Reach.OWN, Role.OPERATOR: Reach.ANY},
    summary="Requests some of a model's bytes.",
)
def pulls(model: str, provider: str) -> str:
    """Return the topic on which chunks of a model are requested from a provider."""
    return f"models/{model}/pulls/{provider}"


@defined(
    sender="provider",
    receivers="receiver",
    publishers={Role.PLANNER: Reach.ANY, Role.OPERATOR: Reach.ANY},
    subscribers={Role.DEVICE: Reach.OWN, Role.PLANNER: Reach.OWN},
    summary="Some of a model's bytes, with a CRC-32.",
)
def model_chunks(model: str, receiver: str) -> str:
    """Return the topic of a model's chunks for a receiver."""
    return f"models/{model}/chunks/{receiver}"


@defined(
    sender="application",
    receivers="planner, executors, monitors",
    publishers={Role.PLANNER: Reach.ANY, Role.OPERATOR: Reach.ANY},
    subscribers={
        Role.DEVICE: Reach.ANY,
        Role.PLANNER: Reach.ANY,
        Role.OPERATOR: Reach.ANY,
        Role.APPLICATION: Reach.OWN,
        Role.VIEWER: Reach.ANY,
    },
    summary="One flow of requests: model, source device, rate.",
    retained=True,
)
def stream(stream: str) -> str:
    """Return the topic of a stream's declaration."""
    return f"streams/{stream}"


@defined(
    sender="operator",
    receivers="planner",
    publishers={Role.PLANNER: Reach.ANY, Role.OPERATOR: Reach.ANY},
    subscribers={Role.PLANNER: Reach.ANY, Role.OPERATOR: Reach.ANY, Role.VIEWER: Reach.ANY},
    summary="A stream's policy, JSON or msgpack.",
    retained=True,
)
def policy(stream: str) -> str:
    """Return the topic of a stream's policy."""
    return f"streams/{stream}/policy"


@defined(
    sender="planner",
    receivers="executors, collector",
    publishers={Role.PLANNER: Reach.ANY},
    subscribers={
        Role.DEVICE: Reach.ANY,
        Role.PLANNER: Reach.ANY,
        Role.COLLECTOR: Reach.ANY,
        Role.OPERATOR: Reach.ANY,
        Role.VIEWER: Reach.ANY,
    },
    summary="The plan in force.",
    retained=True,
)
def plan(stream: str) -> str:
    """Return the topic of a stream's committed plan."""
    return f"streams/{stream}/plan"


@defined(
    sender="planner",
    receivers="people",
    publishers={Role.PLANNER: Reach.ANY},
    subscribers={Role.OPERATOR: Reach.ANY, Role.APPLICATION: Reach.OWN, Role.VIEWER: Reach.ANY},
    summary="The planner's state of a stream and its policy.",
    retained=True,
)
def status(stream: str) -> str:
    """Return the topic of the state of a stream and its policy."""
    return f"streams/{stream}/status"


@defined(
    sender="source executor",
    receivers="planner",
    publishers={Role.DEVICE: Reach.OWN},
    subscribers={Role.PLANNER: Reach.ANY, Role.OPERATOR: Reach.ANY, Role.VIEWER: Reach.ANY},
    summary="The size and rate of a stream's requests.",
    retained=True,
)
def usage(stream: str) -> str:
    """Return the topic of the size and rate of a stream's requests."""
    return f"streams/{stream}/usage"


@defined(
    sender="planner",
    receivers="source executor, people",
    publishers={Role.PLANNER: Reach.ANY},
    subscribers={Role.DEVICE: Reach.ANY, Role.OPERATOR: Reach.ANY, Role.VIEWER: Reach.ANY},
    summary="The bandwidths and loads within which the plan stays the best, and the next best routes.",
    retained=True,
)
def alternatives(stream: str) -> str:
    """Return the topic of a plan's thresholds and next best routes."""
    return f"streams/{stream}/alternatives"


@defined(
    sender="people",
    receivers="planner",
    publishers={Role.OPERATOR: Reach.ANY},
    subscribers={Role.PLANNER: Reach.ANY},
    summary="Asks for the present problem of a stream.",
)
def questions(stream: str) -> str:
    """Return the topic of questions about a stream's present problem."""
    return f"streams/{stream}/questions"


@defined(
    sender="planner",
    receivers="whoever has asked",
    publishers={Role.PLANNER: Reach.ANY},
    subscribers={Role.OPERATOR: Reach.ANY},
    summary="The present problem of a stream, or what it waits for, and its last reroutes.",
)
def explanations(stream: str, asker: str) -> str:
    """Return the topic of the planner's answers to one asker."""
    return f"streams/{stream}/explanations/{asker}"


@defined(
    sender="application",
    receivers="source executor",
    publishers={Role.OPERATOR: Reach.ANY, Role.APPLICATION: Reach.OWN},
    subscribers={Role.DEVICE: Reach.OWN, Role.COLLECTOR: Reach.ANY},
    summary="The bytes of a JPEG, a PNG or the input tensor. User properties: request_id, accept.",
)
def requests(stream: str) -> str:
    """Return the topic of a stream's requests."""
    return f"streams/{stream}/requests"


@defined(
    sender="source executor",
    receivers="application, collector",
    publishers={Role.DEVICE: Reach.OWN},
    subscribers={
        Role.DEVICE: Reach.OWN,
        Role.COLLECTOR: Reach.ANY,
        Role.OPERATOR: Reach.ANY,
        Role.APPLICATION: Reach.OWN,
    },
    summary="The one result or the one error of a request: JSON, or msgpack on demand.",
)
def results(stream: str) -> str:
    """Return the topic of a stream's results."""
    return f"streams/{stream}/results"


@defined(
    sender="source executor",
    receivers="application",
    publishers={Role.DEVICE: Reach.OWN},
    subscribers={Role.OPERATOR: Reach.ANY, Role.APPLICATION: Reach.OWN},
    summary="Outputs too large for a result's message, in chunks. Reassembled, a msgpack header and the tensors "
    "(docs/wire.md). User property: request_id.",
)
def outputs(stream: str) -> str:
    """Return the topic of the large outputs of a stream's results."""
    return f"streams/{stream}/outputs"


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
