"""Which devices are asked to measure which models, and when again. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from services.planner.problems.readiness import profile_fault
from services.planner.problems.snapshot import FleetSnapshot

GRACE_S = 0.5
"""A device that has just connected may have its profile on the way."""
FIRST_REPEAT_S = 60.0
LONGEST_REPEAT_S = 900.0
PATIENCE_S = 120.0
"""How long a first plan waits for a device that measures."""

Pair = tuple[str, str]
"""Device, and SHA-256 of the model."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """A profile that is missing.

    Attributes:
        boot_id: of the device when it was first asked.
        wanted_since_s: when it was first missed.
        next_at_s: when the device is to be asked, or asked again.
        asked: how often it was.
        failure: what the device said when it could not; empty if it did not.
    """

    boot_id: str
    wanted_since_s: float
    next_at_s: float
    asked: int = 0
    failure: str = ""


Measurements = Mapping[Pair, Measurement]


def wanted_profiles(snapshot: FleetSnapshot) -> frozenset[Pair]:
    """Return what is missing: of every stream's model, on every online device that its policy permits."""
    wanted: set[Pair] = set()
    for name, declaration in snapshot.streams.items():
        manifest = snapshot.resolve(declaration.model)
        if manifest is None:
            continue
        permits = snapshot.policy(name).devices.permits
        wanted |= {
            (device, manifest.model)
            for device, state in snapshot.devices.items()
            if state.online and permits(device) and profile_fault(state, manifest) is not None
        }
    return frozenset(wanted)


def update(measurements: Measurements, snapshot: FleetSnapshot, now_s: float) -> Measurements:
    """Return the measurements that are missing now; a device that was restarted is asked afresh."""
    current: dict[Pair, Measurement] = {}
    for device, model in wanted_profiles(snapshot):
        known = measurements.get((device, model))
        boot_id = snapshot.device(device).boot_id
        if known is None or known.boot_id != boot_id:
            known = Measurement(boot_id, now_s, now_s + GRACE_S)
        current[device, model] = known
    return current


def take_due(measurements: Measurements, now_s: float) -> tuple[Measurements, tuple[Pair, ...]]:
    """Return the measurements after asking those that are due, and which these are."""
    due = tuple(sorted(pair for pair, each in measurements.items() if each.next_at_s <= now_s))
    asked = {pair: _asked(measurements[pair], now_s) for pair in due}
    return {**measurements, **asked}, due


def failed(measurements: Measurements, pair: Pair, reason: str) -> Measurements:
    """Return the measurements after a device has said that it cannot."""
    known = measurements.get(pair)
    return measurements if known is None else {**measurements, pair: replace(known, failure=reason)}


def measuring(measurements: Measurements, model: str, now_s: float) -> Collection[str]:
    """Return the devices whose profile of ``model`` a first plan should wait for."""
    return [
        device
        for (device, wanted), each in measurements.items()
        if wanted == model and not each.failure and now_s - each.wanted_since_s < PATIENCE_S
    ]


def next_due_s(measurements: Measurements) -> float:
    """Return when somebody is to be asked next; infinity if nobody."""
    return min((each.next_at_s for each in measurements.values()), default=float("inf"))


def _asked(measurement: Measurement, now_s: float) -> Measurement:
    pause_s = min(LONGEST_REPEAT_S, FIRST_REPEAT_S * 2.0 ** min(measurement.asked, 10))
    return replace(measurement, asked=measurement.asked + 1, next_at_s=now_s + pause_s)
