"""Snapshot of the fleet: devices, links, profiles, models, streams and policies; immutable."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from services.planner.problems.allowed_encodings import FieldRecord, Place, place_of
from shared.engine_limits import engine_refusals, with_refusals
from shared.messages.calibration import Calibration, ShadowReport
from shared.messages.devices import Capabilities, LinkEstimate, Links, Presence, Profile, State, Telemetry
from shared.messages.models import Manifest, ModelVersion
from shared.messages.streams import CommittedPlan, StreamDeclaration, StreamUsage
from shared.policy import Policy
from shared.transport_mode import Carrier

# Age from which a load factor is ignored: the device then counts as idle.
TELEMETRY_STALE_AFTER_S = 60.0
# Profiles of one model that a device keeps here: of as many graphs, which differ in cuts or input shapes.
_MAX_PROFILES = 8
# Relative change below which a measured value counts as unchanged when the cause of a reroute is sought.
NOISE = 0.02

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class LinkState:
    """One directed link as the sender's monitor has measured it; ``changed_at_s`` is the planner's clock."""

    bandwidth_mbps: float
    latency_ms: float
    changed_at_s: float


@dataclass(frozen=True, slots=True)
class DeviceState:
    """State of a device.

    Attributes:
        online: its executor is connected.
        presence_changed_at_s: planner's clock at the last change of ``online``; None if only its monitor has reported.
        boot_id: of its executor's process.
        capabilities: of its executor.
        trouble: why it is offline, if that is known.
        load_factor: computing time relative to an idle device, from the last telemetry.
        load_heard_at_s: planner's clock at the last telemetry; None if there was none.
        load_changed_at_s: planner's clock at the telemetry that last changed the load factor.
        links: from this device through the broker, by target.
        direct_links: from this device over direct connections, by target.
        transports: of feature maps that it sends and takes.
        profiles: measured computing times, by model and `Manifest.graph_version`.
    """

    online: bool = False
    presence_changed_at_s: float | None = None
    boot_id: str = ""
    capabilities: Capabilities = field(default_factory=Capabilities)
    trouble: str = ""
    load_factor: float = 1.0
    load_heard_at_s: float | None = None
    load_changed_at_s: float | None = None
    links: Mapping[str, LinkState] = field(default_factory=dict)
    direct_links: Mapping[str, LinkState] = field(default_factory=dict)
    transports: tuple[str, ...] = (Carrier.MQTT.value,)
    profiles: Mapping[tuple[str, str], Profile] = field(default_factory=dict)

    def profile(self, manifest: Manifest) -> Profile | None:
        """Return the profile of a model as a manifest describes it; None if there is none.

        It refuses what the device's engine lacks, also before the device has tried.
        """
        # Old executors do not say by which manifest they have measured.
        current = self.profiles.get((manifest.model, manifest.graph_version()))
        measured = current or self.profiles.get((manifest.model, ""))
        return with_refusals(measured, engine_refusals(self.capabilities, manifest), manifest)

    def present_load_factor(self, now_s: float) -> float:
        """Return the load factor; 1 if the last telemetry is older than `TELEMETRY_STALE_AFTER_S`."""
        if self.load_heard_at_s is None or now_s - self.load_heard_at_s > TELEMETRY_STALE_AFTER_S:
            return 1.0
        return self.load_factor


@dataclass(frozen=True, slots=True)
class ModelWithdrawn:
    """A manifest has been removed."""

    model: str


@dataclass(frozen=True, slots=True)
class VersionWithdrawn:
    """A version of a model has been removed."""

    model: str
    version: str


@dataclass(frozen=True, slots=True)
class PolicySet:
    """A policy that has been accepted; None for the default one."""

    stream: str
    policy: Policy | None


@dataclass(frozen=True, slots=True)
class FieldRecordRestored:
    """The record of shadow checks on one place, as it was stored before a restart."""

    model: str
    place: Place
    record: FieldRecord


# Everything that changes a snapshot: messages, and decisions of the planner itself.
Change = (
    Presence
    | Telemetry
    | Links
    | Profile
    | Manifest
    | ModelWithdrawn
    | ModelVersion
    | VersionWithdrawn
    | Calibration
    | ShadowReport
    | FieldRecordRestored
    | StreamDeclaration
    | StreamUsage
    | PolicySet
)


@dataclass(frozen=True, slots=True)
class FleetSnapshot:
    """The fleet at one moment.

    Of manifests with one name, the newest comes last in ``manifests``. Its keys are SHA-256 digests, and those of
    ``versions`` are digests of whole manifests.
    """

    devices: Mapping[str, DeviceState] = field(default_factory=dict)
    manifests: Mapping[str, Manifest] = field(default_factory=dict)
    versions: Mapping[str, ModelVersion] = field(default_factory=dict)
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    shadows: Mapping[str, Mapping[Place, FieldRecord]] = field(default_factory=dict)
    streams: Mapping[str, StreamDeclaration] = field(default_factory=dict)
    policies: Mapping[str, Policy] = field(default_factory=dict)
    usage: Mapping[str, StreamUsage] = field(default_factory=dict)

    def device(self, name: str) -> DeviceState:
        """Return the state of a device; that of an offline one if its name is unknown."""
        return self.devices.get(name, DeviceState())

    def policy(self, stream: str) -> Policy:
        """Return the policy in force for a stream; the default policy if none was set."""
        return self.policies.get(stream, Policy())

    def manifest_of(self, declaration: StreamDeclaration) -> Manifest | None:
        """Return the manifest of a stream's model: in the version that the stream keeps, else in the newest one."""
        if not declaration.version:
            return self.resolve(declaration.model)
        kept = self.versions.get(declaration.version)
        is_own = kept is not None and declaration.model in (kept.model, kept.manifest.name)
        return kept.manifest if kept is not None and is_own else None

    def manifest_under(self, plan: CommittedPlan) -> Manifest | None:
        """Return the manifest under which devices run a plan; None if it is not known."""
        kept = self.versions.get(plan.version)
        return self.manifests.get(plan.model) if kept is None else kept.manifest

    @property
    def described(self) -> tuple[Manifest, ...]:
        """The manifests of all models, the newest ones first, then their versions."""
        return (*self.manifests.values(), *(version.manifest for version in self.versions.values()))

    def resolve(self, model: str) -> Manifest | None:
        """Return the manifest of a SHA-256, else the newest manifest of that name, else None."""
        exact = self.manifests.get(model)
        if exact is not None:
            return exact
        return next((each for each in reversed(list(self.manifests.values())) if each.name == model), None)


