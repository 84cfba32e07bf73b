"""State of a planner that was killed, from its documents."""

import pytest

from services.planner.coordination.coordinator import RESTORE_GRACE_S
from services.planner.coordination.effects import Publish
from services.planner.coordination.planner_store import Document, Kind
from services.planner.inbound import PolicyDocument
from shared.bus import topics
from shared.messages.calibration import Calibration
from shared.messages.control import Prepare
from shared.messages.streams import CommittedPlan, StreamPhase
from tests.support.planner_bench import Bench, commands, plans
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import PI_MS, declaration, link, presence, profile


@pytest.fixture
def running() -> Bench:
    bench = Bench()
    bench.fleet()
    bench.obey()
    assert bench.status().state is StreamPhase.RUNNING
    bench.effects.clear()
    return bench


def test_a_killed_planner_restores_everything(running: Bench) -> None:
    running.core.model_stored(manifest_of(), running.now_s)
    running.take(running.core.model_stored(manifest_of(), running.now_s))
    running.hear(PolicyDocument("camera", b'{"retry_limit": 5, "revision": "r"}'), Calibration(model=MODEL, samples=1))
    running.obey()
    later = running.restarted()
    republished = later.take(later.core.republished())
    by_topic = {each.topic: each.payload for each in republished if isinstance(each, Publish) and each.retain}
    assert CommittedPlan.decode(by_topic[topics.plan("camera")]).epoch == 2
    expected = {topics.manifest(MODEL), topics.calibration(MODEL), topics.stream("camera"), topics.policy("camera")}
    assert expected < by_topic.keys()
    assert later.status().policy_revision == "r"
    later.fleet()
    later.obey()
    assert plans(later.effects)[1:] == []
    later.now_s += 10.0
    later.hear(link("pi", "server", 1.0))
    assert plans(later.obey())[-1].epoch == 3


def test_a_correction_that_was_not_followed_by_a_plan_gets_its_epoch_after_a_restart(running: Bench) -> None:
    running.take(running.core.model_stored(manifest_of(), running.now_s))
    running.hear(PolicyDocument("camera", b'{"retry_limit": 5}'))
    running.obey()
    corrected = manifest_of(apply_softmax=True)
    running.take(running.core.model_stored(corrected, running.now_s))
    later = running.restarted()
    later.fleet()
    done = later.obey()
    assert {command.manifest for _, command in commands(done) if isinstance(command, Prepare)} == {corrected}
    assert [plan.epoch for plan in plans(done)] == [3]
    assert commands(later.obey()) == []


def test_a_restored_plan_waits_for_its_devices_for_a_while(running: Bench) -> None:
    later = running.restarted()
    later.hear(presence("pi"), profile("pi", PI_MS), manifest_of())
    assert later.obey() == [] or plans(later.effects) == []
    later.now_s += RESTORE_GRACE_S + 1
    assert [stage.device for stage in plans(later.obey())[-1].routes[0].stages] == ["pi"]


def test_documents_that_cannot_be_read_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    damaged = [
        Document(kind, "camera", b"\xc1nonsense")
        for kind in (Kind.STREAM, Kind.PLAN, Kind.EPOCH, Kind.MANIFEST, Kind.POLICY, Kind.CALIBRATION)
    ]
    bench.core.restore([*damaged, Document(Kind.STREAM, "good", declaration("good").encode())], 0.0)
    assert set(bench.core.snapshot.streams) == {"good"}
    assert len(caplog.records) == len(damaged)
