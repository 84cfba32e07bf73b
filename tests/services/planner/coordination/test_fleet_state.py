"""Library, missing profiles, and records of shadow checks, in the planner's core."""

from typing import Any

import pytest

from services.planner.coordination.effects import DeleteDocument, DeleteModelFile, Persist, Publish, cleared, retained
from services.planner.coordination.planner_store import Kind
from services.planner.coordination.shadow_reports import KEEP_EVERY_S
from services.planner.coordination.version_numbers import MAX_VERSIONS
from services.planner.problems.snapshot import ModelWithdrawn, VersionWithdrawn
from shared.bus import topics
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration, ShadowReport
from shared.messages.control import ProfileFailed, ProfileModel, RejectionCause
from shared.messages.events import EventKind
from shared.messages.streams import CommittedPlan, StreamPhase
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
    version = manifest_of().version()
    assert bench.hear(ModelWithdrawn(MODEL)) == [
        DeleteDocument(Kind.MANIFEST, MODEL),
        DeleteDocument(Kind.VERSION, version),
        cleared(topics.model_version(MODEL, version)),
        DeleteModelFile(MODEL),
    ]
    assert bench.core.snapshot.versions == {}


def corrected(bench: Bench, **changes: Any) -> str:
    """Add the model again with another description; return its version."""
    manifest = manifest_of(**changes)
    bench.take(bench.core.model_stored(manifest, bench.now_s))
    bench.obey()
    return manifest.version()


def committed(bench: Bench) -> list[CommittedPlan]:
    plans = (state.epochs.committed for state in bench.core.streams)
    return [plan for plan in plans if plan is not None]


def numbers(bench: Bench) -> dict[str, int]:
    return {version.version: version.number for version in bench.core.snapshot.versions.values()}


def test_every_description_is_a_version(bench: Bench) -> None:
    first, second = corrected(bench), corrected(bench, apply_softmax=True)
    assert numbers(bench) == {first: 1, second: 2}
    # Back to the first description: the version keeps its number.
    assert corrected(bench) == first
    assert numbers(bench) == {first: 1, second: 2}
    later = bench.restarted()
    assert numbers(later) == {first: 1, second: 2}
    topic = topics.model_version(MODEL, second)
    assert any(isinstance(each, Publish) and each.topic == topic for each in later.core.republished())


def test_a_stream_keeps_its_version_and_others_take_the_newest(running: Bench) -> None:
    first = corrected(running)
    running.hear(declaration(version=first))
    running.hear(declaration("door"))
    running.obey()
    second = corrected(running, apply_softmax=True)
    assert {plan.stream: plan.version for plan in committed(running)} == {"camera": first, "door": second}
    running.hear(declaration(version=second))
    running.obey()
    assert {plan.version for plan in committed(running)} == {second}


def test_a_version_that_is_not_there_is_named(running: Bench) -> None:
    running.hear(declaration(version="0123456789abcdef"))
    running.obey()
    assert "in version 0123456789abcdef" in running.status().reasons[0]


def test_a_version_in_use_is_not_removed(bench: Bench) -> None:
    first, second = corrected(bench), corrected(bench, apply_softmax=True)
    bench.hear(declaration(version=first))
    bench.obey()
    for version in (first, second):
        (effect,) = bench.hear(VersionWithdrawn(MODEL, version))
        assert isinstance(effect, Publish)
        assert (effect.topic, bool(effect.payload)) == (topics.model_version(MODEL, version), True)
    bench.hear(declaration())
    bench.obey()
    assert DeleteDocument(Kind.VERSION, first) in bench.hear(VersionWithdrawn(MODEL, first))
    assert numbers(bench) == {second: 2}
    assert bench.hear(VersionWithdrawn(MODEL, first), own=True) == []


def test_versions_of_other_clients_are_replaced_or_cleared(bench: Bench) -> None:
    version = corrected(bench)
    known = bench.core.snapshot.versions[version]
    forged = known.model_copy(update={"manifest": manifest_of(apply_softmax=True)})
    assert bench.hear(forged) == [retained(topics.model_version(MODEL, version), known)]
    unknown = forged.model_copy(update={"version": "f" * 16})
    assert bench.hear(unknown) == [cleared(topics.model_version(MODEL, "f" * 16))]
    assert numbers(bench) == {version: 1}


def test_old_versions_go_and_those_in_use_stay(bench: Bench) -> None:
    first = corrected(bench)
    bench.hear(declaration(version=first))
    bench.obey()
    for count in range(MAX_VERSIONS + 3):
        corrected(bench, labels=tuple(f"class {number}" for number in range(count + 1)))
    kept = sorted(numbers(bench).values())
    assert len(kept) == MAX_VERSIONS + 2
    assert kept[0] == 1
    assert kept[-1] == MAX_VERSIONS + 4


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
