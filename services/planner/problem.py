"""From a snapshot to the problem that a strategy solves, one stream at a time; or what is still missing. Pure."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.planner.snapshot import DeviceState, Snapshot
from shared.messages.models import Manifest, Preprocessing
from shared.messages.streams import PlanRoute, StreamDeclaration
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
        exclusions: rejected choices of all streams.
        measuring: devices that are measuring the stream's model and are worth waiting for.
    """

    now_s: float
    held_bytes: Mapping[str, float]
    exclusions: Sequence[Exclusion] = ()
    measuring: Collection[str] = ()


def build_problem(snapshot: Snapshot, name: str, circumstances: Circumstances) -> Problem | Waiting:
    """Return the problem of the stream called ``name``, or what it waits for.

    Offline devices leave the problem, and with them their links. Memory that other streams' segments hold is
    subtracted. The present segments of the stream itself are not: while a route changes, a device may hold both, and
    rejects the new one if it cannot.

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
    exclusions = [
        exclusion
        for exclusion in circumstances.exclusions
        if exclusion.stream == name and exclusion.model == manifest.model and exclusion.until_s > circumstances.now_s
    ]
    sink = declaration.sink if declaration.sink in online else None
    return Problem(
        models={manifest.model: model_of(manifest, input_bytes(snapshot, declaration, manifest))},
        devices={
            device: _device(state, manifest, circumstances, device, exclusions) for device, state in online.items()
        },
        links=tuple(_links(online)),
        streams=(
            Stream(
                name=name,
                model=manifest.model,
                source=declaration.source,
                sink=sink,
                jobs=declaration.jobs,
                rate_hz=declaration.rate_hz,
            ),
        ),
        policy=policy,
    )


def model_of(manifest: Manifest, request_bytes: float) -> Model:
    """Return the model as strategies see it: block 0 is `prepare`, its input the request's own bytes."""
    blocks = tuple(
        Block(
            name=block.name,
            output_bytes=block.output_bytes,
            flops=block.flops,
            parameter_bytes=block.parameter_bytes,
            activation_bytes=block.activation_bytes or None,
        )
        for block in manifest.blocks
    )
    return Model(input_bytes=request_bytes, blocks=blocks)


def input_bytes(snapshot: Snapshot, declaration: StreamDeclaration, manifest: Manifest) -> float:
    """Return the bytes of a request: as the source sees them, else a photograph's, else the input tensor's."""
    usage = snapshot.usage.get(declaration.stream)
    if usage is not None:
        return usage.input_bytes
    return DEFAULT_PHOTOGRAPH_BYTES if _takes_photographs(manifest.preprocessing) else _tensor_bytes(manifest)


def segment_bytes(manifest: Manifest, start: int, stop: int) -> float:
    """Return the memory of blocks ``[start, stop)``: their parameters plus the largest activation."""
    blocks = manifest.blocks[start:stop]
    working = max((block.activation_bytes or block.output_bytes for block in blocks), default=0)
    return sum(block.parameter_bytes for block in blocks) + working


def held_bytes(plans: Iterable[tuple[Manifest, Sequence[PlanRoute]]]) -> dict[str, float]:
    """Return what the segments of these plans hold on every device; one that plans or routes share counts once."""
    segments = {
        (stage.device, manifest.model, stage.start, stage.stop): manifest
        for manifest, routes in plans
        for route in routes
        for stage in route.stages
    }
    held: defaultdict[str, float] = defaultdict(float)
    for (device, _, start, stop), manifest in segments.items():
        held[device] += segment_bytes(manifest, start, stop)
    return dict(held)


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


def _device(
    state: DeviceState, manifest: Manifest, circumstances: Circumstances, name: str, exclusions: Sequence[Exclusion]
) -> Device:
    rejected = [exclusion for exclusion in exclusions if exclusion.device == name]
    capabilities = state.capabilities
    memory = _memory(capabilities.memory_bytes, circumstances.held_bytes.get(name, 0.0), rejected)
    profile = state.profiles.get(manifest.model)
    usable = profile is not None and profile_fault(state, manifest) is None
    excluded = any(exclusion.memory_bytes is None for exclusion in rejected)
    return Device(
        block_ms={manifest.model: profile.block_ms} if profile is not None and usable and not excluded else {},
        load_factor=state.present_load_factor(circumstances.now_s),
        segment_overhead_ms=profile.segment_overhead_ms if profile is not None else 0.0,
        memory_bytes=memory,
        power_idle_w=capabilities.power_idle_w,
        power_active_w=capabilities.power_active_w,
        power_tx_w=capabilities.power_tx_w,
        power_rx_w=capabilities.power_rx_w,
    )


def _memory(total: int | None, held: float, rejected: Sequence[Exclusion]) -> float | None:
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
