"""What a monitor hears, decoded once at the boundary. Pure."""

from shared.bus import topics
from shared.messages.base import MessageError
from shared.messages.devices import (
    OBSERVATIONS,
    ComputeObservation,
    Emulation,
    Presence,
    Probe,
    ServicePresence,
    State,
    TransferObservation,
)

Inbound = Presence | ServicePresence | ComputeObservation | TransferObservation | Emulation | Probe


def subscriptions(device: str, *, emulated: bool) -> dict[str, int]:
    """Return the topic filters of a monitor's control connection and their quality of service."""
    found = {topics.ANY_PRESENCE: 1, topics.ANY_SERVICE: 1, topics.observations(device): 1}
    if emulated:
        found[topics.emulation(device)] = 1
    return found


def decode(topic: str, payload: bytes | memoryview) -> Inbound | None:
    """Return what has been heard; none for a cleared retained message that means nothing.

    Raises:
        MessageError: it is none of the messages that a monitor hears.
    """
    parts = topic.split("/")
    match parts:
        case ["devices", device, "presence"]:
            return Presence.decode(payload) if payload else Presence(device=device, state=State.OFFLINE)
        case ["services", _, "presence"]:
            return ServicePresence.decode(payload) if payload else None
        case ["devices", _, "observations"]:
            observation: ComputeObservation | TransferObservation = OBSERVATIONS.decode(payload)
            return observation
        case ["devices", _, "emulation"]:
            return Emulation.decode(payload) if payload else Emulation(device=parts[1])
        case ["devices", _, "probes"]:
            return Probe.decode(payload)
    raise MessageError("a topic that a monitor does not know")
