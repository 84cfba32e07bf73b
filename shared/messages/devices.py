"""State of devices and services: presence, telemetry, links, profiles, observations, receipts and probes."""

from enum import StrEnum
from itertools import pairwise
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from shared.bus import topics
from shared.messages.base import MAX_MESSAGE_BYTES, Message, MessageError, MessageUnion, Part
from shared.messages.bounds import (
    MAX_BLOCKS,
    MAX_DEVICES,
    MAX_ROW_POINTS,
    Bandwidth,
    BlockIndex,
    BlockStop,
    Cardinal,
    ClockReading,
    Factor,
    FactorFromOne,
    HostAndPort,
    Instant,
    Line,
    Milliseconds,
    ModelId,
    Name,
    PositiveCardinal,
    Prose,
    PublicKey,
    Quantity,
    RequestId,
    Watts,
    Word,
    at_most,
)
from shared.transport_mode import Carrier

# Time of a block that a device cannot run: 11 days.
REFUSED_MS: Final = 1e9


class State(StrEnum):
    """Presence of a device or service."""

    ONLINE = "online"
    OFFLINE = "offline"


class Capabilities(Part):
    """Hardware and settings of an executor."""

    cores: PositiveCardinal = 1
    """Cores that it may run on."""
    cpu_limit: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Quota of processor time, in cores; None for none."""
    memory_bytes: Quantity | None = None
    """Memory for segments."""
    architecture: Word = ""
    provider: Word = "CPUExecutionProvider"
    threads: PositiveCardinal = 1
    emulated: bool = False
    power_idle_w: Watts = 0.0
    power_active_w: Watts = 0.0
    power_tx_w: Watts = 0.0
    power_rx_w: Watts = 0.0
    runtime: Word = ""
    """Name and version of the inference engine; empty for an executor that does not tell."""
    opset: Cardinal = 0
    """Newest version of ONNX's own operators that the engine runs; 0 for an executor that does not tell."""
    providers: Annotated[tuple[Word, ...], at_most(64)] = ()
    """Execution providers that the engine has."""
    domains: Annotated[tuple[Word, ...], at_most(64)] = ()
    """Operator domains that the engine has beside ONNX's own; empty for an executor that does not tell."""
    tiles: bool = False
    """Whether it runs tiles of segments, and sends and receives rows."""


class DirectAccess(Part):
    """How executors reach a device without the broker."""

    addresses: Annotated[tuple[HostAndPort, ...], at_most(8)] = ()
    """Where it accepts TCP connections."""
    machine: Word = ""
    """Identifies the network of the machine or container. Loopback addresses are for devices with the same value."""
    encrypted: bool = False
    """TCP connections use TLS."""
    socket_name: Annotated[str, StringConstraints(max_length=64, pattern=r"^([0-9a-f]{32}\.sock)?$")] = ""
    """Name of its Unix socket, in the folder that executors of one machine share. Empty for none."""
    token: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{0,64}$")] = ""
    """New at every start. Whoever connects states it."""
    certificate: Annotated[bytes, Field(max_length=2048)] = b""
    """X.509 certificate in DER, new at every start: shown in TLS connections from and to it. Empty without TLS."""


LANE: Final = "lane"


class Presence(Message):
    """A device's executor comes or goes (`devices/{device}/presence`, retained). Offline is its last will."""

    TOPIC: ClassVar = topics.presence

    device: Name
    state: State
    version: Word = ""
    boot_id: Word = ""
    """New at every start of the process. A restart is noticed even if the process was never offline."""
    capabilities: Capabilities = Capabilities()
    transports: Annotated[tuple[Word, ...], at_most(16)] = ("mqtt",)
    """Transports of the feature maps that it sends and takes: `mqtt`, `direct`. With `lane`, it takes small ones on the
    lane as well."""
    trouble: Line = ""
    """What keeps it from accepting requests, such as a full disk; empty if nothing does."""
    direct: DirectAccess | None = None
    """Set if it takes feature maps without the broker."""
    planner_keys: Annotated[tuple[PublicKey, ...], at_most(16)] = ()
    """Keys of planners that it follows. Without one it follows any planner."""


def offline(device: str) -> Presence:
    """Return the meaning of a presence that was cleared.

    Raises:
        MessageError: the topic's device is no name.
    """
    if not topics.is_name(device):
        raise MessageError("the topic's device is no name")
    return Presence(device=device, state=State.OFFLINE)


