"""The planner's core, driven message by message without a bus or a clock."""

import pytest

from services.planner.coordination.coordinator import RESTORE_GRACE_S, SETTLE_S
from services.planner.coordination.effects import DeleteDocument, FetchModel, Persist, Publish
from services.planner.coordination.planner_store import Document, Kind
from services.planner.coordination.response_timeouts import ANSWER_WITHIN_S
from services.planner.coordination.shadow_reports import KEEP_EVERY_S
from services.planner.inbound import PolicyDocument
from services.planner.problems.planning_jobs import PlanningJob, run_job
from services.planner.problems.snapshot import ModelWithdrawn
from shared.bus import topics
from shared.messages.calibration import BlockCalibration, Calibration, CodecCalibration, ShadowReport
from shared.messages.control import Prepare, Preparing, ProfileFailed, ProfileModel, Ready, Rejected, RejectionCause
from shared.messages.devices import Presence, State, Telemetry
from shared.messages.events import EventKind
from shared.messages.models import Offer
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage, StreamState, StreamUsage
from tests.support.planner_bench import Bench, commands, events, plans, published
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import PI_MS, SERVER_MS, declaration, link, load, presence, profile


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def running(bench: Bench) -> Bench:
    bench.fleet()
    bench.obey()
    assert bench.status().state is StreamState.RUNNING
    bench.effects.clear()
    return bench


def test_everything_is_on_disk_before_it_is_on_the_bus(bench: Bench) -> None:
    bench.fleet()
    done = bench.obey()
    kinds = [
        f"{each.document.kind} on disk" if isinstance(each, Persist) else each.topic.split("/")[-1]
        for each in done
        if isinstance(each, Persist | Publish)
    ]
    assert kinds == ["epoch on disk", "commands", "plan on disk", "plan", "events", "status"]


def test_heartbeats_are_not_solved_again(running: Bench) -> None:
    running.solved.clear()
    running.hear(load("server", 1.0), link("pi", "server", 50.0), declaration())
    running.plan()
    assert running.solved == []


def test_nothing_is_planned_before_retained_messages_have_come(bench: Bench) -> None:
    bench.fleet()
    bench.core.connected(bench.now_s)
    assert bench.core.next_job(bench.now_s) == ([], None)
    assert bench.core.next_job(bench.now_s + SETTLE_S)[1] is not None


def test_a_missing_profile_is_asked_for(bench: Bench) -> None:
    bench.hear(presence("pi"), manifest_of(), declaration())
    bench.plan()
    assert bench.status().state is StreamState.WAITING
    assert commands(bench.take(bench.core.tick(bench.now_s))) == []
    bench.now_s += 1.0
    ((device, command),) = commands(bench.take(bench.core.tick(bench.now_s)))
    assert device == "pi"
    assert isinstance(command, ProfileModel)
    assert command.manifest == manifest_of()
    assert commands(bench.core.tick(bench.now_s + 1.0)) == []
    failed = bench.hear(ProfileFailed(device="pi", model=MODEL, cause=RejectionCause.DISK, reason="disk full"))
    assert "disk full" in events(failed)[0].text


def test_a_stream_says_what_its_route_does_not_keep_up_with_while_it_lasts(running: Bench) -> None:
    running.hear(StreamUsage(stream="camera", input_bytes=100, rate_hz=1000.0))
    running.plan()
    assert running.status().state is StreamState.RUNNING
    assert "faster than device server can take them" in running.status().reasons[0]
    running.hear(StreamUsage(stream="camera", input_bytes=100, rate_hz=1.0))
    running.plan()
    assert running.status().reasons == ()


