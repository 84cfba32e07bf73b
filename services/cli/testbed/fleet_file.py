"""FLEET.toml as frozen values: devices, links, model, images, policy, and the phases of a run."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from planning.problem.plan import RAW
from services.cli.support.config_files import read_toml
from services.cli.support.manifest import Preset, parse_preprocessing
from services.cli.support.strategy_names import strategy_fault
from shared.fields import DOCUMENT, Count, Flag, NonNegative, Positive
from shared.messages.base import Name
from shared.messages.models import OutputKind, Preprocessing
from shared.policy import CodecMode, Policy
from shared.service_runtime import InputError

IN_USE: Final = "in-use"
"""Stands for the device that carries the present route (see `scenario.device_in_use`); no device may be called so."""

EMBEDDED_BROKER: Final = "embedded"

Factor = Annotated[float, Field(ge=1, le=1000)]
"""How many times slower."""


@dataclass(frozen=True, slots=True)
class DeviceDescription:
    """A device of the fleet; both processes of it run on this machine.

    Attributes:
        slowdown: how many times slower than this machine it pretends to be.
        threads: threads that compute a segment.
        power_idle_w, power_active_w: watts when idle and when computing.
        power_tx_w, power_rx_w: watts on top when sending and when receiving.
    """

    __pydantic_config__ = DOCUMENT

    slowdown: Factor = 1.0
    threads: Count = 1
    power_idle_w: NonNegative = 0.0
    power_active_w: NonNegative = 0.0
    power_tx_w: NonNegative = 0.0
    power_rx_w: NonNegative = 0.0


@dataclass(frozen=True, slots=True)
class LinkDescription:
    """A network link between two devices, the same in both directions."""

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
    """The model and what surrounds it. Paths are relative to FLEET.toml.

    Attributes:
        file: the ONNX file.
        name: alias of the model; the file's name without its ending if empty.
        labels: file with the class names, JSON list or one per line.
        preprocessing: from a photograph to the input tensor: a preset's name, or fields (see
            `services.cli.support.manifest`).
        softmax: the model gives logits; scores are their softmax.
        input_shapes: of inputs whose shape the file leaves open.
        calibrate: whether encodings of feature maps are measured before the start; None for a policy that asks for
            encodings.
        calibration_images: folder with the photographs, or tensors, to measure with; those that ship if None.
    """

    __pydantic_config__ = DOCUMENT

    file: str
    name: str = ""
    labels: str | None = None
    preprocessing: Annotated[Preprocessing | Preset | None, BeforeValidator(_preprocessing)] = None
    output: OutputKind | None = None
    softmax: bool = False
    input_shapes: Mapping[str, tuple[Count, ...]] = field(default_factory=dict)
    calibrate: Flag | None = None
    calibration_images: str | None = None


@dataclass(frozen=True, slots=True)
class StreamSetup:
    """Where requests arise, what they carry and how fast they come.

    Attributes:
        images: files or glob patterns, relative to FLEET.toml; taken in turn.
        in_flight: requests under way at most.
        rate_hz: requests per second; None for one as soon as the last is through.
    """

    __pydantic_config__ = DOCUMENT

    source: Name
    images: Annotated[tuple[str, ...], Field(min_length=1)]
    name: Name = "camera"
    in_flight: Annotated[int, Field(ge=1, le=64)] = 2
    rate_hz: Positive | None = None


@dataclass(frozen=True, slots=True)
class PhaseDescription:
    """A part of the run. What it does not mention is as at the start.

    Attributes:
        links: links that differ, whole.
        load: how many times slower than idle a device computes, by name or `in-use`.
        kill: device whose processes get SIGKILL at the start of the phase; they start again at its end.
        expect_reroute: the run has failed if no route changes in this phase.
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
    """Everything `segue up` needs to know.

    Attributes:
        emulated: devices and links pretend to be what is written here; otherwise they are what this machine is.
        broker: `embedded`, or the address of one that runs.
        phases: empty for one phase that lasts until it is stopped.
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

    @property
    def calibrates(self) -> bool:
        """Whether encodings are measured: as the model says, else if the policy cannot be kept without."""
        if self.model.calibrate is not None:
            return self.model.calibrate
        bounds = (self.policy.min_top1_agreement, self.policy.max_relative_error)
        return self.policy.codec not in (CodecMode.AUTO, RAW) or any(bound is not None for bound in bounds)

    def with_calibration(self, wanted: bool) -> "Fleet":
        """Return the same fleet, whose model is calibrated or not."""
        return replace(self, model=replace(self.model, calibrate=wanted))

    def with_phase_s(self, duration_s: float) -> "Fleet":
        """Return the same fleet with every phase lasting `duration_s`."""
        return replace(self, phases=tuple(replace(phase, duration_s=duration_s) for phase in self.phases))


def read_fleet(path: Path) -> Fleet:
    """Read a fleet description and check it as a whole, the files it names included.

    Raises:
        InputError: with one line per fault, each with the path of its key.
    """
    fleet = parse_fleet(read_toml(path), origin=str(path))
    faults = list(_file_faults(fleet, path.parent))
    if faults:
        raise _refusal(str(path), faults)
    return fleet


def parse_fleet(document: Mapping[str, Any], *, origin: str) -> Fleet:
    """Check a decoded FLEET.toml, its files aside.

    Args:
        document: the TOML document.
        origin: what to call it in errors.

    Raises:
        InputError: with one line per fault.
    """
    try:
        fleet = _ADAPTER.validate_python(document)
    except ValidationError as error:
        raise _refusal(origin, map(_fault, error.errors())) from error
    faults = [*_name_faults(fleet), *_emulation_faults(fleet), *_phase_faults(fleet)]
    if faults:
        raise _refusal(origin, faults)
    return fleet


def image_files(fleet: Fleet, folder: Path) -> tuple[Path, ...]:
    """Return the images that the patterns match below `folder`, in order, each once."""
    return tuple(dict.fromkeys(file for pattern in fleet.stream.images for file in _matches(folder, pattern)))


def _matches(folder: Path, pattern: str) -> list[Path]:
    if any(mark in pattern for mark in "*?["):
        base = Path(Path(pattern).anchor) if Path(pattern).is_absolute() else folder
        relative = str(Path(pattern).relative_to(base)) if Path(pattern).is_absolute() else pattern
        return sorted(file for file in base.glob(relative) if file.is_file())
    file = folder / pattern
    return [file] if file.is_file() else []


def _name_faults(fleet: Fleet) -> Iterator[str]:
    if IN_USE in fleet.devices:
        yield f"devices.{IN_USE}: this name is kept for phases, where it means the device in use"
    if (fault := strategy_fault(fleet.policy)) is not None:
        yield f"policy.strategy: {fault}"
    for key, named in (("allow", fleet.policy.devices.allow or ()), ("deny", fleet.policy.devices.deny)):
        for device in named:
            if device not in fleet.devices:
                yield f"policy.devices.{key}: {device!r} is not among the devices ({', '.join(fleet.devices)})"
    if fleet.stream.source not in fleet.devices:
        yield f"stream.source: {fleet.stream.source!r} is not among the devices ({', '.join(fleet.devices)})"
    seen: set[tuple[str, str]] = set()
    for index, link in enumerate(fleet.links):
        yield from _link_faults(f"links.{index}", link, fleet)
        if link.pair in seen:
            yield f"links.{index}.between: {' and '.join(link.pair)} are linked already"
        seen.add(link.pair)


def _link_faults(key: str, link: LinkDescription, fleet: Fleet) -> Iterator[str]:
    for end in link.between:
        if end not in fleet.devices:
            yield f"{key}.between: {end!r} is not among the devices ({', '.join(fleet.devices)})"
    if link.between[0] == link.between[1]:
        yield f"{key}.between: a link joins two different devices"


def _emulation_faults(fleet: Fleet) -> Iterator[str]:
    if fleet.emulated:
        return
    reason = "needs `emulated = true`: real devices and links cannot be told what to be"
    if fleet.links:
        yield f"links: {reason}"
    for name, device in fleet.devices.items():
        if device.slowdown != 1:
            yield f"devices.{name}.slowdown: {reason}"
    for index, phase in enumerate(fleet.phases):
        if phase.load or phase.links:
            yield f"phases.{index}: {reason}"


def _phase_faults(fleet: Fleet) -> Iterator[str]:
    linked = {link.pair for link in fleet.links}
    names = [phase.name for phase in fleet.phases]
    for index, phase in enumerate(fleet.phases):
        key = f"phases.{index}"
        if names.index(phase.name) != index:
            yield f"{key}.name: {phase.name!r} is used twice"
        for number, link in enumerate(phase.links):
            if link.pair not in linked:
                yield f"{key}.links.{number}.between: {' and '.join(link.pair)} have no link that could change"
        for target in [*phase.load, *([phase.kill] if phase.kill else [])]:
            if target != IN_USE and target not in fleet.devices:
                yield f"{key}: {target!r} is neither a device nor `{IN_USE}`"


def _file_faults(fleet: Fleet, folder: Path) -> Iterator[str]:
    if not (folder / fleet.model.file).is_file():
        yield f"model.file: there is no file {folder / fleet.model.file}"
    if fleet.model.labels is not None and not (folder / fleet.model.labels).is_file():
        yield f"model.labels: there is no file {folder / fleet.model.labels}"
    if fleet.model.calibration_images is not None and not (folder / fleet.model.calibration_images).is_dir():
        yield f"model.calibration_images: there is no folder {folder / fleet.model.calibration_images}"
    for index, pattern in enumerate(fleet.stream.images):
        if not _matches(folder, pattern):
            yield f"stream.images.{index}: no file matches {folder / pattern}"


def _fault(fault: ErrorDetails) -> str:
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{_key(fault['loc'])}: unknown key"
    return f"{_key(fault['loc'])}: {fault['msg'].removeprefix('Value error, ')}"


def _key(location: Iterable[int | str]) -> str:
    return ".".join(str(part) for part in location) or "document"


def _refusal(origin: str, faults: Iterable[str]) -> InputError:
    return InputError("\n".join(f"{origin}: {fault}" for fault in faults))


_ADAPTER: Final[TypeAdapter[Fleet]] = TypeAdapter(Fleet)
