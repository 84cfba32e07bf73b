"""Library, missing profiles, and records of shadow checks, in the planner's core."""

import pytest

from services.planner.coordination.effects import DeleteDocument, Persist
from services.planner.coordination.planner_store import Kind
from services.planner.coordination.shadow_reports import KEEP_EVERY_S
from services.planner.problems.snapshot import ModelWithdrawn
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration, ShadowReport
from shared.messages.control import ProfileFailed, ProfileModel, RejectionCause
from shared.messages.events import EventKind
from shared.messages.streams import StreamPhase
from tests.support.planner_bench import Bench, commands, events
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import declaration, load, presence


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def running(bench: Bench) -> Bench:
    bench.fleet()
    bench.obey()
    assert bench.status().state is StreamPhase.RUNNING
    bench.effects.clear()
    return bench


def test_the_librarys_manifest_is_not_overruled(bench: Bench) -> None:
    bench.take(bench.core.model_stored(manifest_of(), bench.now_s))
    bench.hear(manifest_of().model_copy(update={"name": "other", "provider": "elsewhere"}))
    assert bench.core.snapshot.manifests[MODEL].name == "net"
    assert bench.hear(ModelWithdrawn(MODEL)) == [DeleteDocument(Kind.MANIFEST, MODEL)]


def calibrated(measured_at_s: float = 1.0) -> Calibration:
    codec = CodecCalibration(codec="uint8", size_bytes=1000, worst_size_bytes=1000, top1_agreement=1.0)
    block = BlockCalibration(block=1, raw_bytes=400_000, codecs=(codec,))
    return Calibration(model=MODEL, blocks=(block,), samples=30, measured_at_s=measured_at_s)


def disagreement() -> ShadowReport:
    return ShadowReport(device="pi", model=MODEL, stream="camera", block=1, codec="uint8", top1_agreement=0.0)


def offered(bench: Bench) -> bool:
    bench.hear(load("server", 1.0 + len(bench.solved) / 10))
    bench.plan()
    return "uint8" in bench.solved[-1].models[MODEL].blocks[1].codecs


def test_a_withdrawn_encoding_stays_withdrawn_after_a_restart(running: Bench) -> None:
    running.hear(calibrated())
    assert offered(running)
    running.hear(disagreement())
    assert [each.kind for each in events(running.effects)][-1] is EventKind.CODEC_WITHDRAWN
    assert not offered(running)
    later = running.restarted()
    later.fleet()
    later.hear(calibrated(), own=True)
    assert not offered(later)
    later.hear(disagreement())
    assert EventKind.CODEC_WITHDRAWN not in [each.kind for each in events(later.effects)]
    later.hear(calibrated(measured_at_s=2.0))
    assert offered(later)
    assert not [kind for kind, _ in later.documents if kind is Kind.SHADOW]
    last = later.restarted()
    last.fleet()
    assert offered(last)


def test_reports_are_written_with_the_time_not_with_every_message(running: Bench) -> None:
    running.hear(calibrated())
    fine = disagreement().model_copy(update={"top1_agreement": 1.0})
    for _ in range(50):
        assert not [each for each in running.hear(fine) if isinstance(each, Persist)]
        running.now_s += 0.1
        assert not [each for each in running.core.tick(running.now_s) if isinstance(each, Persist)]
    written = running.take(running.core.tick(running.now_s + KEEP_EVERY_S))
    assert [each.document.kind for each in written if isinstance(each, Persist)] == [Kind.SHADOW]


def test_a_missing_profile_is_asked_for(bench: Bench) -> None:
    bench.hear(presence("pi"), manifest_of(), declaration())
    bench.plan()
    assert bench.status().state is StreamPhase.WAITING
    assert commands(bench.take(bench.core.tick(bench.now_s))) == []
    bench.now_s += 1.0
    ((device, command),) = commands(bench.take(bench.core.tick(bench.now_s)))
    assert device == "pi"
    assert isinstance(command, ProfileModel)
    assert command.manifest == manifest_of()
    assert commands(bench.core.tick(bench.now_s + 1.0)) == []
    failed = bench.hear(ProfileFailed(device="pi", model=MODEL, cause=RejectionCause.DISK, reason="disk full"))
    assert "disk full" in events(failed)[0].text
