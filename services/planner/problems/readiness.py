"""Preconditions of planning a stream, and the reasons of those that are not met."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from services.planner.problems.snapshot import DeviceState, FleetSnapshot
from shared.messages.devices import Profile
from shared.messages.models import Manifest


@dataclass(frozen=True, slots=True)
class Waiting:
    """A stream cannot be planned yet.

    Attributes:
        reasons: every reason as text.
        is_refused: whether waiting is of no use, because every device that is there has refused the model or a block.
    """

    reasons: tuple[str, ...]
    is_refused: bool = False


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
    is_refused = len(reasons) == 1 and not measuring and _all_answered(snapshot, stream)
    return Waiting(reasons, is_refused) if reasons else None


def _all_answered(snapshot: FleetSnapshot, stream: str) -> bool:
    """Return whether source and model are there, and every permitted device has measured or refused the model."""
    declaration = snapshot.streams[stream]
    manifest = snapshot.manifest_of(declaration)
    if manifest is None or not snapshot.device(declaration.source).online:
        return False
    permits = snapshot.policy(stream).devices.permits
    permitted = [state for name, state in snapshot.devices.items() if state.online and permits(name)]
    return bool(permitted) and all(_has_answered(state, manifest) for state in permitted)


def _has_answered(state: DeviceState, manifest: Manifest) -> bool:
    profile = state.profile(manifest)
    return profile is not None and (bool(profile.refusals) or profile_fault(state, manifest) is None)


def profile_fault(state: DeviceState, manifest: Manifest) -> str | None:
    """Return why the device cannot run the model in a plan; None if it can."""
    profile = state.profile(manifest)
    if profile is None:
        return "its profile is missing"
    if profile.refusals and not _runnable(profile, manifest):
        return "; ".join(dict.fromkeys(refusal.reason for refusal in profile.refusals))
    if len(profile.block_ms) != len(manifest.blocks):
        return f"its profile has {len(profile.block_ms)} blocks, the model {len(manifest.blocks)}"
    return None


def _reasons(snapshot: FleetSnapshot, stream: str, measuring: Collection[str]) -> Iterator[str]:
    declaration = snapshot.streams[stream]
    source = snapshot.devices.get(declaration.source)
    if source is None or not source.online:
        yield f"source device {declaration.source} is {'unknown' if source is None else _absence(source)}"
    manifest = snapshot.manifest_of(declaration)
    if manifest is None:
        version = f" in version {declaration.version}" if declaration.version else ""
        yield f"model {declaration.model} is not in the library{version}"
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
        yet = "" if _all_answered(snapshot, stream) else " yet"
        yield f"no device can run model {manifest.name}{yet} ({'; '.join(causes) or 'the policy allows none'})"
        return
    runners = {
        name: profile
        for name, state in sorted(permitted.items())
        if state.online and (profile := state.profile(manifest)) is not None and profile_fault(state, manifest) is None
    }
    yield from _orphans(runners, manifest)


def _orphans(profiles: Mapping[str, Profile], manifest: Manifest) -> Iterator[str]:
    """Yield why a block can run on none of the devices that run others; one reason for the first such block."""
    for block in range(len(manifest.blocks)):
        reasons = {name: _refusal(profile, block) for name, profile in profiles.items()}
        if all(reasons.values()):
            causes = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            yield f"no device can run block {block} ({manifest.blocks[block].name}) of model {manifest.name} ({causes})"
            return


def _refusal(profile: Profile, block: int) -> str | None:
    """Return why a device cannot run a block; None if it can."""
    return next((each.reason for each in profile.refusals if each.start <= block < each.stop), None)


def _runnable(profile: Profile, manifest: Manifest) -> bool:
    """Return whether a device can run a block of the model beside `prepare`."""
    return any(
        _refusal(profile, block) is None for block in range(min(1, len(manifest.blocks) - 1), len(manifest.blocks))
    )


def _fault(state: DeviceState, manifest: Manifest) -> str:
    return (profile_fault(state, manifest) or "ready") if state.online else _absence(state)


def _absence(state: DeviceState) -> str:
    return f"offline: {state.trouble}" if state.trouble else "offline"
