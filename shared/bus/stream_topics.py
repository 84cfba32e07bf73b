"""Topics of a stream: its declaration, policy and plan, its requests and results."""

from shared.bus.roles import Reach, Role
from shared.bus.topic import defined


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