class ServicePresence(Message):
    """A planner, collector or monitor comes or goes (`services/{name}/presence`, retained)."""

    TOPIC: ClassVar = topics.service_presence

    name: Name
    role: Word
    state: State
    version: Word = ""
    boot_id: Word = ""
    trouble: Line = ""
    """What keeps it from its work, such as a full disk; empty if nothing does."""
    metered: bool = False
    """Of a monitor: its device pays for traffic, so that nobody probes its links."""
    public_key: PublicKey | None = None
    """Of a planner: key of the signatures on its messages. The proof is the signature, not this announcement."""


class Telemetry(Message):
    """A sample of a device, published on change and as a heartbeat (`devices/{device}/telemetry`)."""

    TOPIC: ClassVar = topics.telemetry

    device: Name
    sent_at_s: Instant
    """Wall clock of the device."""
    cpu_percent: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    memory_used_bytes: Quantity = 0
    memory_total_bytes: Quantity = 0
    """Of the device's control group, if that has less than the machine."""
    swap_used_bytes: Quantity = 0
    memory_stall_percent: Annotated[float, Field(ge=0, le=100)] | None = None
    """Share of the last ten seconds in which a task waited for memory."""
    temperature_c: Annotated[float, Field(ge=-274, le=1e6)] | None = None
    power_w: Annotated[float, Field(ge=-1e9, le=1e9)] | None = None
    load_factor: Factor = 1.0
    """Compute time at present divided by the compute time when idle."""


class LinkEstimate(Part):
    """The sender's estimate of one directed link."""

    target: Name
    bandwidth_mbps: Bandwidth
    latency_ms: Milliseconds
    samples: Quantity = 0
    transport: Carrier = Carrier.MQTT
    """A link has an estimate for each transport that has carried something on it."""


class Links(Message):
    """The links that leave a device (`devices/{device}/links`, retained)."""

    TOPIC: ClassVar = topics.links

    device: Name
    sent_at_s: Instant
    links: Annotated[tuple[LinkEstimate, ...], at_most(MAX_DEVICES)] = ()


class BlockRefusal(Part):
    """Blocks `[start, stop)` that a device cannot run, and why."""

    start: BlockIndex
    stop: BlockStop
    reason: Prose


class BlockRowTimes(Part):
    """Times of some rows of a block's output, beside that of all rows."""

    block: BlockIndex
    points: Annotated[tuple[tuple[PositiveCardinal, Milliseconds], ...], at_most(MAX_ROW_POINTS, at_least=1)]
    """Rows and their time, rows ascending. Times between them are interpolated (`shared.row_times`)."""

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        rows = [rows for rows, _ in self.points]
        if any(one >= other for one, other in pairwise(rows)):
            raise ValueError("the rows do not ascend")
        return self


class Profile(Message):
    """Cost of a model's blocks on an idle device (`devices/{device}/profiles/{model}`, retained)."""

    TOPIC: ClassVar = topics.profiles

    device: Name
    model: ModelId
    graph: Word = ""
    """`Manifest.graph_version` of the manifest by which it was measured; empty in profiles of old executors."""
    block_ms: Annotated[tuple[Milliseconds, ...], at_most(MAX_BLOCKS)]
    """Block 0 is `prepare`; block k is block k-1 of the ONNX file. Empty if the device cannot run the model at all."""
    segment_overhead_ms: Milliseconds = 0.0
    provider: Word = "CPUExecutionProvider"
    threads: PositiveCardinal = 1
    measured_at_s: Instant = 0.0
    refusals: Annotated[tuple[BlockRefusal, ...], at_most(MAX_BLOCKS)] = ()
    """The blocks that the device cannot run. Their time is `REFUSED_MS`, so that older planners avoid them, too."""
    row_times: Annotated[tuple[BlockRowTimes, ...], at_most(MAX_BLOCKS)] | None = None
    """Measured times of tiles. A block that is missing has none, and takes time in proportion to its rows. None if
    tiles were not measured, as by older executors."""


class ComputeObservation(Message):
    """Measured time of a segment, and its time by the idle profile."""

    TOPIC: ClassVar = topics.observations

    kind: Literal["compute"] = "compute"
    device: Name
    model: ModelId
    start: BlockIndex
    stop: BlockStop
    measured_ms: Milliseconds
    idle_ms: Milliseconds


