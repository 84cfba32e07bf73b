"""Problem that a strategy solves, built from a snapshot for one stream or for several together."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TypeVar

from planning.problem.problem import Device, Link, Problem, Stream
from services.planner.problems.corrections import NO_CORRECTIONS, Corrections, device_part, link_part
from services.planner.problems.groups import joint_policy
from services.planner.problems.readiness import profile_fault
from services.planner.problems.sharing import slowdown
from services.planner.problems.snapshot import NOISE, DeviceState, FleetSnapshot
from services.planner.problems.stream_models import input_bytes, model_of
from services.planner.problems.tiled_planning import TILE_OVERHEAD_MS, row_tables, runs_tiles, tiles_fault
from services.planner.problems.transports import links_in_force
from shared.messages.models import Manifest
from shared.messages.streams import StreamDeclaration
from shared.transport_mode import TransportMode

_Value = TypeVar("_Value")

# Separator in model keys: `<sha256>/<stream>`. A model is listed again for a stream whose requests have another size,
# whose segments a device has rejected, or which may not use the same devices in tiles.
VARIANT = "/"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A choice that a device has rejected, and that is not proposed again for a while.

    Attributes:
        stream: of the rejected plan.
        device: that rejected it.
        model: SHA-256 of the model.
        until_s: planner's clock at which it may be proposed again.
        reason: as the device gives it.
        memory_bytes: memory of the rejected segments, more than the device has; None excludes the device.
    """

    stream: str
    device: str
    model: str
    until_s: float
    reason: str
    memory_bytes: float | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """Influences on a problem that are not in the snapshot.

    Attributes:
        now_s: planner's clock.
        held_bytes: memory that the segments of streams outside the problem hold, by device.
        busy_shares: the share of its time that a device computes for streams outside the problem.
        exclusions: rejected choices of all streams.
        members_bytes: memory that the segments of the problem's own streams hold, by stream and device.
        corrections: of computing times and links, learned from measured latencies.
    """

    now_s: float
    held_bytes: Mapping[str, float]
    busy_shares: Mapping[str, float] = field(default_factory=dict)
    exclusions: Sequence[Exclusion] = ()
    members_bytes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    corrections: Corrections = NO_CORRECTIONS

    def load_factor(self, device: str, state: DeviceState) -> float:
        """Return the factor on the idle computing times of a device: its load, other streams, and its correction."""
        factor = state.present_load_factor(self.now_s) * slowdown(self.busy_shares.get(device, 0.0))
        return factor * self.corrections.factor(device_part(device), self.now_s)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A stream of the problem, with the key of its model and the devices that refuse to run it.

    Attributes:
        in_tiles: whether its stages may be split.
    """

    declaration: StreamDeclaration
    manifest: Manifest
    key: str
    input_bytes: float
    excluded: frozenset[str]
    in_tiles: bool


def build_problem(snapshot: FleetSnapshot, streams: Sequence[str], circumstances: Circumstances) -> Problem:
    """Return the problem of streams that are planned together; usually it has one stream.

    Offline devices and their links are left out. Memory that segments of other streams hold is subtracted, and the time
    that they compute slows a device down. Memory of the streams' own present segments is not subtracted. While a route
    changes, a device may have to hold both, and rejects the new segments if it cannot.

    Streams of one model share it, unless their requests differ in size or a device has rejected one of them. Then the
    model is listed again, with its SHA-256, ``/`` and the stream's name as the key.

    Args:
        snapshot: source of the streams; `readiness.missing` finds nothing missing for any of them.
        streams: names, at least one; their policies agree (`groups.terms`).
        circumstances: memory and time that other streams take, and rejected choices.
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
            models[entry.key] = model_of(
                entry.manifest, entry.input_bytes, calibration, policy, records, with_rows=entry.in_tiles
            )
    # Reference for the speed of encoding, of all online devices that have a profile.
    fastest_ms = {entry.key: min(_profiled_ms(state, entry.manifest) for state in online.values()) for entry in entries}
    return Problem(
        models=models,
        devices={
            name: _device(
                name,
                state,
                entries,
                fastest_ms,
                _memory(name, state, rejected, circumstances),
                circumstances.load_factor(name, state),
            )
            for name, state in online.items()
        },
        links=tuple(_links(online, policy.transport, circumstances)),
        streams=tuple(_stream(entry, snapshot, online, is_alone=len(streams) == 1) for entry in entries),
        policy=policy,
    )


def own_problem(problem: Problem, stream: str) -> Problem:
    """Return the part of a problem that concerns one stream, with the plain SHA-256 as the key of its model."""
    own = problem.stream(stream)
    if len(problem.streams) == 1:
        return problem
    key, (model, _, _) = own.model, own.model.partition(VARIANT)
    devices = {
        name: replace(
            device,
            block_ms=_renamed(device.block_ms, key, model),
            row_ms=_renamed(device.row_ms, key, model),
            untiled_models=(model,) if key in device.untiled_models else (),
        )
        for name, device in problem.devices.items()
    }
    return replace(problem, models={model: problem.models[key]}, devices=devices, streams=(replace(own, model=model),))


def _renamed(by_model: Mapping[str, _Value], key: str, model: str) -> Mapping[str, _Value]:
    return {model: by_model[key]} if key in by_model else {}


def _concerns(exclusion: Exclusion, snapshot: FleetSnapshot, streams: Sequence[str]) -> bool:
    if exclusion.stream not in streams:
        return False
    manifest = snapshot.manifest_of(snapshot.streams[exclusion.stream])
    return manifest is not None and manifest.model == exclusion.model


