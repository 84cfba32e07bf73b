"""A candidate beside the plan in force: what moves, and what the user has changed."""

from dataclasses import replace

import pytest

from services.planner.decisions.candidates import (
    Candidate,
    is_late,
    settings_changed,
    strategy_chosen,
    user_change,
)
from shared.messages.events import RerouteCause
from shared.policy import Policy
from tests.support.planner_world import candidate_of, declaration, in_force_for, link, problem_of, route, world

PROBLEM = problem_of(world())
PRESENT = in_force_for(PROBLEM)


@pytest.fixture
def candidate() -> Candidate:
    return replace(candidate_of(PROBLEM), present=PRESENT)


def test_only_other_routes_move(candidate: Candidate) -> None:
    assert not candidate.moves
    assert replace(candidate, routes=(route((0, 5, "pi")),)).moves
    assert replace(candidate, present=None).moves
    assert candidate.stream == "camera"


def test_a_plan_names_the_streams_planned_with_it() -> None:
    assert PRESENT.together == ("camera",)
    assert replace(PRESENT, problem=None).together == ()


def test_the_first_change_of_the_user_is_the_cause(candidate: Candidate) -> None:
    assert user_change(PRESENT, candidate) is None
    policy = user_change(PRESENT, replace(candidate, policy=Policy(min_gain=0.9)))
    assert policy is not None
    assert policy.cause is RerouteCause.POLICY_CHANGED
    for present, text in (
        (replace(PRESENT, model="b" * 64), "model"),
        (replace(PRESENT, source="server"), "declaration"),
        (replace(PRESENT, jobs=4), "a burst has 1 requests"),
    ):
        changed = user_change(present, candidate)
        assert changed is not None
        assert changed.cause is RerouteCause.STREAM_CHANGED
        assert text in changed.text


def test_settings_are_those_that_travel_with_the_plan(candidate: Candidate) -> None:
    assert not settings_changed(candidate)
    assert settings_changed(replace(candidate, policy=Policy(max_in_flight=2)))
    assert not settings_changed(replace(candidate, policy=Policy(min_gain=0.9, cooldown_ms=1.0)))
    assert settings_changed(replace(candidate, present=replace(PRESENT, live=True)))
    assert not settings_changed(replace(candidate, present=None))


def test_a_strategy_is_chosen_by_another_name_than_before(candidate: Candidate) -> None:
    assert not strategy_chosen(candidate)
    named = Policy(strategy="shortest_path")
    assert strategy_chosen(replace(candidate, policy=named))
    assert not strategy_chosen(replace(candidate, policy=named, present=replace(PRESENT, policy=named)))
    assert not strategy_chosen(replace(candidate, policy=named, present=None))


def test_a_plan_is_late_past_its_deadline(candidate: Candidate) -> None:
    slow = problem_of(world(declaration(), link("pi", "server", 1.0)))
    assert not is_late(candidate, slow)
    strict = replace(slow, policy=replace(slow.policy, deadline_ms=200.0))
    assert is_late(candidate, strict)
    assert not is_late(replace(candidate, present=None), strict)
