"""Fleet descriptions: devices, links, model, images, policy, and the phases of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from planning.problem.plan import RAW
from services.cli.support.manifest import Preset, parse_preprocessing
from shared.fields import DOCUMENT, Count, Flag, NonNegative, Positive
from shared.messages.bounds import Name
from shared.messages.models import OutputKind, Preprocessing
from shared.model.adaptation import Adaptation
from shared.policy import CodecMode, Policy
from shared.transport_mode import TransportMode

# Placeholder in phases for the device that computes most of the present route (see `conditions.device_in_use`). No
# device may have this name.
IN_USE: Final = "in-use"

# Value of `Fleet.broker` for a broker that the run starts itself.
EMBEDDED_BROKER: Final = "embedded"

# A slowdown: the time of a computation divided by its usual time.
Factor = Annotated[float, Field(ge=1, le=1000)]


@dataclass(frozen=True, slots=True)
class DeviceDescription:
    """A device of the fleet, whose two processes run on this machine.

    Attributes:
        slowdown: its emulated slowdown against this machine.
        threads: threads that compute a segment.
        power_idle_w, power_active_w: watts when idle and when computing.
        power_tx_w, power_rx_w: additional watts when sending and when receiving.
        metered: whether its links are never probed.
        assumed_mbps: of a metered device, the bandwidth of its links until transfers have measured them.
    """

    __pydantic_config__ = DOCUMENT

    slowdown: Factor = 1.0
    threads: Count = 1
    power_idle_w: NonNegative = 0.0
    power_active_w: NonNegative = 0.0
    power_tx_w: NonNegative = 0.0
    power_rx_w: NonNegative = 0.0
    metered: Flag = False
    assumed_mbps: Positive | None = None


@dataclass(frozen=True, slots=True)
class LinkDescription:
    """A symmetric network link between two devices."""

    __pydantic_config__ = DOCUMENT

    between: tuple[Name, Name]
    bandwidth_mbps: Positive
    latency_ms: NonNegative = 0.0

    @property
    def pair(self) -> tuple[str, str]:
        """Return the two ends in alphabetical order."""
        first, second = sorted(self.between)
        return first, second


def _preprocessing(value: Any) -> Any:
    if isinstance(value, dict):
        return parse_preprocessing(value)
    if isinstance(value, str) and value not in list(Preset):
        raise ValueError(f"neither one of {', '.join(Preset)} nor a table of fields")
    return value


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """The model, its preprocessing and its calibration. Paths are relative to FLEET.toml.

    Attributes:
        file: the ONNX file.
        name: alias of the model; the file's name without its suffix if empty.
        labels: file with the class names (see `read_labels`); those in the ONNX file if None.
        preprocessing: from a photograph to the input tensor: a preset's name, or fields (see
            `services.cli.support.manifest`).
        softmax: whether the outputs are logits, whose softmax gives the scores.
        input_shapes: shapes of inputs whose shape the file leaves open.
        dims: sizes of symbolic dimensions, in every input that has them.
        input_values: inputs that are fixed: a number, or a list of numbers.
        outputs: names of the outputs that are kept; all if empty.
        max_cut_tensors: largest number of tensors that may cross a cut; None for as many as pay.
        calibrate: whether encodings of feature maps are measured before the start. None: only if the policy allows
            encodings that need it.
        calibration_images: folder with the photographs or tensors to measure with; the set that ships if None.
    """

    __pydantic_config__ = DOCUMENT

    file: str
    name: str = ""
    labels: str | None = None
    preprocessing: Annotated[Preprocessing | Preset | None, BeforeValidator(_preprocessing)] = None
    output: OutputKind | None = None
    softmax: bool = False
    input_shapes: Mapping[str, tuple[Count, ...]] = field(default_factory=dict)
    dims: Mapping[str, Count] = field(default_factory=dict)
    input_values: Mapping[str, int | float | tuple[int | float, ...]] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    max_cut_tensors: Annotated[int, Field(ge=1, le=1024)] | None = None
    calibrate: Flag | None = None
    calibration_images: str | None = None

    @property
    def adaptation(self) -> Adaptation:
        """The choices where the file leaves something open."""
        return Adaptation(self.input_shapes, self.dims, self.input_values, self.outputs)


@dataclass(frozen=True, slots=True)
class StreamSetup:
    """The stream of requests: its source, its payloads and its rate.

    Attributes:
        source: the device at which requests arise.
        images: files, folders or glob patterns, relative to FLEET.toml; sent in turn.
        in_flight: requests under way at most.
        rate_hz: requests per second; None for the next one as soon as one has its outcome.
    """

    __pydantic_config__ = DOCUMENT

    source: Name
    images: Annotated[tuple[str, ...], Field(min_length=1)]
    name: Name = "camera"
    in_flight: Annotated[int, Field(ge=1, le=64)] = 2
    rate_hz: Positive | None = None


@dataclass(frozen=True, slots=True)
class PhaseDescription:
    """A part of the run. Conditions that it does not set are those of the start.

    Attributes:
        links: complete descriptions of the links that differ.
        load: slowdown against the idle device, by device name or `in-use`.
        kill: device whose processes get SIGKILL at the start of the phase; they start again at its end.
        expect_reroute: whether the run fails if no route changes in this phase.
    """

    __pydantic_config__ = DOCUMENT

    name: Name
    duration_s: Annotated[float, Field(gt=0, le=86_400)]
    links: tuple[LinkDescription, ...] = ()
    load: Mapping[Name, Factor] = field(default_factory=dict)
    kill: Name | None = None
    expect_reroute: bool = False


@dataclass(frozen=True, slots=True)
class Fleet:
    """The content of a FLEET.toml.

    Attributes:
        emulated: whether devices and links emulate the described speeds; otherwise they have this machine's.
        broker: `embedded`, or the address of a running broker.
        transport: way of feature maps where the policy does not state one.
        phases: empty for one phase that lasts until it is stopped.
        metered: whether no link of the fleet is probed.
    """

    __pydantic_config__ = DOCUMENT

    model: ModelDescription
    stream: StreamSetup
    devices: Annotated[Mapping[Name, DeviceDescription], Field(min_length=1, max_length=32)]
    links: tuple[LinkDescription, ...] = ()
    policy: Policy = field(default_factory=Policy)
    phases: tuple[PhaseDescription, ...] = ()
    emulated: bool = True
    broker: str = EMBEDDED_BROKER
    metered: Flag = False
    transport: TransportMode = TransportMode.MQTT

    @property
    def calibrates(self) -> bool:
        """True if encodings are measured: the model's setting, else whether the policy depends on measurements."""
        if self.model.calibrate is not None:
            return self.model.calibrate
        bounds = (self.policy.min_top1_agreement, self.policy.max_relative_error)
        return self.policy.codec not in (CodecMode.AUTO, RAW) or any(bound is not None for bound in bounds)

    def with_calibration(self, calibrate: bool) -> "Fleet":
        """Return the same fleet with or without calibration of its model."""
        return replace(self, model=replace(self.model, calibrate=calibrate))

    def with_phase_s(self, duration_s: float) -> "Fleet":
        """Return the same fleet with every phase lasting `duration_s`."""
        return replace(self, phases=tuple(replace(phase, duration_s=duration_s) for phase in self.phases))
