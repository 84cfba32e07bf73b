"""Who is asked to measure what, and when again."""

import itertools

from planner_fleet import MODEL, manifest_of
from planner_world import SERVER_MS, after, declaration, presence, profile, world

from services.planner.problems import profiling
from services.planner.problems.profiling import FIRST_REPEAT_S, GRACE_S, LONGEST_REPEAT_S, PATIENCE_S
from services.planner.problems.snapshot import PolicySet, Snapshot
from shared.messages.devices import State
from shared.plan.policy import DeviceRule, Policy

NEW = ("new", MODEL)


def fresh() -> Snapshot:
    return world(presence("new"))


def test_missing_profiles_of_streams_that_are_wanted() -> None:
    assert profiling.wanted_profiles(fresh()) == {NEW}
    assert profiling.wanted_profiles(after(fresh(), presence("new", State.OFFLINE))) == set()
    assert profiling.wanted_profiles(after(fresh(), declaration(model=""))) == set()
    denied = PolicySet("camera", Policy(devices=DeviceRule(deny=("new",))))
    assert profiling.wanted_profiles(after(fresh(), denied)) == set()
    assert profiling.wanted_profiles(after(fresh(), profile("new", (1.0,)))) == {NEW}
    assert profiling.wanted_profiles(after(fresh(), profile("new", SERVER_MS))) == set()
    assert profiling.wanted_profiles(after(fresh(), manifest_of("b" * 64))) >= {("pi", "b" * 64)}


def test_a_device_is_asked_after_a_grace_and_again_with_growing_pauses() -> None:
    waiting = profiling.update({}, fresh(), 100.0)
    assert profiling.take_due(waiting, 100.0 + GRACE_S - 0.1)[1] == ()
    moments, now_s = [], 100.0
    while len(moments) < 6:
        now_s = profiling.next_due_s(waiting)
        waiting, due = profiling.take_due(waiting, now_s)
        assert due == (NEW,)
        moments.append(now_s)
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert pauses == [FIRST_REPEAT_S, 120.0, 240.0, 480.0, LONGEST_REPEAT_S]


def test_a_restarted_device_is_asked_afresh() -> None:
    waiting, _ = profiling.take_due(profiling.update({}, fresh(), 100.0), 101.0)
    same = profiling.update(waiting, fresh(), 102.0)
    assert same == waiting
    restarted = profiling.update(waiting, after(fresh(), presence("new", boot_id="boot2")), 102.0)
    assert restarted[NEW].asked == 0 and profiling.next_due_s(restarted) == 102.0 + GRACE_S


def test_a_first_plan_waits_only_so_long_and_not_for_a_failure() -> None:
    waiting = profiling.update({}, fresh(), 100.0)
    assert profiling.measuring(waiting, MODEL, 100.0) == ["new"]
    assert profiling.measuring(waiting, "b" * 64, 100.0) == []
    assert profiling.measuring(waiting, MODEL, 100.0 + PATIENCE_S) == []
    assert profiling.measuring(profiling.failed(waiting, NEW, "no disk"), MODEL, 100.0) == []
    assert profiling.failed(waiting, ("other", MODEL), "who") == waiting


def test_nobody_is_asked_when_nothing_is_missing() -> None:
    assert profiling.update({}, world(), 100.0) == {}
    assert profiling.next_due_s({}) == float("inf")
