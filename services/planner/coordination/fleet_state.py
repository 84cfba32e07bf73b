"""State of the fleet: the snapshot, the library of models, missing profiles, and records of shadow checks."""

from services.planner.coordination.effects import DeleteDocument, Effect, Persist, command, retained
from services.planner.coordination.invariants import require
from services.planner.coordination.planner_store import Document, Kind
from services.planner.coordination.shadow_reports import FieldRecordKeeper
from services.planner.problems import profile_requests
from services.planner.problems.snapshot import Change, FieldRecordRestored, FleetSnapshot, ModelWithdrawn, apply
from shared.bus import topics
from shared.messages.calibration import Calibration, ShadowReport
from shared.messages.control import ProfileModel
from shared.messages.devices import Links, Telemetry
from shared.messages.models import Manifest


class FleetState:
    """Everything that the planner keeps of devices, links and models. Only the methods change it.

    `validate` checks what holds after every event:

    - Exactly those profiles are requested that streams need and online devices do not have.
    - Models in the library have a manifest.
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

    def model_stored(self, manifest: Manifest, now_s: float) -> list[Effect]:
        """Publish a model whose file has arrived in the library."""
        self._library.add(manifest.model)
        self.apply(manifest, now_s)
        document = Document(Kind.MANIFEST, manifest.model, manifest.encode())
        return [Persist(document), retained(topics.manifest(manifest.model), manifest)]

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
        self.apply(message, now_s)
        return [DeleteDocument(Kind.MANIFEST, message.model)] if in_library else []

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
        self._measurements = profile_requests.failed(self._measurements, (device, model), reason)

    def request_profiles(self, now_s: float) -> list[Effect]:
        """Ask devices for the profiles that are due."""
        self._measurements, due = profile_requests.take_due(self._measurements, now_s)
        manifests = self._snapshot.manifests
        return [command(topics.commands(device), ProfileModel(manifest=manifests[model])) for device, model in due]

    def republished(self) -> list[Effect]:
        """Return the retained messages of models in the library, and the calibrations of all models."""
        snapshot = self._snapshot
        manifests = [retained(topics.manifest(model), snapshot.manifests[model]) for model in sorted(self._library)]
        calibrations = [retained(topics.calibration(model), each) for model, each in snapshot.calibrations.items()]
        return [*manifests, *calibrations]

    def validate(self) -> None:
        """Check the invariants of the class.

        Raises:
            InvariantError: one is broken.
        """
        snapshot = self._snapshot
        missing = profile_requests.missing_profiles(snapshot)
        require(self._measurements.keys() == missing, "profile requests", "they are for missing profiles")
        require(self._library <= snapshot.manifests.keys(), "library", "its models have a manifest")
        known = {(model, place) for model, records in snapshot.shadows.items() for place in records}
        require(self._field_records.stored.keys() <= known, "shadow records", "those on disk are in the snapshot")