class TransferObservation(Message):
    """Time of a transfer that was received, or that is overdue and so bounds the bandwidth from above."""

    TOPIC: ClassVar = topics.observations

    kind: Literal["transfer"] = "transfer"
    device: Name
    target: Name
    size_bytes: Quantity
    elapsed_ms: Milliseconds
    """Time from the first byte sent to the receipt."""
    finished: bool = True
    processing_ms: Milliseconds = 0.0
    """Part of it in which one of the two ends computed or waited for a processor, each by its own clock. It is load,
    and no property of the link."""
    transport: Carrier = Carrier.MQTT


class DirectProbe(Message):
    """A monitor's order to its executor to measure a direct link (`devices/{device}/direct_probes`)."""

    TOPIC: ClassVar = topics.direct_probes

    probe_id: Word
    target: Name
    size_bytes: Annotated[int, Field(ge=0, le=MAX_MESSAGE_BYTES)] = 0
    """Of the padding that is sent."""


class DirectEcho(Message):
    """What has become of a direct probe."""

    TOPIC: ClassVar = topics.observations

    kind: Literal["direct_echo"] = "direct_echo"
    device: Name
    target: Name
    probe_id: Word
    """As in the order."""
    elapsed_ms: Milliseconds | None = None
    """Time from the first byte sent to the echo; None if there was no connection, or it ended."""
    processing_ms: Milliseconds = 0.0
    """Part of it in which one of the two ends computed or waited for a processor."""


Observation = ComputeObservation | TransferObservation
# Decodes the messages of `topics.observations`.
OBSERVATIONS = MessageUnion(
    Annotated[ComputeObservation | TransferObservation | DirectEcho, Field(discriminator="kind")]
)


class DamageReport(Part):
    """The attempt of a request that ends here without an outcome, such as one whose transfer arrived damaged."""

    stream: Name
    request_id: RequestId
    attempt: PositiveCardinal
    reason: Prose
    has_no_room: bool = False
    """Whether the reason is that the receiver has no memory for more inputs now. Such an attempt is no failure."""


class Receipt(Message):
    """A transfer has arrived (`devices/{sender}/receipts`)."""

    TOPIC: ClassVar = topics.receipts

    transfer_id: Word
    receiver: Name
    processing_ms: Milliseconds = 0.0
    """Time in which the receiver computed or waited for a processor around the arrival, by its own monotonic clock."""
    refused: DamageReport | None = None
    """Set if its tensors did not decode or had no room. This receipt goes to the request's source, which retries."""


class ClockExchange(Message):
    """A question for a device's monotonic clock, or its answer (`devices/{device}/clock`)."""

    TOPIC: ClassVar = topics.clock

    kind: Literal["ask", "answer"]
    sender: Name
    asked_s: ClockReading
    """When the question was sent, on the clock of the device that asks. An answer repeats it."""
    arrived_s: ClockReading = 0.0
    """When the question arrived, on the clock of the device that answers."""
    answered_s: ClockReading = 0.0
    """When the answer was sent, on the same clock."""
    clock_id: Word = ""
    """Identifies the clock of the device that answers; empty if it is unknown. Devices of one machine may share it."""


class Probe(Message):
    """A message between monitors that measures an idle link (`devices/{device}/probes`)."""

    TOPIC: ClassVar = topics.probes

    kind: Literal["probe", "echo"]
    probe_id: Word
    sender: Name
    size_bytes: Quantity = 0
    """Size of the probe with its padding. An echo repeats the number."""
    padding: Annotated[bytes, Field(max_length=MAX_MESSAGE_BYTES)] = b""
    processing_ms: Milliseconds = 0.0
    """Of an echo: time in which its sender computed or waited for a processor around the arrival of the probe."""


class EmulatedLink(Part):
    """The rate of an emulated device's link to one peer."""

    target: Name
    bandwidth_mbps: Bandwidth
    latency_ms: Milliseconds = 0.0


class Emulation(Message):
    """Behaviour of an emulated device (`devices/{device}/emulation`, retained)."""

    TOPIC: ClassVar = topics.emulation

    device: Name
    slowdown: FactorFromOne = 1.0
    """Compute time of the idle device divided by that of this machine."""
    load_factor: FactorFromOne = 1.0
    """Compute time at present divided by the compute time when idle."""
    links: Annotated[tuple[EmulatedLink, ...], at_most(MAX_DEVICES)] = ()
