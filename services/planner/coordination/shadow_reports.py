"""Reports of shadow checks: encodings that they withdraw from streams, and the records on disk.

A shadow check runs the rest of a model on a feature map with and without its lossy encoding, and compares the outputs.
"""

from collections.abc import Iterator, Mapping

from pydantic import TypeAdapter, ValidationError

from services.planner.coordination.effects import DeleteDocument, Effect, Persist
from services.planner.coordination.planner_store import Document, Kind
from services.planner.problems.allowed_encodings import FieldRecord, Place, place_of, withdrawals
from services.planner.problems.snapshot import FieldRecordRestored, FleetSnapshot
from shared.messages.calibration import ShadowReport

# Shortest time between two writes of the same record, however often reports come.
KEEP_EVERY_S = 10.0

_RECORD = TypeAdapter(FieldRecordRestored)


def withdrawn(before: FleetSnapshot, after: FleetSnapshot, report: ShadowReport) -> Iterator[tuple[str, str]]:
    """Yield every stream from which the report withdraws encodings, and one line for people.

    Args:
        before: snapshot without the report.
        after: snapshot with it.
        report: of a device.
    """
    calibration = after.calibrations.get(report.model)
    if calibration is None:
        return
    records = before.shadows.get(report.model, {}), after.shadows[report.model]
    for stream, declaration in after.streams.items():
        manifest = after.manifest_of(declaration)
        if manifest is None or manifest.model != report.model:
            continue
        gone = [codec for _, codec in withdrawals(calibration, after.policy(stream), *records)]
        if gone:
            place = f"behind block {report.block} of {manifest.name}"
            yield stream, f"stream {stream}: {', '.join(gone)} {place} does worse in the field than its policy allows"


class FieldRecordKeeper:
    """Records of shadow checks on disk, and those that have changed since they were written. Only methods change it.

    A write is due exactly while a report was noted after the last write.
    """

    def __init__(self) -> None:
        """Start without records."""
        self._stored: dict[tuple[str, Place], FieldRecord] = {}
        self._changed: set[tuple[str, Place]] = set()
        self._due_at_s = float("inf")

    @property
    def stored(self) -> Mapping[tuple[str, Place], FieldRecord]:
        """The records on disk, by model and place."""
        return self._stored

    def restored(self, change: FieldRecordRestored) -> None:
        """Note a record that was read from disk."""
        self._stored[change.model, change.place] = change.record

    def note(self, report: ShadowReport, now_s: float, *, is_urgent: bool) -> None:
        """Note a change of a record. A report that withdraws an encoding is urgent: the next `take_due` writes it."""
        self._changed.add((report.model, place_of(report.block, report.codec)))
        self._due_at_s = min(self._due_at_s, now_s if is_urgent else now_s + KEEP_EVERY_S)

    def take_due(self, snapshot: FleetSnapshot, now_s: float) -> list[Effect]:
        """Return the writes that are due."""
        if now_s < self._due_at_s:
            return []
        effects: list[Effect] = []
        for model, place in sorted(self._changed):
            record = snapshot.shadows.get(model, {}).get(place)
            # None if a new calibration has voided the record since. The newest reports may repeat the oldest.
            if record is not None and record != self._stored.get((model, place)):
                self._stored[model, place] = record
                value = _RECORD.dump_json(FieldRecordRestored(model, place, record))
                effects.append(Persist(Document(Kind.SHADOW, _key(model, place), value)))
        self._changed.clear()
        self._due_at_s = float("inf")
        return effects

    def forget(self, model: str) -> list[Effect]:
        """Return the removal of a model's records, which a new calibration voids."""
        void = [key for key in self._stored if key[0] == model]
        self._changed = {key for key in self._changed if key[0] != model}
        for key in void:
            del self._stored[key]
        return [DeleteDocument(Kind.SHADOW, _key(*key)) for key in void]


def read_record(document: bytes) -> FieldRecordRestored:
    """Read a record from its document.

    Raises:
        ValueError: the document is no such record.
    """
    try:
        return _RECORD.validate_json(document)
    except ValidationError as error:
        raise ValueError(str(error)) from error


def _key(model: str, place: Place) -> str:
    block, codec = place
    return f"{model}/{block}/{codec}"
