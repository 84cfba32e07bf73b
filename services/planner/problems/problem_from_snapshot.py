"""From a snapshot to the problem that a strategy solves: one stream's, or that of several together. Pure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from planning.problem.problem import Device, Link, Problem, Stream
from services.planner.problems.groups import joint_policy
from services.planner.problems.readiness import profile_fault
from services.planner.problems.sharing import slowdown
from services.planner.problems.snapshot import NOISE, DeviceState, FleetSnapshot
from services.planner.problems.stream_models import input_bytes, model_of
from shared.messages.models import Manifest
from shared.messages.streams import StreamDeclaration

VARIANT = "/"
"""Between the SHA-256 of a model and the stream for which it is listed once more."""


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
    """What else bears on a problem.

    Attributes:
        now_s: planner's clock.
        held_bytes: memory that the segments of streams outside the problem hold, by device.
        busy_shares: the share of its time that a device computes for streams outside the problem.
        exclusions: rejected choices of all streams.
        members_bytes: memory that the segments of the problem's own streams hold, by stream and device.
    """

    now_s: float
    held_bytes: Mapping[str, float]
    busy_shares: Mapping[str, float] = field(default_factory=dict)
    exclusions: Sequence[Exclusion] = ()
    members_bytes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A stream of the problem: ``key`` is its model's, ``excluded`` the devices that have rejected to run it."""

    declaration: StreamDeclaration
    manifest: Manifest
    key: str
    input_bytes: float
    excluded: frozenset[str]


def build_problem(snapshot: FleetSnapshot, streams: Sequence[str], circumstances: Circumstances) -> Problem:
    """Return the problem of streams that are planned together; most often it is one.

    Offline devices leave the problem, and with them their links. Memory that other streams' segments hold is
    subtracted, and the time they compute slows a device down. The present segments of the streams themselves are not:
    while a route changes, a device may hold both, and rejects the new one if it cannot.

    Streams of one model share it, unless their requests differ in size or a device has rejected one of them: then the
    model is there once more, under its SHA-256 followed by ``/`` and the stream's name.

    Args:
        snapshot: has the streams, and all that each needs (`readiness.missing`).
        streams: names, at least one; their policies agree (`groups.terms`).
        circumstances: what other streams take, and what was rejected.
    """
    policy = joint_policy([snapshot.policy(name) for name in streams])
    rejected = [
        exclusion
        for exclusion in circumstances.exclusions
        if exclusion.until_s > circumstances.now_s and _concerns(exclusion, snapshot, streams)
    ]
    entries = _entries(snapshot, streams, rejected)
    online = {device: state for device, state in snapshot.devices.items() if state.online}
    models = {}
    for entry in entries:
        model = entry.manifest.model
        calibration, records = snapshot.calibrations.get(model), snapshot.shadows.get(model)
        if entry.key not in models:
            models[entry.key] = model_of(entry.manifest, entry.input_bytes, calibration, policy, records)
    manifests = {entry.manifest.model: entry.manifest for entry in entries}
    fastest_ms = {
        model: min(_profiled_ms(state, manifest) for state in online.values()) for model, manifest in manifests.items()
    }
    return Problem(
        models=models,
        devices={
            name: _device(
                name,
                state,
                entries,
                fastest_ms,
                _memory(name, state, rejected, circumstances),
                state.present_load_factor(circumstances.now_s) * slowdown(circumstances.busy_shares.get(name, 0.0)),
            )
            for name, state in online.items()
        },
        links=tuple(_links(online)),
        streams=tuple(_stream(entry, snapshot, online, is_alone=len(streams) == 1) for entry in entries),
        policy=policy,
    )


def own_problem(problem: Problem, stream: str) -> Problem:
    """Return the problem of one stream of ``problem`` alone, its model under its SHA-256."""
    own = problem.stream(stream)
    if len(problem.streams) == 1:
        return problem
    key, (model, _, _) = own.model, own.model.partition(VARIANT)
    devices = {
        name: replace(device, block_ms={model: device.block_ms[key]} if key in device.block_ms else {})
        for name, device in problem.devices.items()
    }
    return replace(problem, models={model: problem.models[key]}, devices=devices, streams=(replace(own, model=model),))