def test_a_strategy_that_raises_is_told_and_tried_again_later(bench: Bench) -> None:
    bench.fleet()
    _, job = bench.core.next_job(bench.now_s)
    assert isinstance(job, PlanningJob)
    effects = bench.take(bench.core.failed(job, "ZeroDivisionError: oh", bench.now_s))
    assert events(effects)[0].kind is EventKind.FAILURE
    assert bench.status().state is StreamState.INFEASIBLE
    assert "oh" in bench.status().reasons[0]
    assert bench.core.next_job(bench.now_s)[1] is None
    assert bench.core.next_job(bench.now_s + 5.0)[1] is not None


def test_a_strategy_that_raises_on_a_new_policy_refuses_it(running: Bench) -> None:
    running.hear(PolicyDocument("camera", b'{"retry_limit": 9, "revision": "r"}'))
    _, job = running.core.next_job(running.now_s)
    assert isinstance(job, PlanningJob)
    assert job.request is not None
    running.take(running.core.failed(job, "oh", running.now_s))
    assert (running.status().policy_accepted, running.status().policy_revision) == (False, "r")


def test_an_answer_that_has_been_overtaken_is_dropped(running: Bench) -> None:
    running.hear(link("pi", "server", 1.0))
    _, job = running.core.next_job(running.now_s)
    assert isinstance(job, PlanningJob)
    answer = run_job(job, running.solve)
    running.hear(PolicyDocument("camera", b'{"devices": {"deny": ["server"]}}'))
    effects = running.take(running.core.answered(job, answer, running.now_s))
    assert commands(effects) == []
    assert [stage.device for stage in plans(running.obey())[-1].routes[0].stages] == ["pi"]


def test_an_answer_with_a_device_that_has_just_gone_is_dropped(bench: Bench) -> None:
    bench.fleet()
    _, job = bench.core.next_job(bench.now_s)
    assert isinstance(job, PlanningJob)
    answer = run_job(job, bench.solve)
    bench.hear(presence("server", State.OFFLINE))
    assert commands(bench.take(bench.core.answered(job, answer, bench.now_s))) == []
    assert {device for device, _ in commands(bench.obey())} == {"pi"}


def test_only_the_newest_of_several_policies_is_judged(running: Bench) -> None:
    running.hear(PolicyDocument("camera", b'{"retry_limit": 1, "revision": "one"}'))
    _, job = running.core.next_job(running.now_s)
    assert isinstance(job, PlanningJob)
    running.hear(PolicyDocument("camera", b'{"retry_limit": 2, "revision": "two"}'))
    assert running.take(running.core.answered(job, run_job(job, running.solve), running.now_s)) == []
    running.obey()
    assert running.status().policy_revision == "two"
    assert running.core.snapshot.policy("camera").retry_limit == 2


def test_the_planners_own_retained_messages_change_nothing(running: Bench) -> None:
    documents = dict(running.documents)
    assert running.hear(declaration(rate_hz=5.0), own=True) == []
    assert running.hear(declaration(model=""), own=True) == []
    assert running.hear(PolicyDocument("camera", b'{"retry_limit": 1}'), own=True) == []
    assert running.hear(PolicyDocument("camera", b""), own=True) == []
    assert running.hear(ModelWithdrawn(MODEL), own=True) == []
    assert running.documents == documents


def test_a_refused_policy_is_overwritten_on_the_broker_by_the_one_in_force(running: Bench) -> None:
    running.hear(PolicyDocument("camera", b'{"retry_limit": 5, "revision": "good"}'))
    running.obey()
    effects = running.hear(PolicyDocument("camera", b'{"strategy": "magic", "revision": "bad"}'))
    (payload,) = published(effects, topics.policy("camera"))
    assert b'"revision": "good"' in payload
    assert running.status().policy_revision == "bad"
    assert not running.status().policy_accepted
    assert running.reborn().core.snapshot.policy("camera").retry_limit == 5


