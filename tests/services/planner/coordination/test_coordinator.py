"""The planner's core, driven message by message without a bus or a clock."""

from typing import get_args

import pytest

from services.planner import coordination
from services.planner.coordination.coordinator import SETTLE_S
from services.planner.coordination.effects import FetchModel, Persist, Publish
from services.planner.coordination.planner_store import Kind
from services.planner.inbound import Inbound, PolicyDocument
from services.planner.problems.planning_jobs import PlanningJob, run_job
from services.planner.problems.snapshot import ModelWithdrawn
from shared.bus import topics
from shared.messages.base import MessageError
from shared.messages.control import Prepare, Ready, Rejected, RejectionCause, Release
from shared.messages.devices import State
from shared.messages.events import EventKind
from shared.messages.models import Offer
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage, StreamPhase, StreamUsage
from tests.support.planner_bench import Bench, commands, events, plans
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import PI_MS, SERVER_MS, declaration, link, load, presence, profile


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


def test_an_overload_is_in_the_status_while_it_lasts(running: Bench) -> None:
    running.hear(StreamUsage(stream="camera", input_bytes=100, rate_hz=1000.0))
    running.plan()
    assert running.status().state is StreamPhase.RUNNING
    assert "faster than device server can take them" in running.status().reasons[0]
    running.hear(StreamUsage(stream="camera", input_bytes=100, rate_hz=1.0))
    running.plan()
    assert running.status().reasons == ()


def test_a_strategy_that_raises_is_announced_and_tried_again_later(bench: Bench) -> None:
    bench.fleet()
    _, job = bench.core.next_job(bench.now_s)
    assert isinstance(job, PlanningJob)
    effects = bench.take(bench.core.failed(job, "ZeroDivisionError: oh", bench.now_s))
    assert events(effects)[0].kind is EventKind.FAILURE
    assert bench.status().state is StreamPhase.INFEASIBLE
    assert "oh" in bench.status().reasons[0]
    assert bench.core.next_job(bench.now_s)[1] is None
    assert bench.core.next_job(bench.now_s + 5.0)[1] is not None


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


def test_the_planners_own_retained_messages_change_nothing(running: Bench) -> None:
    documents = dict(running.documents)
    assert running.hear(declaration(rate_hz=5.0), own=True) == []
    assert running.hear(declaration(model=""), own=True) == []
    assert running.hear(PolicyDocument("camera", b'{"retry_limit": 1}'), own=True) == []
    assert running.hear(PolicyDocument("camera", b""), own=True) == []
    assert running.hear(ModelWithdrawn(MODEL), own=True) == []
    assert running.documents == documents


def test_an_offer_is_fetched_for_the_planners_own_library(bench: Bench) -> None:
    offer = Offer(manifest=manifest_of().model_copy(update={"provider": "cli-1"}), provider="cli-1")
    assert bench.hear(offer) == [FetchModel(manifest_of(), "cli-1")]


def test_a_source_that_is_offline_keeps_its_plan(running: Bench) -> None:
    running.hear(presence("pi", State.OFFLINE))
    running.obey()
    status = running.status()
    assert (status.state, status.epoch) == (StreamPhase.WAITING, 1)
    assert "source device pi is offline" in status.reasons
    running.hear(presence("pi"))
    running.obey()
    assert running.status().state is StreamPhase.RUNNING
    assert plans(running.effects) == []


def test_a_stream_moves_to_a_newer_model_of_the_same_name(running: Bench) -> None:
    newer = manifest_of("b" * 64)
    running.hear(newer)
    running.obey()
    assert running.status().state is StreamPhase.WAITING
    assert plans(running.effects) == []
    running.hear(profile("pi", PI_MS, newer.model), profile("server", SERVER_MS, newer.model))
    assert plans(running.obey())[-1].model == newer.model


def test_a_corrected_manifest_gets_an_epoch_of_its_own_on_the_same_routes(running: Bench) -> None:
    first = CommittedPlan.decode(running.documents[Kind.PLAN, "camera"])
    corrected = manifest_of(labels=tuple(f"class {index}" for index in range(1000)))
    running.take(running.core.model_stored(corrected, running.now_s))
    proposed = running.plan()
    # Make before break: the plan in force and its segments stay until every device has the new ones.
    assert plans(proposed) == []
    prepares = [command for _, command in commands(proposed) if isinstance(command, Prepare)]
    assert {(each.epoch, each.manifest) for each in prepares} == {(first.epoch + 1, corrected)}
    assert [command for _, command in commands(proposed) if isinstance(command, Release)] == []
    for device, command in commands(proposed):
        if isinstance(command, Prepare):
            running.hear(Ready(device=device, stream=command.stream, epoch=command.epoch))
    second = plans(running.effects)[-1]
    assert (second.epoch, second.routes) == (first.epoch + 1, first.routes)
    assert "the description of the model changed" in second.reason
    assert commands(running.obey()) == []


