"""Preconditions of planning a stream, and the reasons of those that are not met."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from services.planner.problems.snapshot import DeviceState, FleetSnapshot
from shared.messages.models import Manifest


@dataclass(frozen=True, slots=True)
class Waiting:
    """A stream cannot be planned yet; every reason is given as text."""

    reasons: tuple[str, ...]


def missing(snapshot: FleetSnapshot, stream: str, measuring: Collection[str] = ()) -> Waiting | None:
    """Return the preconditions that are missing; None if the stream can be planned.

    Args:
        snapshot: of the fleet.
        stream: name of a declared stream.
        measuring: devices that measure the stream's model, and for which it waits.

    Raises:
        KeyError: the snapshot has no such stream.
    """
    reasons = tuple(_reasons(snapshot, stream, measuring))
    return Waiting(reasons) if reasons else None


def profile_fault(state: DeviceState, manifest: Manifest) -> str | None:
    """Return why the device cannot run the model in a plan; None if it can."""
    profile = state.profiles.get(manifest.model)
    if profile is None:
        return "its profile is missing"
    if len(profile.block_ms) != len(manifest.blocks):
        return f"its profile has {len(profile.block_ms)} blocks, the model {len(manifest.blocks)}"
    return None


def _reasons(snapshot: FleetSnapshot, stream: str, measuring: Collection[str]) -> Iterator[str]:
    declaration = snapshot.streams[stream]
    source = snapshot.devices.get(declaration.source)
    if source is None or not source.online:
        yield f"source device {declaration.source} is {'unknown' if source is None else 'offline'}"
    manifest = snapshot.resolve(declaration.model)
    if manifest is None:
        yield f"model {declaration.model} is not in the library"
        # Profiles belong to a model: without it there is nothing more to check.
        return
    permits = snapshot.policy(stream).devices.permits
    yield from (
        f"device {device} is measuring model {manifest.name}"
        for device in sorted(measuring)
        if snapshot.device(device).online and permits(device)
    )
    permitted = {name: state for name, state in snapshot.devices.items() if permits(name)}
    if not any(state.online and profile_fault(state, manifest) is None for state in permitted.values()):
        causes = [f"{name}: {_fault(state, manifest)}" for name, state in sorted(permitted.items())]
        yield f"no device can run model {manifest.name} yet ({'; '.join(causes) or 'the policy allows none'})"


def _fault(state: DeviceState, manifest: Manifest) -> str:
    return (profile_fault(state, manifest) or "ready") if state.online else "offline"
