"""Reports of shadow checks, and the encodings that they withdraw."""

from dataclasses import replace

import pytest

from services.planner.coordination.effects import DeleteDocument, Effect, Persist
from services.planner.coordination.planner_store import Document, Kind
from services.planner.coordination.shadow_reports import KEEP_EVERY_S, FieldRecordKeeper, read_record, withdrawn
from services.planner.problems.allowed_encodings import FieldRecord
from services.planner.problems.snapshot import FieldRecordRestored, FleetSnapshot, PolicySet, apply
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration, ShadowReport
from shared.messages.models import Manifest, ManifestBlock
from shared.messages.streams import StreamDeclaration
from shared.policy import Policy

MODEL = "a" * 64
CODEC = CodecCalibration(codec="uint8", size_bytes=1, worst_size_bytes=1, top1_agreement=1.0)
CALIBRATION = Calibration(
    model=MODEL, blocks=(BlockCalibration(block=1, raw_bytes=4, codecs=(CODEC,)),), samples=3, measured_at_s=1.0
)
REPORT = ShadowReport(device="pi", model=MODEL, stream="strict", block=1, codec="uint8", top1_agreement=0.0)


def world() -> FleetSnapshot:
    changes = (
        Manifest(
            model=MODEL,
            name="net",
            size_bytes=1,
            inputs=(),
            outputs=(),
            blocks=(ManifestBlock(name="b", output_bytes=1),),
        ),
        CALIBRATION,
        StreamDeclaration(stream="strict", model="net", source="pi"),
        StreamDeclaration(stream="careless", model="net", source="pi"),
        StreamDeclaration(stream="other", model="gone", source="pi"),
        PolicySet("careless", Policy(codec="uint8")),
    )
    snapshot = FleetSnapshot()
    for change in changes:
        snapshot = apply(snapshot, change, 0.0)
    return snapshot


def test_streams_whose_policy_is_broken_lose_the_encoding_once() -> None:
    before = world()
    after = apply(before, REPORT, 1.0)
    ((stream, text),) = withdrawn(before, after, REPORT)
    assert stream == "strict"
    assert text == "stream strict: uint8 behind block 1 of net does worse in the field than its policy allows"
    assert [*withdrawn(after, apply(after, REPORT, 2.0), REPORT)] == []


def test_without_a_calibration_there_is_nothing_to_withdraw() -> None:
    before = replace(world(), calibrations={})
    assert [*withdrawn(before, apply(before, REPORT, 1.0), REPORT)] == []


def test_a_new_calibration_voids_the_records() -> None:
    snapshot = apply(world(), REPORT, 1.0)
    assert apply(snapshot, CALIBRATION, 2.0).shadows == snapshot.shadows
    assert apply(snapshot, CALIBRATION.model_copy(update={"measured_at_s": 2.0}), 2.0).shadows == {}


def kept(effects: list[Effect]) -> list[Document]:
    return [each.document for each in effects if isinstance(each, Persist)]


def test_reports_are_written_together_and_only_if_the_record_has_changed() -> None:
    keeper, snapshot = FieldRecordKeeper(), world()
    fine = REPORT.model_copy(update={"top1_agreement": 1.0})
    for second in range(5):
        snapshot = apply(snapshot, fine, float(second))
        keeper.note(fine, float(second), is_urgent=False)
        assert keeper.take_due(snapshot, float(second)) == []
    (document,) = kept(keeper.take_due(snapshot, KEEP_EVERY_S))
    restored = read_record(document.value)
    assert apply(world(), restored, 0.0).shadows == snapshot.shadows
    assert keeper.take_due(snapshot, 100.0) == []
    keeper.note(fine, 100.0, is_urgent=False)
    assert keeper.take_due(snapshot, 100.0 + KEEP_EVERY_S) == []


def test_a_withdrawal_is_written_at_once() -> None:
    keeper, snapshot = FieldRecordKeeper(), apply(world(), REPORT, 1.0)
    keeper.note(REPORT, 1.0, is_urgent=True)
    assert [each.kind for each in kept(keeper.take_due(snapshot, 1.0))] == [Kind.SHADOW]


def test_what_a_new_calibration_makes_void_is_removed() -> None:
    keeper, snapshot = FieldRecordKeeper(), apply(world(), REPORT, 1.0)
    keeper.restored(FieldRecordRestored(MODEL, (1, "uint8"), snapshot.shadows[MODEL][1, "uint8"]))
    keeper.restored(FieldRecordRestored("b" * 64, (1, "uint8"), FieldRecord()))
    keeper.note(REPORT, 1.0, is_urgent=False)
    assert keeper.forget(MODEL) == [DeleteDocument(Kind.SHADOW, f"{MODEL}/1/uint8")]
    assert keeper.take_due(snapshot, 100.0) == []
    assert keeper.forget(MODEL) == []


def test_what_is_no_record_is_not_read() -> None:
    with pytest.raises(ValueError, match="model"):
        read_record(b"{}")
