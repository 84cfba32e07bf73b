"""All streams: due times, rejected choices, and steps from one stream to the others."""

from dataclasses import replace

import pytest

from services.planner.coordination import epoch_events as ev
from services.planner.coordination.effects import (
    AbandonProposals,
    AddExclusion,
    AwaitResponse,
    Publish,
    Replan,
    ReplanAll,
    Step,
)
from services.planner.coordination.invariants import InvariantError
from services.planner.coordination.planned_streams import PlannedStreams
from services.planner.coordination.response_timeouts import ANSWER_WITHIN_S
from services.planner.decisions.causes import Cause
from services.planner.decisions.replan import RerouteDecision
from services.planner.problems.problem_from_snapshot import Exclusion
from services.planner.problems.snapshot import FleetSnapshot, PolicySet
from shared.messages.events import RerouteCause
from shared.policy import Objective, Policy
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import after, candidate_of, declaration, problem_of, world

INFINITY = float("inf")
REJECTED = Exclusion("two", "server", MODEL, 50.0, "full")


@pytest.fixture
def states() -> PlannedStreams:
    made = PlannedStreams("planner")
    for stream in ("one", "two"):
        made.of(stream).declare()
    return made


def propose(states: PlannedStreams, stream: str) -> None:
    problem = problem_of(world(declaration(stream)), stream)
    candidate = candidate_of(problem)
    decision = RerouteDecision(Cause(RerouteCause.FIRST_PLAN, "first plan"), "first plan", candidate.routes, None, 9.0)
    states.perform(states[stream].propose(candidate, decision, problem, manifest_of(), 10.0), 10.0)


def snapshot_of(policy: Policy | None = None) -> FleetSnapshot:
    snapshot = after(world(), declaration("one"), declaration("two"), declaration(model=""))
    return after(snapshot, *(PolicySet(stream, policy) for stream in ("one", "two")))


def test_the_earliest_due_time_counts(states: PlannedStreams) -> None:
    assert states.next_due_at_s == INFINITY
    states.replan("one", 20.0)
    states.replan("one", 30.0)
    assert states.next_due_at_s == 20.0
    states.replan_all(15.0)
    assert states.next_due_at_s == 15.0


def test_a_stream_is_taken_once_when_it_is_due(states: PlannedStreams) -> None:
    states.replan("one", 20.0)
    states.replan("two", 30.0)
    assert [*states.take_due(25.0)] == ["one"]
    assert [*states.take_due(25.0)] == []
    assert states.next_due_at_s == 30.0


def test_streams_planned_with_an_earlier_one_are_no_longer_due(states: PlannedStreams) -> None:
    states.replan_all(20.0)
    due = states.take_due(25.0)
    assert next(due) == "one"
    states.planned(("one", "two"))
    states.replan("one", 25.0)
    assert [*due] == []
    assert [*states.take_due(25.0)] == ["one"]


def test_steps_reach_their_owners_and_effects_pass_through(states: PlannedStreams) -> None:
    effect = Publish("topic", b"")
    steps: list[Step] = [Replan("one", 12.0), effect, AddExclusion(REJECTED), AwaitResponse("server")]
    assert states.perform(steps, 10.0) == [effect]
    assert states.next_due_at_s == 12.0
    assert [*states.exclusions] == [REJECTED]
    assert states.responses.due_at_s == 10.0 + ANSWER_WITHIN_S
    assert states.perform([ReplanAll()], 11.0) == []
    assert [*states.take_due(11.0)] == ["one", "two"]


def test_a_failed_proposal_ends_those_of_its_group(states: PlannedStreams) -> None:
    propose(states, "one")
    propose(states, "two")
    states.perform([AbandonProposals(("one", "two", "unknown"))], 11.0)
    assert all(state.epochs.proposal is None for state in states)
    assert [*states.take_due(11.0)] == ["one", "two"]


def test_an_exclusion_ends_with_its_time_and_its_stream(states: PlannedStreams) -> None:
    states.perform([AddExclusion(REJECTED), AddExclusion(replace(REJECTED, until_s=90.0))], 10.0)
    states.expire_exclusions(50.0)
    assert [each.until_s for each in states.exclusions] == [90.0]
    assert [*states.take_due(50.0)] == ["two"]
    states.withdraw("two", 60.0)
    assert [*states.exclusions] == []


def test_a_withdrawn_stream_starts_again_above_its_last_epoch(states: PlannedStreams) -> None:
    propose(states, "one")
    states.withdraw("one", 11.0)
    assert not states["one"].is_declared
    assert states["one"].epochs.last_epoch == 1
    assert states["one"].epochs.proposal is None


def test_an_event_of_a_device_reaches_every_stream(states: PlannedStreams) -> None:
    propose(states, "one")
    propose(states, "two")
    states.advance_all(ev.DeviceLost("server"), 11.0)
    assert all(state.epochs.proposal is None for state in states)


def test_a_lost_device_frees_the_groups_of_its_users(states: PlannedStreams) -> None:
    joint = snapshot_of(Policy(objective=Objective.TOTAL_DELAY))
    propose(states, "one")
    states.perform(states["one"].advance(ev.ReadyFrom("server", 1), 11.0), 11.0)
    propose(states, "two")
    states.abandon_users_of("pi", joint, 12.0)
    assert states["two"].epochs.proposal is not None
    states.abandon_users_of("server", snapshot_of(), 12.0)
    assert states["two"].epochs.proposal is not None
    states.abandon_users_of("server", joint, 12.0)
    assert states["two"].epochs.proposal is None


def test_statuses_are_published_once(states: PlannedStreams) -> None:
    assert len(states.changed_statuses()) == 2
    assert states.changed_statuses() == []


def test_a_snapshot_that_disagrees_is_found(states: PlannedStreams) -> None:
    states.validate(snapshot_of())
    with pytest.raises(InvariantError, match="stream one: its policy is in the snapshot"):
        states.validate(snapshot_of(Policy(retry_limit=9)))
    with pytest.raises(InvariantError, match="stream one: snapshot and state agree on declaration"):
        states.validate(after(snapshot_of(), declaration("one", model="")))
    with pytest.raises(InvariantError, match="snapshot: its streams have a state"):
        states.validate(after(snapshot_of(), declaration("three")))
