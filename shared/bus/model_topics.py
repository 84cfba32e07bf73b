"""Topics of a model: its description, and its transfer to devices."""

from shared.bus.roles import Reach, Role
from shared.bus.topic import defined


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
