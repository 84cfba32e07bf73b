"""From a snapshot to the problem that a strategy solves, one stream at a time; or what is still missing. Pure."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from services.planner.encodings import FieldRecord, Place, offered, worthwhile
from services.planner.sharing import slowdown
from services.planner.snapshot import DeviceState, Snapshot
from shared.messages.calibration import Calibration
from shared.messages.models import Manifest, Preprocessing
from shared.messages.streams import StreamDeclaration
from shared.plan.policy import Policy
from shared.plan.problem import Block, Device, Link, Model, Problem, Stream

DEFAULT_PHOTOGRAPH_BYTES = 100_000
"""Taken for the size of a request with a photograph until the source reports what it sees."""

_BYTES_PER_VALUE: Mapping[str, int] = {"float64": 8, "int64": 8, "float16": 2, "uint8": 1, "int8": 1, "bool": 1}


@dataclass(frozen=True, slots=True)
class Waiting:
    """A stream cannot be planned yet: every reason, for people."""

    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A choice that a device has rejected, for a while.

    Attributes:
        stream: whose plan it was.
        device: who rejected it.
        model: SHA-256 of the model.
        until_s: planner's clock at which it may be tried again.
        reason: the device's, for people.
        memory_bytes: the rejected segments' memory, of which the device has less; None excludes the device.
    """

    stream: str
    device: str
    model: str
    until_s: float
    reason: str
    memory_bytes: float | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What else bears on a stream's problem.

    Attributes:
        now_s: planner's clock.
        held_bytes: memory that the segments of other streams hold, by device.
        busy_shares: the share of its time that a device computes for other streams.
        exclusions: rejected choices of all streams.
        measuring: devices that are measuring the stream's model and are worth waiting for.
    """

    now_s: float
    held_bytes: Mapping[str, float]
    busy_shares: Mapping[str, float] = field(default_factory=dict)
    exclusions: Sequence[Exclusion] = ()
    measuring: Collection[str] = ()


def build_problem(snapshot: Snapshot, name: str, circumstances: Circumstances) -> Problem | Waiting:
    """Return the problem of the stream called ``name``, or what it waits for.

    Offline devices leave the problem, and with them their links. Memory that other streams' segments hold is
    subtracted, and the time they compute slows a device down. The present segments of the stream itself are not: while
    a route changes, a device may hold both, and rejects the new one if it cannot.

    Raises:
        KeyError: the snapshot has no such stream.
    """
    declaration = snapshot.streams[name]
    manifest = snapshot.resolve(declaration.model)
    reasons = list(_missing(snapshot, declaration, manifest, circumstances))
    if manifest is None or reasons:
        return Waiting(tuple(reasons))
    policy = snapshot.policy(name)
    online = {device: state for device, state in snapshot.devices.items() if state.online}
    rejected: dict[str, list[Exclusion]] = {}
    for exclusion in circumstances.exclusions:
        if _applies(exclusion, name, manifest, circumstances.now_s):
            rejected.setdefault(exclusion.device, []).append(exclusion)
    fastest_ms = min(_profiled_ms(state, manifest) for state in online.values())
    calibration = snapshot.calibrations.get(manifest.model)
    records = snapshot.shadows.get(manifest.model)
    model = model_of(manifest, input_bytes(snapshot, declaration, manifest), calibration, policy, records)
    return Problem(
        models={manifest.model: model},
        devices={
            device: _device(
                state,
                manifest,
                _memory(state, circumstances.held_bytes.get(device, 0.0), rejected.get(device, [])),
                _load_factor(state, device, circumstances),
                is_excluded=any(exclusion.memory_bytes is None for exclusion in rejected.get(device, [])),
                fastest_ms=fastest_ms,
            )
            for device, state in online.items()
        },
        links=tuple(_links(online)),
        streams=(_stream(declaration, manifest, online),),
        policy=policy,
    )


def model_of(
    manifest: Manifest,
    request_bytes: float,
    calibration: Calibration | None = None,
    policy: Policy | None = None,
    records: Mapping[Place, FieldRecord] | None = None,
) -> Model:
    """Return the model as strategies see it: block 0 is `prepare`, its input the request's own bytes.

    Encodings come from the calibration, as far as the policy allows their effect (`encodings.offered`) and `records`
    of the field do not speak against it.
    """
    codecs = {} if calibration is None else offered(calibration, policy or Policy(), records)
    blocks = tuple(
        Block(
            name=block.name,
            output_bytes=block.output_bytes,
            flops=block.flops,
            parameter_bytes=block.parameter_bytes,
            activation_bytes=block.activation_bytes or None,
            codecs=worthwhile(codecs.get(index, {}), block.output_bytes, policy or Policy()),
        )
        for index, block in enumerate(manifest.blocks)
    )
    return Model(input_bytes=request_bytes, blocks=blocks)


def input_bytes(snapshot: Snapshot, declaration: StreamDeclaration, manifest: Manifest) -> float:
    """Return the bytes of a request: as the source sees them, else a photograph's, else the input tensor's."""
    usage = snapshot.usage.get(declaration.stream)
    if usage is not None:
        return usage.input_bytes
    return DEFAULT_PHOTOGRAPH_BYTES if _takes_photographs(manifest.preprocessing) else _tensor_bytes(manifest)


def profile_fault(state: DeviceState, manifest: Manifest) -> str | None:
    """Say why the device cannot be planned for the model; None if it can."""
    profile = state.profiles.get(manifest.model)
    if profile is None:
        return "its profile is missing"
    if len(profile.block_ms) != len(manifest.blocks):
        return f"its profile has {len(profile.block_ms)} blocks, the model {len(manifest.blocks)}"
    return None


def _missing(
    snapshot: Snapshot, declaration: StreamDeclaration, manifest: Manifest | None, circumstances: Circumstances
) -> Iterator[str]:
    source = snapshot.devices.get(declaration.source)
    if source is None or not source.online:
        yield f"source device {declaration.source} is {'unknown' if source is None else 'offline'}"
    if manifest is None:
        yield f"model {declaration.model} is not in the library"
        return
    policy = snapshot.policy(declaration.stream)
    yield from (
        f"device {device} is measuring model {manifest.name}"
        for device in sorted(circumstances.measuring)
        if snapshot.device(device).online and policy.devices.permits(device)
    )
    permitted = {name: state for name, state in snapshot.devices.items() if policy.devices.permits(name)}
    if not any(state.online and profile_fault(state, manifest) is None for state in permitted.values()):
        causes = [f"{name}: {_fault(state, manifest)}" for name, state in sorted(permitted.items())]
        yield f"no device can run model {manifest.name} yet ({'; '.join(causes) or 'the policy allows none'})"


def _fault(state: DeviceState, manifest: Manifest) -> str:
    return (profile_fault(state, manifest) or "ready") if state.online else "offline"


def _applies(exclusion: Exclusion, stream: str, manifest: Manifest, now_s: float) -> bool:
    return (exclusion.stream, exclusion.model) == (stream, manifest.model) and exclusion.until_s > now_s


def _stream(declaration: StreamDeclaration, manifest: Manifest, online: Mapping[str, DeviceState]) -> Stream:
    return Stream(
        name=declaration.stream,
        model=manifest.model,
        source=declaration.source,
        sink=declaration.sink if declaration.sink in online else None,
        jobs=declaration.jobs,
        rate_hz=declaration.rate_hz,
    )


def _profiled_ms(state: DeviceState, manifest: Manifest) -> float:
    """Return the idle time of the whole model; infinity without a profile."""
    if profile_fault(state, manifest) is not None:
        return math.inf
    return sum(state.profiles[manifest.model].block_ms)


def _device(
    state: DeviceState,
    manifest: Manifest,
    memory_bytes: float | None,
    load_factor: float,
    *,
    is_excluded: bool,
    fastest_ms: float,
) -> Device:
    """Return a device as strategies see it.

    Encodings are calibrated on one machine, which counts as fast as the fastest device of the fleet.
    """
    capabilities = state.capabilities
    own_ms = _profiled_ms(state, manifest)
    profile = None if math.isinf(own_ms) else state.profiles[manifest.model]
    return Device(
        block_ms={} if profile is None or is_excluded else {manifest.model: profile.block_ms},
        load_factor=load_factor,
        segment_overhead_ms=0.0 if profile is None else profile.segment_overhead_ms,
        memory_bytes=memory_bytes,
        power_idle_w=capabilities.power_idle_w,
        power_active_w=capabilities.power_active_w,
        power_tx_w=capabilities.power_tx_w,
        power_rx_w=capabilities.power_rx_w,
        codec_speed=fastest_ms / own_ms if profile is not None and fastest_ms > 0 else 1.0,
    )


def _load_factor(state: DeviceState, name: str, circumstances: Circumstances) -> float:
    return state.present_load_factor(circumstances.now_s) * slowdown(circumstances.busy_shares.get(name, 0.0))


def _memory(state: DeviceState, held: float, rejected: Sequence[Exclusion]) -> float | None:
    total = state.capabilities.memory_bytes
    bounds = [exclusion.memory_bytes - 1 for exclusion in rejected if exclusion.memory_bytes is not None]
    if total is not None:
        bounds.append(total - held)
    return max(0.0, min(bounds)) if bounds else None


def _links(online: Mapping[str, DeviceState]) -> Iterator[Link]:
    """Return the links between online devices; one that is dead in a direction is dead in both.

    A link given one way serves both (design section 5), so its dead direction alone cannot be left out.
    """
    dead = {
        frozenset((source, target))
        for source, state in online.items()
        for target, link in state.links.items()
        if link.bandwidth_mbps <= 0
    }
    for source, state in online.items():
        for target, link in state.links.items():
            if target in online and target != source and frozenset((source, target)) not in dead:
                yield Link(source, target, link.bandwidth_mbps, link.latency_ms)


def _takes_photographs(preprocessing: Preprocessing) -> bool:
    return preprocessing.kind == "image"


def _tensor_bytes(manifest: Manifest) -> float:
    return float(sum(math.prod(tensor.shape) * _BYTES_PER_VALUE.get(tensor.dtype, 4) for tensor in manifest.inputs))
