"""Requests to devices for missing profiles: which model each is to measure, and when it is asked again."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from services.planner.problems.readiness import profile_fault
from services.planner.problems.snapshot import DeviceState, FleetSnapshot
from services.planner.problems.tiled_planning import unmeasured_tiles
from shared.engine_limits import engine_refusals
from shared.messages.models import Manifest

# Pause before the first request: the retained profile of a device that has just connected may be on its way.
GRACE_S = 0.5
# Pauses before a device is asked again; each is twice as long as the one before.
FIRST_REPEAT_S = 60.0
LONGEST_REPEAT_S = 900.0
# Time for which a first plan waits for a device that measures.
FIRST_PLAN_WAITS_S = 120.0


class ProfileKey(NamedTuple):
    """What a device has to measure.

    Attributes:
        device: its name.
        model: SHA-256 of the model.
        graph: `Manifest.graph_version`.
        in_tiles: whether tiles are missing, of a model that the device has measured.
    """

    device: str
    model: str
    graph: str
    in_tiles: bool = False


@dataclass(frozen=True, slots=True)
class Measurement:
    """A profile that is missing.

    Attributes:
        boot_id: process of the device's executor when the profile was first missing.
        missing_since_s: planner's clock.
        next_at_s: time of the next request.
        requests: sent so far.
        failure: reason of the device if it cannot measure; empty otherwise.
    """

    boot_id: str
    missing_since_s: float
    next_at_s: float
    requests: int = 0
    failure: str = ""


Measurements = Mapping[ProfileKey, Measurement]


def missing_profiles(snapshot: FleetSnapshot) -> Mapping[ProfileKey, Manifest]:
    """Return the missing profiles: of every stream's model, on every online device that its policy permits.

    A device whose engine cannot run the model is not asked to try. Tiles are missing where a stream may use them.
    """
    missing: dict[ProfileKey, Manifest] = {}
    for name, declaration in snapshot.streams.items():
        manifest = snapshot.manifest_of(declaration)
        if manifest is None:
            continue
        permits = snapshot.policy(name).devices.permits
        graph = manifest.graph_version()
        missing |= {
            ProfileKey(device, manifest.model, graph): manifest
            for device, state in snapshot.devices.items()
            if state.online
            and permits(device)
            and profile_fault(state, manifest) is not None
            and not _is_beyond_engine(state, manifest)
        }
        missing |= {
            ProfileKey(device, manifest.model, graph, in_tiles=True): manifest
            for device in unmeasured_tiles(snapshot, name)
        }
    return missing


def _is_beyond_engine(state: DeviceState, manifest: Manifest) -> bool:
    refusals = engine_refusals(state.capabilities, manifest)
    return sum(each.stop - each.start for each in refusals) >= max(1, len(manifest.blocks) - 1)


def update(measurements: Measurements, snapshot: FleetSnapshot, now_s: float) -> Measurements:
    """Return the measurements that are missing now; for a device that was restarted, the pauses start again."""
    current: dict[ProfileKey, Measurement] = {}
    for key, manifest in missing_profiles(snapshot).items():
        known = measurements.get(key)
        boot_id = snapshot.device(key[0]).boot_id
        # A new process has lost the request, and its failure may have ended with the old one.
        if known is None or known.boot_id != boot_id:
            known = Measurement(boot_id, now_s, now_s + GRACE_S)
        profile = snapshot.device(key[0]).profile(manifest)
        if profile is not None and profile.refusals:
            # The device has answered: it cannot run the model. It is asked again, but no plan waits for it.
            known = replace(known, failure=profile.refusals[0].reason)
        current[key] = known
    return current


def take_due(measurements: Measurements, now_s: float) -> tuple[Measurements, tuple[ProfileKey, ...]]:
    """Return the measurements after the due requests, and the profiles to request."""
    due = tuple(sorted(key for key, each in measurements.items() if each.next_at_s <= now_s))
    asked = {key: _asked(measurements[key], now_s) for key in due}
    return {**measurements, **asked}, due


def failed(measurements: Measurements, device: str, model: str, reason: str) -> Measurements:
    """Return the measurements after a device has reported that it cannot measure a model."""
    return {
        key: replace(each, failure=reason) if key[:2] == (device, model) else each for key, each in measurements.items()
    }


def measuring(
    measurements: Measurements, manifest: Manifest, now_s: float, *, waits_s: float = FIRST_PLAN_WAITS_S
) -> Collection[str]:
    """Return the devices that measure a model, by default those for whose profile a first plan waits.

    No plan waits for tiles.

    Args:
        measurements: that are missing.
        manifest: of the model.
        now_s: planner's clock.
        waits_s: devices whose profile has been missing for longer are left out.
    """
    wanted = (manifest.model, manifest.graph_version(), False)
    return [
        device
        for (device, *missing), each in measurements.items()
        if tuple(missing) == wanted and not each.failure and now_s - each.missing_since_s < waits_s
    ]


def next_due_s(measurements: Measurements) -> float:
    """Return the time of the next request; infinity if no profile is missing."""
    return min((each.next_at_s for each in measurements.values()), default=float("inf"))


def _asked(measurement: Measurement, now_s: float) -> Measurement:
    pause_s = min(LONGEST_REPEAT_S, FIRST_REPEAT_S * 2.0 ** min(measurement.requests, 10))
    return replace(measurement, requests=measurement.requests + 1, next_at_s=now_s + pause_s)