def _entries(snapshot: FleetSnapshot, streams: Sequence[str], rejected: Sequence[Exclusion]) -> list[_Entry]:
    entries: list[_Entry] = []
    for name in streams:
        declaration = snapshot.streams[name]
        manifest = snapshot.manifest_of(declaration)
        if manifest is None:
            raise ValueError(f"stream {name}: model {declaration.model} is not in the library")
        size_bytes = input_bytes(snapshot, declaration, manifest)
        excluded = frozenset(each.device for each in rejected if each.stream == name and each.memory_bytes is None)
        in_tiles = tiles_fault(snapshot, name) is None
        alike = [entry for entry in entries if entry.manifest.model == manifest.model]
        # The first stream of a model has the plain key, so that problems of one stream have no variants.
        key = manifest.model if not alike else f"{manifest.model}{VARIANT}{name}"
        for entry in alike:
            if entry.manifest.blocks != manifest.blocks or entry.manifest.inputs != manifest.inputs:
                continue
            if (entry.excluded, entry.in_tiles) == (excluded, in_tiles) and math.isclose(
                entry.input_bytes, size_bytes, rel_tol=NOISE
            ):
                key = entry.key
        entries.append(_Entry(declaration, manifest, key, size_bytes, excluded, in_tiles))
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
        # Alone, the deadline is that of the problem's policy. The terms of a group contain none.
        deadline_ms=None if is_alone else snapshot.policy(declaration.stream).deadline_ms,
    )


def _profiled_ms(state: DeviceState, manifest: Manifest) -> float:
    """Return the idle time of the whole model; infinity if the device cannot run all of it."""
    profile = state.profile(manifest)
    if profile is None or profile_fault(state, manifest) is not None or profile.refusals:
        return math.inf
    return sum(profile.block_ms)


def _device(
    name: str,
    state: DeviceState,
    entries: Sequence[_Entry],
    fastest_ms: Mapping[str, float],
    memory_bytes: float | None,
    load_factor: float,
) -> Device:
    """Return a device of the problem.

    Encodings are calibrated on one machine, which is assumed to be as fast as the fastest device of the fleet. A device
    that runs the model n times slower is assumed to encode n times slower. For several models, the mean factor and the
    mean overhead of a segment count.
    """
    capabilities = state.capabilities
    profiles = {
        entry.key: profile
        for entry in entries
        if (profile := state.profile(entry.manifest)) is not None and profile_fault(state, entry.manifest) is None
    }
    # A device that cannot run the whole model cannot be compared, and counts as fast.
    own_ms = {key: sum(profile.block_ms) for key, profile in profiles.items() if not profile.refusals}
    speeds = [fastest_ms[key] / taken_ms for key, taken_ms in own_ms.items() if fastest_ms[key] > 0]
    overheads_ms = [profile.segment_overhead_ms for profile in profiles.values()]
    return Device(
        block_ms={
            entry.key: profiles[entry.key].block_ms
            for entry in entries
            if entry.key in profiles and name not in entry.excluded
        },
        row_ms={
            entry.key: row_tables(profiles[entry.key], entry.manifest)
            for entry in entries
            if entry.in_tiles and entry.key in profiles and name not in entry.excluded
        },
        untiled_models=tuple(
            key for key, profile in profiles.items() if not (runs_tiles(state) and profile.row_times is not None)
        ),
        load_factor=load_factor,
        segment_overhead_ms=fmean(overheads_ms) if overheads_ms else 0.0,
        tile_overhead_ms=TILE_OVERHEAD_MS,
        memory_bytes=memory_bytes,
        power_idle_w=capabilities.power_idle_w,
        power_active_w=capabilities.power_active_w,
        power_tx_w=capabilities.power_tx_w,
        power_rx_w=capabilities.power_rx_w,
        codec_speed=fmean(speeds) if speeds else 1.0,
    )


def _memory(name: str, state: DeviceState, rejected: Sequence[Exclusion], circumstances: Circumstances) -> float | None:
    """Return the memory that the problem's streams may hold together on a device; None if there is no bound."""
    total = state.capabilities.memory_bytes
    bounds = [] if total is None else [total - circumstances.held_bytes.get(name, 0.0)]
    for exclusion in rejected:
        if exclusion.device == name and exclusion.memory_bytes is not None:
            # The rejected segments did not fit beside those of the other streams: the bound is less than both.
            others = (held for stream, held in circumstances.members_bytes.items() if stream != exclusion.stream)
            bounds.append(exclusion.memory_bytes - 1 + sum(held.get(name, 0.0) for held in others))
    return max(0.0, min(bounds)) if bounds else None


def _links(
    online: Mapping[str, DeviceState], mode: TransportMode | None, circumstances: Circumstances
) -> Iterator[Link]:
    """Yield the links between online devices. A link that is dead in one direction is dead in both.

    In a problem, a link that is given in one direction serves both, so a dead direction alone cannot be left out.
    """
    links = list(links_in_force(online, mode))
    dead = {frozenset((source, target)) for source, target, link in links if link.bandwidth_mbps <= 0}
    for source, target, link in links:
        if frozenset((source, target)) not in dead:
            factor = circumstances.corrections.factor(link_part(source, target), circumstances.now_s)
            yield Link(source, target, link.bandwidth_mbps / factor, factor * link.latency_ms)