def test_a_policy_for_energy_is_accepted_and_told_that_no_device_has_power_figures(running: Bench) -> None:
    running.hear(PolicyDocument("camera", b'{"objective": "energy", "revision": "r"}'))
    running.obey()
    assert running.status().policy_accepted
    (reason,) = running.status().policy_reasons
    assert "no device has power figures" in reason
    running.hear(presence("pi", power_active_w=6.4))
    running.hear(PolicyDocument("camera", b'{"objective": "energy", "revision": "s"}'))
    running.obey()
    assert (running.status().policy_revision, running.status().policy_reasons) == ("s", ())


def test_a_killed_planner_knows_everything_again(running: Bench) -> None:
    running.core.model_stored(manifest_of(), running.now_s)
    running.take(running.core.model_stored(manifest_of(), running.now_s))
    running.hear(PolicyDocument("camera", b'{"retry_limit": 5, "revision": "r"}'), Calibration(model=MODEL, samples=1))
    running.obey()
    later = running.reborn()
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


def test_a_restored_plan_waits_for_its_devices_but_not_for_ever(running: Bench) -> None:
    later = running.reborn()
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


def test_an_offer_is_fetched_for_the_planners_own_library(bench: Bench) -> None:
    offer = Offer(manifest=manifest_of().model_copy(update={"provider": "cli-1"}), provider="cli-1")
    assert bench.hear(offer) == [FetchModel(manifest_of(), "cli-1")]


def test_the_librarys_manifest_is_not_overruled(bench: Bench) -> None:
    bench.take(bench.core.model_stored(manifest_of(), bench.now_s))
    bench.hear(manifest_of().model_copy(update={"name": "other", "provider": "elsewhere"}))
    assert bench.core.snapshot.manifests[MODEL].name == "net"
    assert bench.hear(ModelWithdrawn(MODEL)) == [DeleteDocument(Kind.MANIFEST, MODEL)]


def test_a_device_that_comes_and_goes_is_told_once_each(running: Bench) -> None:
    running.hear(presence("server", State.OFFLINE), presence("server", State.OFFLINE))
    running.hear(presence("server"), presence("server"), presence("server", boot_id="boot2"))
    kinds = [(each.kind, each.text) for each in events(running.effects)]
    assert kinds == [
        (EventKind.DEVICE_LOST, "device server is gone"),
        (EventKind.DEVICE_BACK, "device server is back"),
        (EventKind.DEVICE_BACK, "device server was restarted"),
    ]


def test_a_device_whose_monitor_is_heard_first_is_not_back(bench: Bench) -> None:
    bench.hear(Telemetry(device="fresh", sent_at_s=1.0), presence("fresh"))
    assert "device fresh is back" not in [each.text for each in events(bench.effects)]


def test_a_proposal_that_leads_away_from_a_lost_device_goes_on(running: Bench) -> None:
    running.hear(load("server", 30.0))
    asked = [(device, each) for device, each in commands(running.plan()) if isinstance(each, Prepare)]
    assert [device for device, _ in asked] == ["pi"]
    running.hear(presence("server", State.OFFLINE))
    done = running.hear(Ready(device="pi", stream="camera", epoch=asked[0][1].epoch))
    assert [plan.epoch for plan in plans(done)] == [asked[0][1].epoch]


def test_a_device_that_does_not_answer_is_said_to_be_gone_until_it_contradicts(running: Bench) -> None:
    """Whatever its retained presence says: it died together with a broker that keeps what is retained."""
    running.hear(PolicyDocument("camera", b'{"raw_input_stays_on_source": true}'))
    asked = [device for device, each in commands(running.plan()) if isinstance(each, Prepare)]
    assert "server" in asked
    running.now_s += ANSWER_WITHIN_S
    running.hear(*(Ready(device=device, stream="camera", epoch=2) for device in asked if device != "server"))
    running.take(running.core.tick(running.now_s))
    assert (EventKind.DEVICE_LOST, "device server does not answer") in [
        (each.kind, each.text) for each in events(running.effects)
    ]
    (told,) = published(running.effects, topics.presence("server"))
    assert Presence.decode(told).state is State.OFFLINE
    (plan,) = plans(running.obey())
    assert {stage.device for route in plan.routes for stage in route.stages} == {"pi"}
    running.hear(presence("server"))
    running.now_s += 5.0
    assert "server" in {device for device, each in commands(running.plan()) if isinstance(each, Prepare)}


