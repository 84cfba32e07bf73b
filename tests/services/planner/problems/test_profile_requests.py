"""Requests for missing profiles."""

import itertools

from services.planner.problems import profile_requests
from services.planner.problems.profile_requests import (
    FIRST_PLAN_WAITS_S,
    FIRST_REPEAT_S,
    GRACE_S,
    LONGEST_REPEAT_S,
    ProfileKey,
)
from services.planner.problems.snapshot import FleetSnapshot, PolicySet
from shared.messages.devices import BlockRefusal, State
from shared.policy import DeviceRule, Policy
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import SERVER_MS, after, declaration, presence, profile, world

MANIFEST = manifest_of(MODEL)
NEW = ProfileKey("new", MODEL, MANIFEST.graph_version())


def missing(snapshot: FleetSnapshot) -> set[profile_requests.ProfileKey]:
    return set(profile_requests.missing_profiles(snapshot))


def fresh() -> FleetSnapshot:
    return world(presence("new"))


def test_missing_profiles_of_streams_that_are_wanted() -> None:
    assert missing(fresh()) == {NEW}
    assert missing(after(fresh(), presence("new", State.OFFLINE))) == set()
    assert missing(after(fresh(), declaration(model=""))) == set()
    denied = PolicySet("camera", Policy(devices=DeviceRule(deny=("new",))))
    assert missing(after(fresh(), denied)) == set()
    assert missing(after(fresh(), profile("new", (1.0,)))) == {NEW}
    assert missing(after(fresh(), profile("new", SERVER_MS))) == set()
    other = manifest_of("b" * 64)
    assert missing(after(fresh(), other)) >= {ProfileKey("pi", "b" * 64, other.graph_version())}


def test_a_profile_of_another_input_shape_is_missing() -> None:
    """The number of blocks is the same, and the times are not."""
    measured = profile("new", SERVER_MS).model_copy(update={"graph": "0123456789abcdef"})
    assert missing(after(fresh(), measured)) == {NEW}
    assert missing(after(fresh(), measured.model_copy(update={"graph": NEW[2]}))) == set()


def test_a_device_is_asked_after_a_grace_and_again_with_growing_pauses() -> None:
    waiting = profile_requests.update({}, fresh(), 100.0)
    assert profile_requests.take_due(waiting, 100.0 + GRACE_S - 0.1)[1] == ()
    moments: list[float] = []
    now_s = 100.0
    while len(moments) < 6:
        now_s = profile_requests.next_due_s(waiting)
        waiting, due = profile_requests.take_due(waiting, now_s)
        assert due == (NEW,)
        moments.append(now_s)
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert pauses == [FIRST_REPEAT_S, 120.0, 240.0, 480.0, LONGEST_REPEAT_S]


def test_a_restarted_device_is_asked_afresh() -> None:
    waiting, _ = profile_requests.take_due(profile_requests.update({}, fresh(), 100.0), 101.0)
    same = profile_requests.update(waiting, fresh(), 102.0)
    assert same == waiting
    restarted = profile_requests.update(waiting, after(fresh(), presence("new", boot_id="boot2")), 102.0)
    assert restarted[NEW].requests == 0
    assert profile_requests.next_due_s(restarted) == 102.0 + GRACE_S


def test_a_first_plan_waits_only_so_long_and_not_for_a_failure() -> None:
    waiting = profile_requests.update({}, fresh(), 100.0)
    assert profile_requests.measuring(waiting, MANIFEST, 100.0) == ["new"]
    assert profile_requests.measuring(waiting, manifest_of("b" * 64), 100.0) == []
    assert profile_requests.measuring(waiting, MANIFEST, 100.0 + FIRST_PLAN_WAITS_S) == []
    assert profile_requests.measuring(profile_requests.failed(waiting, "new", MODEL, "no disk"), MANIFEST, 100.0) == []
    assert profile_requests.failed(waiting, "other", MODEL, "who") == waiting


def test_no_device_is_asked_when_no_profile_is_missing() -> None:
    assert profile_requests.update({}, world(), 100.0) == {}
    assert profile_requests.next_due_s({}) == float("inf")


def test_no_plan_waits_for_a_device_that_refuses_every_block() -> None:
    refusal = BlockRefusal(start=0, stop=len(SERVER_MS), reason="no such operator")
    refused = after(fresh(), profile("new", ()).model_copy(update={"refusals": (refusal,)}))
    waiting = profile_requests.update({}, refused, 100.0)
    assert waiting[NEW].failure == "no such operator"
    assert profile_requests.measuring(waiting, MANIFEST, 100.0) == []
    assert NEW not in profile_requests.update(waiting, after(refused, profile("new", SERVER_MS)), 101.0)