def apply(snapshot: FleetSnapshot, change: Change, now_s: float) -> FleetSnapshot:
    """Return the snapshot after a change; unchanged parts are shared with the previous one.

    Args:
        snapshot: the previous one.
        change: a message, or a decision of the planner.
        now_s: planner's wall clock at which the change came.
    """
    match change:
        case Presence() | Telemetry() | Links() | Profile():
            device = _changed(snapshot.device(change.device), change, now_s)
            return replace(snapshot, devices=_put(snapshot.devices, change.device, device))
        case Manifest():
            # Removed first, so that a manifest that is published again comes last, as the newest of its name.
            return replace(snapshot, manifests=_put(_without(snapshot.manifests, change.model), change.model, change))
        case ModelWithdrawn():
            versions = {key: each for key, each in snapshot.versions.items() if each.model != change.model}
            return replace(snapshot, manifests=_without(snapshot.manifests, change.model), versions=versions)
        case ModelVersion():
            return replace(snapshot, versions=_put(snapshot.versions, change.version, change))
        case VersionWithdrawn():
            return replace(snapshot, versions=_without(snapshot.versions, change.version))
        case Calibration():
            return _calibrated(snapshot, change)
        case ShadowReport():
            place = place_of(change.block, change.codec)
            record = snapshot.shadows.get(change.model, {}).get(place, FieldRecord()).and_then(change)
            return _recorded(snapshot, change.model, place, record)
        case FieldRecordRestored(model, place, record):
            return _recorded(snapshot, model, place, record)
        case StreamDeclaration():
            return _declared(snapshot, change)
        case StreamUsage():
            return replace(snapshot, usage=_put(snapshot.usage, change.stream, change))
        case PolicySet(stream, policy):
            others = _without(snapshot.policies, stream)
            return replace(snapshot, policies=others if policy is None else _put(others, stream, policy))


