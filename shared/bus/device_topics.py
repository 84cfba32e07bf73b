"""Topics of a device: what its executor and its monitor send and receive."""

from shared.bus.roles import Reach, Role
from shared.bus.topic import defined


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