def _concerns(exclusion: Exclusion, snapshot: FleetSnapshot, streams: Sequence[str]) -> bool:
    if exclusion.stream not in streams:
        return False
    manifest = snapshot.resolve(snapshot.streams[exclusion.stream].model)
    return manifest is not None and manifest.model == exclusion.model


def _entries(snapshot: FleetSnapshot, streams: Sequence[str], rejected: Sequence[Exclusion]) -> list[_Entry]:
    entries: list[_Entry] = []
    for name in streams:
        declaration = snapshot.streams[name]
        manifest = snapshot.resolve(declaration.model)
        if manifest is None:
            raise ValueError(f"stream {name}: model {declaration.model} is not in the library")
        size_bytes = input_bytes(snapshot, declaration, manifest)
        excluded = frozenset(each.device for each in rejected if each.stream == name and each.memory_bytes is None)
        alike = [entry for entry in entries if entry.manifest.model == manifest.model]
        key = manifest.model if not alike else f"{manifest.model}{VARIANT}{name}"
        for entry in alike:
            if entry.excluded == excluded and math.isclose(entry.input_bytes, size_bytes, rel_tol=NOISE):
                key = entry.key
        entries.append(_Entry(declaration, manifest, key, size_bytes, excluded))
    return entries


def _stream(entry: _Entry, snapshot: FleetSnapshot, online: Mapping[str, DeviceState], *, is_alone: bool) -> Stream:
    declaration = entry.declaration
    return Stream(
        name=declaration.stream,
        model=entry.key,
        source=declaration.source,
        sink=declaration.sink if declaration.sink in online else None,
        jobs=declaration.jobs,
        rate_hz=declaration.rate_hz,
        deadline_ms=None if is_alone else snapshot.policy(declaration.stream).deadline_ms,
    )


def _profiled_ms(state: DeviceState, manifest: Manifest) -> float:
    """Return the idle time of the whole model; infinity without a profile."""
    if profile_fault(state, manifest) is not None:
        return math.inf
    return sum(state.profiles[manifest.model].block_ms)


def _device(
    name: str,
    state: DeviceState,
    entries: Sequence[_Entry],
    fastest_ms: Mapping[str, float],
    memory_bytes: float | None,
    load_factor: float,
) -> Device:
    """Return a device as strategies see it.

    Encodings are calibrated on one machine, which counts as fast as the fastest device of the fleet. Of several models
    the mean counts, as for the overhead of a segment.
    """
    capabilities = state.capabilities
    known = [entry for entry in entries if profile_fault(state, entry.manifest) is None]
    profiles = {entry.manifest.model: state.profiles[entry.manifest.model] for entry in known}
    own_ms = {model: sum(profile.block_ms) for model, profile in profiles.items()}
    speeds = [fastest_ms[model] / taken_ms for model, taken_ms in own_ms.items() if fastest_ms[model] > 0]
    overheads_ms = [profile.segment_overhead_ms for profile in profiles.values()]
    return Device(
        block_ms={entry.key: profiles[entry.manifest.model].block_ms for entry in known if name not in entry.excluded},
        load_factor=load_factor,
        segment_overhead_ms=fmean(overheads_ms) if overheads_ms else 0.0,
        memory_bytes=memory_bytes,
        power_idle_w=capabilities.power_idle_w,
        power_active_w=capabilities.power_active_w,
        power_tx_w=capabilities.power_tx_w,
        power_rx_w=capabilities.power_rx_w,
        codec_speed=fmean(speeds) if speeds else 1.0,
    )


def _memory(name: str, state: DeviceState, rejected: Sequence[Exclusion], circumstances: Circumstances) -> float | None:
    """Return what the problem's streams may hold together on a device; None if there is no bound."""
    total = state.capabilities.memory_bytes
    bounds = [] if total is None else [total - circumstances.held_bytes.get(name, 0.0)]
    for exclusion in rejected:
        if exclusion.device == name and exclusion.memory_bytes is not None:
            fellows = (held for stream, held in circumstances.members_bytes.items() if stream != exclusion.stream)
            bounds.append(exclusion.memory_bytes - 1 + sum(held.get(name, 0.0) for held in fellows))
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