def test_a_device_that_has_heard_may_take_its_time(running: Bench) -> None:
    running.hear(PolicyDocument("camera", b'{"raw_input_stays_on_source": true}'))
    asked = [device for device, each in commands(running.plan()) if isinstance(each, Prepare)]
    running.hear(*(Preparing(device=device, stream="camera", epoch=2) for device in asked))
    running.now_s += ANSWER_WITHIN_S
    running.take(running.core.tick(running.now_s))
    assert running.core.snapshot.device("server").online
    done = running.hear(*(Ready(device=device, stream="camera", epoch=2) for device in asked))
    assert [plan.epoch for plan in plans(done)] == [2]


def test_a_source_that_is_offline_keeps_its_plan(running: Bench) -> None:
    running.hear(presence("pi", State.OFFLINE))
    running.obey()
    status = running.status()
    assert (status.state, status.epoch) == (StreamState.WAITING, 1)
    assert "source device pi is offline" in status.reasons
    running.hear(presence("pi"))
    running.obey()
    assert running.status().state is StreamState.RUNNING
    assert plans(running.effects) == []


def test_a_stream_moves_to_a_newer_model_of_the_same_name(running: Bench) -> None:
    newer = manifest_of("b" * 64)
    running.hear(newer)
    running.obey()
    assert running.status().state is StreamState.WAITING
    assert plans(running.effects) == []
    running.hear(profile("pi", PI_MS, newer.model), profile("server", SERVER_MS, newer.model))
    assert plans(running.obey())[-1].model == newer.model


def test_a_worse_plan_of_another_planner_is_in_force_until_it_is_replaced(running: Bench) -> None:
    stages = (PlanStage(start=0, stop=5, device="pi"),)
    foreign = CommittedPlan(
        stream="camera", epoch=41, model=MODEL, source="pi", strategy="auto", routes=(PlanRoute(stages=stages),)
    )
    running.hear(foreign)
    running.now_s += 60.0
    replaced = plans(running.obey())[-1]
    assert (replaced.epoch, [stage.device for stage in replaced.routes[0].stages]) == (42, ["server"])


def test_a_rejected_device_is_tried_again_after_a_while(bench: Bench) -> None:
    bench.fleet()
    for device, command in commands(bench.plan()):
        assert isinstance(command, Prepare)
        bench.hear(
            Rejected(device=device, stream="camera", epoch=command.epoch, cause=RejectionCause.ERROR, reason="no")
        )
    assert [stage.device for stage in plans(bench.obey())[-1].routes[0].stages] == ["pi"]
    bench.now_s += 121.0
    bench.take(bench.core.tick(bench.now_s))
    assert [stage.device for stage in plans(bench.obey())[-1].routes[0].stages] == ["server"]


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
    later = running.reborn()
    later.fleet()
    later.hear(calibrated(), own=True)
    assert not offered(later)
    later.hear(disagreement())
    assert EventKind.CODEC_WITHDRAWN not in [each.kind for each in events(later.effects)]
    later.hear(calibrated(measured_at_s=2.0))
    assert offered(later)
    assert not [kind for kind, _ in later.documents if kind is Kind.SHADOW]
    last = later.reborn()
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


def test_an_accepted_policy_is_solved_once(running: Bench) -> None:
    running.solved.clear()
    running.hear(PolicyDocument("camera", b'{"devices": {"deny": ["server"]}, "revision": "r"}'))
    done = running.obey()
    assert running.status().policy_revision == "r"
    assert [stage.device for stage in plans(done)[-1].routes[0].stages] == ["pi"]
    assert len(running.solved) == 1
