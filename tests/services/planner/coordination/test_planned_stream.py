"""One stream, event by event: effects for its devices, and steps for the other streams."""

from dataclasses import replace

import pytest

from planning.strategies import solve
from services.planner.coordination import epoch_events as ev
from services.planner.coordination.effects import (
    AbandonProposals,
    AddExclusion,
    AwaitResponse,
    DeleteDocument,
    Persist,
    Publish,
    Replan,
    ReplanAll,
    Step,
)
from services.planner.coordination.epochs import EpochPhase
from services.planner.coordination.invariants import InvariantError
from services.planner.coordination.planned_stream import MAX_REROUTES, PlannedStream
from services.planner.coordination.planner_store import Document, Kind
from services.planner.coordination.restore import adopted
from services.planner.decisions.causes import Cause
from services.planner.decisions.replan import RerouteDecision
from services.planner.problems.planning_jobs import Answer
from shared.bus import topics
from shared.messages.control import RejectionCause
from shared.messages.events import EventKind, RerouteCause
from shared.messages.streams import CommittedPlan, StreamPhase, StreamStatus
from shared.policy import Policy
from tests.support.planner_bench import events
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import candidate_of, problem_of, route, world

PROBLEM = problem_of(world())
FIRST = Cause(RerouteCause.FIRST_PLAN, "first plan")
FASTER = Cause(RerouteCause.LINK_CHANGED, "link pi->server rose", 50.0)
SERVER, PI = (route((0, 5, "server")),), (route((0, 5, "pi")),)


def propose(state: PlannedStream, cause: Cause = FIRST, device: str = "server", now_s: float = 10.0) -> list[Step]:
    candidate = replace(candidate_of(PROBLEM), routes=(route((0, 5, device)),))
    decision = RerouteDecision(cause, f"{cause.text}: 9 ms", candidate.routes, None, 9.0)
    steps = state.propose(candidate, decision, PROBLEM, manifest_of(), now_s)
    state.validate()
    return steps


def ready(state: PlannedStream, device: str = "server", now_s: float = 11.0) -> list[Step]:
    steps = state.advance(ev.ReadyFrom(device, state.epochs.last_epoch), now_s)
    state.validate()
    return steps


@pytest.fixture
def declared() -> PlannedStream:
    state = PlannedStream("camera", "planner")
    state.declare()
    return state


@pytest.fixture
def running(declared: PlannedStream) -> PlannedStream:
    propose(declared)
    ready(declared)
    return declared


def effects_of(steps: list[Step]) -> list[Publish]:
    return [step for step in steps if isinstance(step, Publish)]


def test_a_proposal_reserves_its_epoch_and_awaits_its_devices(declared: PlannedStream) -> None:
    reserve, expect, prepare = propose(declared)
    assert reserve == Persist(Document(Kind.EPOCH, "camera", b"1"))
    assert expect == AwaitResponse("server")
    assert isinstance(prepare, Publish)
    assert prepare.topic == topics.commands("server")
    assert declared.epochs.phase is EpochPhase.PROPOSING
    assert declared.in_force is None


def test_a_commit_plans_everybody_again_and_explains_itself(declared: PlannedStream) -> None:
    propose(declared)
    replan, persist, plan, event = ready(declared)
    assert replan == ReplanAll()
    assert isinstance(persist, Persist)
    assert isinstance(plan, Publish)
    assert isinstance(event, Publish)
    committed = CommittedPlan.decode(plan.payload)
    assert (committed.epoch, committed.routes, committed.committed_at_s) == (1, SERVER, 11.0)
    assert persist.document.value == plan.payload
    assert [each.kind for each in events([event])] == [EventKind.REROUTE]
    assert declared.in_force is not None
    assert (declared.in_force.epoch, declared.in_force.problem) == (1, PROBLEM)


def test_a_reroute_is_remembered_as_a_departure(running: PlannedStream) -> None:
    propose(running, FASTER, "pi")
    ready(running, "pi", 20.0)
    (departure,) = running.departures
    assert (departure.at_s, departure.routes, departure.returned) == (20.0, SERVER, False)
    propose(running, FASTER, "server")
    ready(running, "server", 30.0)
    assert running.departures[-1].returned
    for number in range(MAX_REROUTES):
        propose(running, FASTER, "pi" if number % 2 == 0 else "server", 40.0 + number)
        ready(running, "pi" if number % 2 == 0 else "server", 40.0 + number)
    assert [each.epoch for each in running.reroutes] == [*range(4, 4 + MAX_REROUTES)]


