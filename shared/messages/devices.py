"""State of devices and services: presence, telemetry, links, profiles, observations, receipts and probes."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shared.bus import topics
from shared.messages.base import Message, MessageUnion, ModelId, Name, Part, RequestId


class State(StrEnum):
    """Presence of a device or service."""

    ONLINE = "online"
    OFFLINE = "offline"


class Capabilities(Part):
    """Hardware and settings of an executor."""

    cores: int = 1
    memory_bytes: int | None = None
    architecture: str = ""
    provider: str = "CPUExecutionProvider"
    threads: int = 1
    emulated: bool = False
    power_idle_w: float = 0.0
    power_active_w: float = 0.0
    power_tx_w: float = 0.0
    power_rx_w: float = 0.0


class Presence(Message):
    """A device's executor comes or goes (`devices/{device}/presence`, retained). Offline is its last will."""

    TOPIC: ClassVar = topics.presence

    device: Name
    state: State
    version: str = ""
    boot_id: str = ""
    """New at every start of the process. A restart is noticed even if the process was never offline."""
    capabilities: Capabilities = Capabilities()
    transports: tuple[str, ...] = ("mqtt",)


class ServicePresence(Message):
    """A planner, collector or monitor comes or goes (`services/{name}/presence`, retained)."""

    TOPIC: ClassVar = topics.service_presence

    name: Name
    role: str
    state: State
    version: str = ""
    boot_id: str = ""


class Telemetry(Message):
    """A sample of a device, published on change and as a heartbeat (`devices/{device}/telemetry`)."""

    TOPIC: ClassVar = topics.telemetry

    device: Name
    sent_at_s: float
    """Wall clock of the device."""
    cpu_percent: float = 0.0
    memory_used_bytes: int = 0
    memory_total_bytes: int = 0
    temperature_c: float | None = None
    power_w: float | None = None
    load_factor: Annotated[float, Field(gt=0)] = 1.0
    """Compute time at present divided by the compute time when idle."""


class LinkEstimate(Part):
    """The sender's estimate of one directed link."""

    target: Name
    bandwidth_mbps: Annotated[float, Field(ge=0)]
    latency_ms: Annotated[float, Field(ge=0)]
    samples: int = 0


class Links(Message):
    """The links that leave a device (`devices/{device}/links`, retained)."""

    TOPIC: ClassVar = topics.links

    device: Name
    sent_at_s: float
    links: tuple[LinkEstimate, ...] = ()


class Profile(Message):
    """Cost of a model's blocks on an idle device (`devices/{device}/profiles/{model}`, retained)."""

    TOPIC: ClassVar = topics.profiles

    device: Name
    model: ModelId
    block_ms: tuple[Annotated[float, Field(ge=0)], ...]
    """Block 0 is `prepare`; block k is block k-1 of the ONNX file."""
    segment_overhead_ms: Annotated[float, Field(ge=0)] = 0.0
    provider: str = "CPUExecutionProvider"
    threads: int = 1
    measured_at_s: float = 0.0


class ComputeObservation(Message):
    """Measured time of a segment, and its time by the idle profile."""

    TOPIC: ClassVar = topics.observations

    kind: Literal["compute"] = "compute"
    device: Name
    model: ModelId
    start: int
    stop: int
    measured_ms: float
    idle_ms: float


class TransferObservation(Message):
    """Time of a transfer that was received, or that is overdue and so bounds the bandwidth from above."""

    TOPIC: ClassVar = topics.observations

    kind: Literal["transfer"] = "transfer"
    device: Name
    target: Name
    size_bytes: int
    elapsed_ms: float
    """Time from the first byte sent to the receipt."""
    finished: bool = True


Observation = Annotated[ComputeObservation | TransferObservation, Field(discriminator="kind")]
# Decodes the messages of `topics.observations`.
OBSERVATIONS = MessageUnion(Observation)


class DamageReport(Part):
    """The request of a transfer that arrived damaged."""

    stream: Name
    request_id: RequestId
    attempt: Annotated[int, Field(ge=1)]
    reason: str


class Receipt(Message):
    """A transfer has arrived (`devices/{sender}/receipts`)."""

    TOPIC: ClassVar = topics.receipts

    transfer_id: str
    receiver: Name
    refused: DamageReport | None = None
    """Set if its tensors did not decode. This receipt goes to the request's source, which retries."""


class Probe(Message):
    """A message between monitors that measures an idle link (`devices/{device}/probes`)."""

    TOPIC: ClassVar = topics.probes

    kind: Literal["probe", "echo"]
    probe_id: str
    sender: Name
    size_bytes: int = 0
    """Size of the probe with its padding. An echo repeats the number."""
    padding: bytes = b""


class EmulatedLink(Part):
    """The rate of an emulated device's link to one peer."""

    target: Name
    bandwidth_mbps: Annotated[float, Field(ge=0)]
    latency_ms: Annotated[float, Field(ge=0)] = 0.0


class Emulation(Message):
    """Behaviour of an emulated device (`devices/{device}/emulation`, retained)."""

    TOPIC: ClassVar = topics.emulation

    device: Name
    slowdown: Annotated[float, Field(ge=1)] = 1.0
    """Compute time of the idle device divided by that of this machine."""
    load_factor: Annotated[float, Field(ge=1)] = 1.0
    """Compute time at present divided by the compute time when idle."""
    links: tuple[EmulatedLink, ...] = ()
