"""Encodings that turn out worse in the field than a stream's policy allows, and how that is remembered. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from services.planner.coordination.effects import DeleteDocument, Effect, Persist
from services.planner.coordination.planner_store import Document, Kind
from services.planner.problems.allowed_encodings import FieldRecord, Place, place_of, withdrawals
from services.planner.problems.snapshot import FieldRecordRestored, FleetSnapshot
from shared.messages.calibration import ShadowReport

KEEP_EVERY_S = 10.0
"""However often reports come, the record of a place is written to disk no more often."""

_RECORD = TypeAdapter(FieldRecordRestored)


def withdrawn(before: FleetSnapshot, after: FleetSnapshot, report: ShadowReport) -> Iterator[tuple[str, str]]:
    """Yield every stream from which the report withdraws encodings, and one line for people.

    Args:
        before: without the report.
        after: with it.
        report: what a device found.
    """
    calibration = after.calibrations.get(report.model)
    if calibration is None:
        return
    records = before.shadows.get(report.model, {}), after.shadows[report.model]
    for stream, declaration in after.streams.items():
        manifest = after.resolve(declaration.model)
        if manifest is None or manifest.model != report.model:
            continue
        gone = [codec for _, codec in withdrawals(calibration, after.policy(stream), *records)]
        if gone:
            place = f"behind block {report.block} of {manifest.name}"
            yield stream, f"stream {stream}: {', '.join(gone)} {place} does worse in the field than its policy allows"


@dataclass(slots=True)
class FieldRecordKeeper:
    """Which records of the field have changed since they were written to disk.

    Attributes:
        kept: as they are on disk, by model and place.
        changed: of which reports have come since.
        due_at_s: when those are to be written; infinity if nothing has changed.
    """

    kept: dict[tuple[str, Place], FieldRecord] = field(default_factory=dict)
    changed: set[tuple[str, Place]] = field(default_factory=set)
    due_at_s: float = float("inf")

    def restored(self, change: FieldRecordRestored) -> None:
        """Note a record that is on disk already."""
        self.kept[change.model, change.place] = change.record

    def note(self, report: ShadowReport, now_s: float, *, is_urgent: bool) -> None:
        """Note that a record has changed; one that withdraws an encoding is written with the next `take_due`."""
        self.changed.add((report.model, place_of(report.block, report.codec)))
        self.due_at_s = min(self.due_at_s, now_s if is_urgent else now_s + KEEP_EVERY_S)

    def take_due(self, snapshot: FleetSnapshot, now_s: float) -> list[Effect]:
        """Return what is to be written now."""
        if now_s < self.due_at_s:
            return []
        effects: list[Effect] = []
        for model, place in sorted(self.changed):
            record = snapshot.shadows.get(model, {}).get(place)
            if record is not None and record != self.kept.get((model, place)):
                self.kept[model, place] = record
                value = _RECORD.dump_json(FieldRecordRestored(model, place, record))
                effects.append(Persist(Document(Kind.SHADOW, _key(model, place), value)))
        self.changed.clear()
        self.due_at_s = float("inf")
        return effects

    def forget(self, model: str) -> list[Effect]:
        """Return what a new calibration makes void."""
        gone = [(known, place) for known, place in self.kept if known == model]
        self.changed = {each for each in self.changed if each[0] != model}
        for each in gone:
            del self.kept[each]
        return [DeleteDocument(Kind.SHADOW, _key(*each)) for each in gone]


def read_record(document: bytes) -> FieldRecordRestored:
    """Read what was written.

    Raises:
        ValueError: it is something else.
    """
    try:
        return _RECORD.validate_json(document)
    except ValidationError as error:
        raise ValueError(str(error)) from error


def _key(model: str, place: Place) -> str:
    block, codec = place
    return f"{model}/{block}/{codec}"