def test_a_rejection_excludes_the_choice_ends_the_group_and_is_the_next_cause(declared: PlannedStream) -> None:
    propose(declared)
    steps = declared.advance(ev.RejectedBy("server", 1, RejectionCause.DISK, "disk full"), 11.0)
    declared.validate()
    assert isinstance(steps[0], AddExclusion)
    assert steps[0].exclusion.device == "server"
    assert [each.kind for each in events(effects_of(steps))] == [EventKind.REJECTION]
    assert steps[2:] == [Replan("camera", 11.0), AbandonProposals(("camera",))]
    propose(declared, device="pi")
    ready(declared, "pi")
    (reroute,) = declared.reroutes
    assert reroute.cause is RerouteCause.REJECTED
    assert reroute.reason.startswith("server rejected a plan before (disk full); first plan")


def test_a_postponed_reroute_keeps_the_first_cause(running: PlannedStream) -> None:
    assert running.postpone(FASTER, 99.0) == [Replan("camera", 99.0)]
    running.postpone(replace(FASTER, at_s=70.0), 99.0)
    propose(running, replace(FASTER, at_s=90.0), "pi")
    assert running.epochs.proposal is not None
    assert running.epochs.proposal.plan.trigger_at_s == 50.0


def test_a_plan_that_stays_is_judged_under_the_new_policy(running: PlannedStream) -> None:
    running.postpone(FASTER, 99.0)
    policy = Policy(min_gain=0.5)
    assert running.keep(replace(candidate_of(PROBLEM), policy=policy), PROBLEM) == []
    assert running.in_force is not None
    assert running.in_force.policy == policy
    propose(running, replace(FASTER, at_s=90.0), "pi")
    assert running.epochs.proposal is not None
    assert running.epochs.proposal.plan.trigger_at_s == 90.0


def test_only_a_proposal_is_abandoned(running: PlannedStream) -> None:
    assert running.abandon(20.0) == []
    propose(running, FASTER, "pi")
    assert running.abandon(20.0) == [Replan("camera", 20.0), AbandonProposals(("camera",))]
    running.validate()
    assert running.epochs.phase is EpochPhase.RUNNING


def test_a_newer_foreign_plan_is_in_force_and_an_older_one_is_ignored(declared: PlannedStream) -> None:
    plan = CommittedPlan(stream="camera", epoch=7, model=MODEL, source="pi", strategy="auto", routes=PI)
    steps = declared.plan_seen(plan, adopted(plan, Policy()), 12.0)
    declared.validate()
    assert [type(step) for step in steps] == [Persist, Persist, Replan]
    assert declared.in_force is not None
    assert declared.in_force.problem is None
    older = plan.model_copy(update={"epoch": 6})
    assert declared.plan_seen(older, adopted(older, Policy()), 13.0) == []
    assert declared.epochs.committed is plan


def test_a_foreign_plan_during_a_proposal_counts_by_its_epoch_only(declared: PlannedStream) -> None:
    propose(declared)
    plan = CommittedPlan(stream="camera", epoch=7, model=MODEL, source="pi", strategy="auto", routes=PI)
    assert declared.plan_seen(plan, adopted(plan, Policy()), 12.0) == [Persist(Document(Kind.EPOCH, "camera", b"7"))]
    declared.validate()
    assert declared.in_force is None
    assert declared.epochs.last_epoch == 7


def test_a_withdrawn_stream_clears_its_plan_and_releases_its_devices(running: PlannedStream) -> None:
    steps = running.withdraw(20.0)
    running.validate()
    assert steps[0] == DeleteDocument(Kind.PLAN, "camera")
    assert [each.topic for each in effects_of(steps)] == [
        topics.plan("camera"),
        topics.alternatives("camera"),
        topics.commands("server"),
    ]
    assert running.in_force is None


def test_an_answer_is_kept_for_its_problem_only(declared: PlannedStream) -> None:
    plan = solve(PROBLEM, seed=0, time_budget_s=0.1)
    answer = Answer(plan)
    declared.solved(PROBLEM, answer)
    assert declared.answer_to(problem_of(world())) is answer
    assert declared.answer_to(problem_of(world(mbps=20.0))) is None


def test_a_status_of_a_declared_stream_is_published_when_it_changes() -> None:
    state = PlannedStream("camera", "planner")
    assert state.changed_status() == []
    state.declare()
    (publish,) = state.changed_status()
    assert isinstance(publish, Publish)
    assert StreamStatus.decode(publish.payload).state is StreamPhase.PLANNING
    assert state.changed_status() == []
    propose(state)
    ready(state)
    (publish,) = state.changed_status()
    assert isinstance(publish, Publish)
    status = StreamStatus.decode(publish.payload)
    assert (status.state, status.epoch) == (StreamPhase.RUNNING, 1)


def test_everything_retained_is_published_again(running: PlannedStream) -> None:
    running.changed_status()
    published = [each.topic for each in running.republished() if isinstance(each, Publish)]
    assert published == [topics.plan("camera"), topics.status("camera")]
    assert running.changed_status() == []


def test_a_proposal_without_a_basis_is_a_broken_invariant(declared: PlannedStream) -> None:
    propose(declared)
    declared._proposed = None
    with pytest.raises(InvariantError, match="a proposal and its basis exist together"):
        declared.validate()