def test_a_manifest_with_other_blocks_is_planned_from_the_beginning(running: Bench) -> None:
    running.take(running.core.model_stored(manifest_of(blocks=4), running.now_s))
    running.hear(profile("pi", PI_MS[:4]), profile("server", SERVER_MS[:4]))
    assert plans(running.obey())[-1].routes[0].stages[-1].stop == 4


def test_another_name_of_a_model_changes_no_plan(running: Bench) -> None:
    running.take(running.core.model_stored(manifest_of(name="other"), running.now_s))
    running.hear(declaration(model="other"))
    assert [command for _, command in commands(running.obey()) if isinstance(command, Prepare)] == []


def test_a_correction_during_a_proposal_follows_it(bench: Bench) -> None:
    bench.fleet()
    proposed = bench.plan()
    corrected = manifest_of(apply_softmax=True)
    bench.take(bench.core.model_stored(corrected, bench.now_s))
    for device, command in commands(proposed):
        if isinstance(command, Prepare):
            bench.hear(Ready(device=device, stream=command.stream, epoch=command.epoch))
    done = bench.obey()
    assert [command.manifest for _, command in commands(done) if isinstance(command, Prepare)][-1] == corrected
    assert [plan.epoch for plan in plans(bench.effects)] == [1, 2]


def plan_on_pi(epoch: int) -> CommittedPlan:
    stages = (PlanStage(start=0, stop=5, device="pi"),)
    return CommittedPlan(
        stream="camera", epoch=epoch, model=MODEL, source="pi", strategy="auto", routes=(PlanRoute(stages=stages),)
    )


def test_a_worse_plan_of_its_own_past_is_in_force_until_it_is_replaced(running: Bench) -> None:
    running.hear(plan_on_pi(41), own=True)
    running.now_s += 60.0
    replaced = plans(running.obey())[-1]
    assert (replaced.epoch, [stage.device for stage in replaced.routes[0].stages]) == (42, ["server"])


def test_a_plan_of_another_planner_is_refused_and_later_ones_have_higher_epochs(running: Bench) -> None:
    (state,) = running.core.streams
    before = state.epochs.committed
    with pytest.raises(MessageError, match="has not signed"):
        running.hear(plan_on_pi(41))
    assert state.epochs.committed is before
    running.hear(profile("pi", (0.01,) * 5), link("pi", "server", 0.001))
    running.now_s += 60.0
    assert [plan.epoch for plan in plans(running.obey())] == [42]


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


def test_the_table_of_events_has_a_row_for_every_message_and_every_call() -> None:
    lines = (coordination.__doc__ or "").splitlines()
    rows = {line.replace(",", " ").split()[0] for line in lines if line.startswith("    ") and line[4:5].isalpha()}
    messages = {each.__name__ for each in get_args(Inbound)}
    calls = {"tick", "next_job", "answered", "failed", "thresholds_found", "model_stored"}
    assert rows - {"event"} == messages | calls


def foreign_plan(running: Bench, **changes: object) -> CommittedPlan:
    (state,) = running.core.streams
    committed = state.epochs.committed
    assert committed is not None
    return committed.model_copy(update={"epoch": committed.epoch + 5, **changes})


def test_a_plan_that_contradicts_its_model_is_refused_and_changes_nothing(running: Bench) -> None:
    (state,) = running.core.streams
    before = state.status()
    route = PlanRoute(stages=(PlanStage(start=0, stop=999, device="pi"),))
    for plan in (
        foreign_plan(running, routes=(route,)),
        foreign_plan(running, epoch=2**53),
        foreign_plan(running, model="b" * 64),
    ):
        with pytest.raises(MessageError):
            running.core.handle(plan, running.now_s)
        assert state.status() == before


def test_a_refused_message_on_a_topic_of_the_planner_is_replaced_by_its_own(running: Bench) -> None:
    (state,) = running.core.streams
    (restored,) = running.core.overwritten(topics.plan(state.name))
    assert isinstance(restored, Publish)
    assert CommittedPlan.decode(restored.payload) == state.epochs.committed
    (cleared_plan,) = running.core.overwritten(topics.plan("unheard-of"))
    assert isinstance(cleared_plan, Publish)
    assert (cleared_plan.payload, cleared_plan.retain) == (b"", True)
    assert running.core.overwritten(topics.presence("pi")) == []
    assert len(running.core.overwritten(topics.stream(state.name))) == 1
