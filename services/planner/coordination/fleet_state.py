"""State of the fleet: the snapshot, the library of models, missing profiles, and records of shadow checks."""

from collections.abc import Collection

from services.planner.coordination.effects import (
    DeleteDocument,
    DeleteModelFile,
    Effect,
    Persist,
    cleared,
    command,
    retained,
)
from services.planner.coordination.invariants import require
from services.planner.coordination.planner_store import Document, Kind
from services.planner.coordination.shadow_reports import FieldRecordKeeper
from services.planner.coordination.version_numbers import next_version, superfluous_versions
from services.planner.problems import profile_requests
from services.planner.problems.snapshot import (
    Change,
    FieldRecordRestored,
    FleetSnapshot,
    ModelWithdrawn,
    VersionWithdrawn,
    apply,
)
from shared.bus import topics
from shared.messages.calibration import Calibration, ShadowReport
from shared.messages.control import ProfileModel
from shared.messages.devices import Links, Telemetry
from shared.messages.models import Manifest, ModelVersion


class FleetState:
    """Everything that the planner keeps of devices, links and models. Only the methods change it.

    `validate` checks what holds after every event:

    - Exactly those profiles are requested that streams need and online devices do not have.
    - Models in the library have a manifest, and a version for it.
    - A stored record of shadow checks is in the snapshot, too.
    """

    def __init__(self) -> None:
        """Start with an empty fleet."""
        self._snapshot = FleetSnapshot()
        self._measurements: profile_requests.Measurements = {}
        self._library: set[str] = set()
        self._field_records = FieldRecordKeeper()

    @property
    def snapshot(self) -> FleetSnapshot:
        """The present view of devices, links, models, streams and policies."""
        return self._snapshot

    @property
    def measurements(self) -> profile_requests.Measurements:
        """Profiles that are missing, and when devices are asked for them."""
        return self._measurements

    @property
    def next_request_at_s(self) -> float:
        """Time at which the next device is asked for a profile; infinity if none is."""
        return profile_requests.next_due_s(self._measurements)

    def apply(self, change: Change, now_s: float) -> None:
        """Take a change of the fleet into the snapshot, and update the missing profiles."""
        self._snapshot = apply(self._snapshot, change, now_s)
        # These come often, and no profile is missing because of them.
        if not isinstance(change, Telemetry | Links | ShadowReport | FieldRecordRestored | Calibration):
            self._measurements = profile_requests.update(self._measurements, self._snapshot, now_s)

    def restore(self, change: Change, now_s: float) -> None:
        """Take a change that is on disk."""
        if isinstance(change, FieldRecordRestored):
            self._field_records.restored(change)
        if isinstance(change, Manifest):
            self._library.add(change.model)
        self.apply(change, now_s)

    def model_stored(self, manifest: Manifest, now_s: float, in_use: Collection[str]) -> list[Effect]:
        """Publish a model whose file has arrived in the library, and keep its description as a version.

        Args:
            manifest: of the model.
            now_s: planner's clock.
            in_use: versions that streams run or keep; they are not dropped for it.
        """
        self._library.add(manifest.model)
        self.apply(manifest, now_s)
        version = next_version(self._snapshot, manifest, now_s)
        self.apply(version, now_s)
        effects: list[Effect] = [
            Persist(Document(Kind.MANIFEST, manifest.model, manifest.encode())),
            retained(topics.manifest(manifest.model), manifest),
            Persist(Document(Kind.VERSION, version.version, version.encode())),
            retained(topics.model_version(version.model, version.version), version),
        ]
        for superfluous in superfluous_versions(self._snapshot, manifest.name, in_use):
            effects += self._drop_version(superfluous, now_s)
        return effects

    def number_versions(self, now_s: float) -> None:
        """Make versions of those manifests in the library that an old planner has stored without one."""
        for model in sorted(self._library):
            manifest = self._snapshot.manifests[model]
            if manifest.version() not in self._snapshot.versions:
                self.apply(next_version(self._snapshot, manifest, now_s), now_s)

    def version_seen(
        self, message: ModelVersion | VersionWithdrawn, now_s: float, in_use: Collection[str], *, own: bool
    ) -> list[Effect]:
        """Take a retained version, or its removal.

        An own version is new only after the database was lost. One of another client is replaced or cleared. An
        operator removes a version by clearing its topic. One that is in use is published again.
        """
        known = self._snapshot.versions.get(message.version)
        topic = topics.model_version(message.model, message.version)
        if isinstance(message, ModelVersion):
            if own and known is None:
                self.apply(message, now_s)
                return [Persist(Document(Kind.VERSION, message.version, message.encode()))]
            if own or message == known:
                return []
            return [cleared(topic) if known is None or known.model != message.model else retained(topic, known)]
        if own or known is None or known.model != message.model:
            return []
        current = self._snapshot.manifests.get(known.model)
        if known.version in in_use or (current is not None and current.version() == known.version):
            return [retained(topic, known)]
        return self._drop_version(known, now_s)

    def _drop_version(self, version: ModelVersion, now_s: float) -> list[Effect]:
        self.apply(VersionWithdrawn(version.model, version.version), now_s)
        topic = topics.model_version(version.model, version.version)
        effects: list[Effect] = [DeleteDocument(Kind.VERSION, version.version), cleared(topic)]
        file_id = version.manifest.file_id
        if all(manifest.file_id != file_id for manifest in self._snapshot.described):
            effects.append(DeleteModelFile(file_id))
        return effects

    def manifest_seen(self, message: Manifest | ModelWithdrawn, now_s: float, *, own: bool) -> list[Effect] | None:
        """Take a retained manifest, or its removal; return None if it changes nothing.

        Manifests of other providers do not replace those of the library. The planner's own removal changes nothing. A
        model is removed from the library by another client that clears its topic.
        """
        in_library = message.model in self._library
        is_ignored = in_library if isinstance(message, Manifest) else own
        if is_ignored:
            return None
        self._library.discard(message.model)
        versions = [each for each in self._snapshot.versions.values() if each.model == message.model]
        self.apply(message, now_s)
        if not in_library:
            return []
        effects: list[Effect] = [DeleteDocument(Kind.MANIFEST, message.model)]
        for version in versions:
            effects += self._drop_version(version, now_s)
        return effects

    def calibration_seen(self, calibration: Calibration, now_s: float, *, own: bool) -> list[Effect]:
        """Take the encodings of a model; a new calibration voids the records of shadow checks of the old one."""
        # The snapshot decides whether the calibration is a new one; whether it did so shows in the records.
        model, had_records = calibration.model, calibration.model in self._snapshot.shadows
        self.apply(calibration, now_s)
        is_void = had_records and model not in self._snapshot.shadows
        effects = self._field_records.forget(model) if is_void else []
        return effects if own else [*effects, Persist(Document(Kind.CALIBRATION, model, calibration.encode()))]

    def shadow_reported(self, report: ShadowReport, now_s: float, *, is_urgent: bool) -> list[Effect]:
        """Note that a record of shadow checks has changed, and write the records that are due.

        Args:
            report: applied to the snapshot already.
            now_s: planner's clock.
            is_urgent: the report withdraws an encoding, which has to survive a restart.
        """
        self._field_records.note(report, now_s, is_urgent=is_urgent)
        return self.write_field_records(now_s)

    def write_field_records(self, now_s: float) -> list[Effect]:
        """Write the records of shadow checks that are due."""
        return self._field_records.take_due(self._snapshot, now_s)

    def profile_failed(self, device: str, model: str, reason: str) -> None:
        """Stop waiting for a device that cannot measure a model."""
        self._measurements = profile_requests.failed(self._measurements, device, model, reason)

    def request_profiles(self, now_s: float) -> list[Effect]:
        """Ask devices for the profiles that are due."""
        self._measurements, due = profile_requests.take_due(self._measurements, now_s)
        manifests = profile_requests.missing_profiles(self._snapshot)
        return [
            command(topics.commands(key.device), ProfileModel(manifest=manifests[key], tiles=key.in_tiles))
            for key in due
        ]

    def republished(self) -> list[Effect]:
        """Return the retained messages of models in the library, and the calibrations of all models."""
        snapshot = self._snapshot
        manifests = [retained(topics.manifest(model), snapshot.manifests[model]) for model in sorted(self._library)]
        calibrations = [retained(topics.calibration(model), each) for model, each in snapshot.calibrations.items()]
        versions = [
            retained(topics.model_version(each.model, each.version), each) for each in snapshot.versions.values()
        ]
        return [*manifests, *versions, *calibrations]

    def validate(self) -> None:
        """Check the invariants of the class.

        Raises:
            InvariantError: one is broken.
        """
        snapshot = self._snapshot
        missing = profile_requests.missing_profiles(snapshot)
        require(self._measurements.keys() == missing.keys(), "profile requests", "they are for missing profiles")
        require(self._library <= snapshot.manifests.keys(), "library", "its models have a manifest")
        described = {snapshot.manifests[model].version() for model in self._library}
        require(described <= snapshot.versions.keys(), "library", "its manifests have a version")
        known = {(model, place) for model, records in snapshot.shadows.items() for place in records}
        require(self._field_records.stored.keys() <= known, "shadow records", "those on disk are in the snapshot")