def _changed(device: DeviceState, change: Presence | Telemetry | Links | Profile, now_s: float) -> DeviceState:
    match change:
        case Presence():
            return _present(device, change, now_s)
        case Telemetry():
            return _loaded(device, change, now_s)
        case Links():
            return _linked(device, change, now_s)
        case Profile():
            return _profiled(device, change)


def _profiled(device: DeviceState, profile: Profile) -> DeviceState:
    # The newest comes last; the oldest of the same model go.
    others = _without(device.profiles, (profile.model, profile.graph))
    same = [key for key in others if key[0] == profile.model]
    for key in same[: max(0, len(same) - _MAX_PROFILES + 1)]:
        others = _without(others, key)
    return replace(device, profiles=_put(others, (profile.model, profile.graph), profile))


def _present(device: DeviceState, presence: Presence, now_s: float) -> DeviceState:
    online = presence.state is State.ONLINE
    if not online and presence.boot_id and device.online and presence.boot_id != device.boot_id:
        # The last will of a process that has been replaced comes after the presence of the new one.
        return device
    changed_at_s = device.presence_changed_at_s if online == device.online else now_s
    if not online:
        return replace(device, online=False, presence_changed_at_s=changed_at_s, trouble=presence.trouble)
    return replace(
        device,
        online=True,
        trouble="",
        presence_changed_at_s=changed_at_s,
        boot_id=presence.boot_id,
        capabilities=presence.capabilities,
        transports=presence.transports,
    )


def _loaded(device: DeviceState, telemetry: Telemetry, now_s: float) -> DeviceState:
    known = device.load_changed_at_s is not None
    changed = not known or differs(device.load_factor, telemetry.load_factor)
    return replace(
        device,
        load_factor=telemetry.load_factor,
        load_heard_at_s=now_s,
        load_changed_at_s=now_s if changed else device.load_changed_at_s,
    )


def _linked(device: DeviceState, links: Links, now_s: float) -> DeviceState:
    def states(carrier: Carrier, known: Mapping[str, LinkState]) -> dict[str, LinkState]:
        return {
            link.target: _link_state(known.get(link.target), link, now_s)
            for link in links.links
            if link.transport is carrier
        }

    return replace(
        device,
        links=states(Carrier.MQTT, device.links),
        direct_links=states(Carrier.DIRECT, device.direct_links),
    )


def _link_state(before: LinkState | None, link: LinkEstimate, now_s: float) -> LinkState:
    changed = (
        before is None
        or differs(before.bandwidth_mbps, link.bandwidth_mbps)
        or differs(before.latency_ms, link.latency_ms)
    )
    changed_at_s = now_s if changed or before is None else before.changed_at_s
    return LinkState(link.bandwidth_mbps, link.latency_ms, changed_at_s)


def _calibrated(snapshot: FleetSnapshot, calibration: Calibration) -> FleetSnapshot:
    """Take a calibration; a new one voids the shadow checks that were made under the old one."""
    before = snapshot.calibrations.get(calibration.model)
    calibrations = _put(snapshot.calibrations, calibration.model, calibration)
    if before is None or before == calibration:
        return replace(snapshot, calibrations=calibrations)
    return replace(snapshot, calibrations=calibrations, shadows=_without(snapshot.shadows, calibration.model))


def _declared(snapshot: FleetSnapshot, stream: StreamDeclaration) -> FleetSnapshot:
    if stream.model:
        return replace(snapshot, streams=_put(snapshot.streams, stream.stream, stream))
    return replace(
        snapshot,
        streams=_without(snapshot.streams, stream.stream),
        policies=_without(snapshot.policies, stream.stream),
        usage=_without(snapshot.usage, stream.stream),
    )


def _recorded(snapshot: FleetSnapshot, model: str, place: Place, record: FieldRecord) -> FleetSnapshot:
    records = _put(snapshot.shadows.get(model, {}), place, record)
    return replace(snapshot, shadows=_put(snapshot.shadows, model, records))


def _put(mapping: Mapping[_Key, _Value], key: _Key, value: _Value) -> Mapping[_Key, _Value]:
    return {**mapping, key: value}


def _without(mapping: Mapping[_Key, _Value], key: _Key) -> Mapping[_Key, _Value]:
    return {name: value for name, value in mapping.items() if name != key}


def differs(before: float, after: float) -> bool:
    """Return whether a measured value has changed by more than `NOISE`."""
    return abs(before - after) > NOISE * max(abs(before), abs(after))
