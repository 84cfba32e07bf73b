"""Messages that a monitor receives, decoded once at the boundary."""

from shared.bus import topics
from shared.messages.base import MessageError, of_topic
from shared.messages.devices import (
    OBSERVATIONS,
    ComputeObservation,
    DirectEcho,
    Emulation,
    Presence,
    Probe,
    ServicePresence,
    TransferObservation,
    offline,
)
from shared.messages.streams import StreamDeclaration, withdrawn

Inbound = (
    Presence
    | ServicePresence
    | ComputeObservation
    | TransferObservation
    | DirectEcho
    | Emulation
    | Probe
    | StreamDeclaration
)


def control_filters(device: str, *, emulated: bool) -> dict[str, int]:
    """Return the topic filters of a monitor's control connection, each with its MQTT quality of service."""
    filters = {topics.presence.any: 1, topics.service_presence.any: 1, topics.observations(device): 1}
    filters[topics.stream.any] = 1
    if emulated:
        filters[topics.emulation(device)] = 1
    return filters


def decode(topic: str, payload: bytes | memoryview) -> Inbound | None:
    """Return the message on a topic; none for a cleared retained message without a meaning.

    An empty payload clears a retained message: a cleared presence means offline, a cleared emulation means no limits,
    and a cleared declaration withdraws the stream.

    Raises:
        MessageError: the payload is malformed, or a monitor does not receive this topic.
    """
    match topic.split("/"):
        case ["devices", device, "presence"]:
            return of_topic(Presence.decode(payload), "device", device) if payload else offline(device)
        case ["services", name, "presence"]:
            return of_topic(ServicePresence.decode(payload), "name", name) if payload else None
        case ["devices", device, "observations"]:
            observation: ComputeObservation | TransferObservation | DirectEcho = OBSERVATIONS.decode(payload)
            return of_topic(observation, "device", device)
        case ["devices", device, "emulation"]:
            return of_topic(Emulation.decode(payload), "device", device) if payload else Emulation(device=device)
        case ["streams", stream]:
            if not payload:
                return withdrawn(stream)
            return of_topic(StreamDeclaration.decode(payload), "stream", stream)
        case ["devices", _, "probes"]:
            return Probe.decode(payload)
    raise MessageError("a monitor does not receive this topic")
