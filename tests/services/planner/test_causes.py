"""Which change is to blame for a reroute."""

import pytest
from planner_world import SERVER_MS, after, candidate_of, link, load, presence, problem_of, profile, world

from services.planner.causes import Cause, find_cause
from services.planner.snapshot import Change, Snapshot
from shared.messages.devices import LinkEstimate, Links, State
from shared.messages.events import RerouteCause
from shared.messages.streams import StreamUsage


def cause_of(before: Snapshot, *changes: Change) -> Cause:
    now = after(before, *changes, now_s=120.0)
    old, new = problem_of(before), problem_of(now)
    return find_cause(old, new, candidate_of(old).routes, candidate_of(new).routes, now)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        (
            (link("pi", "server", 4.1, at_s=7.0),),
            Cause(RerouteCause.LINK_CHANGED, "link pi->server fell from 50.0 to 4.1 Mbps", 7.0),
        ),
        (
            (link("pi", "server", 50.0, latency_ms=400.0, at_s=7.0),),
            Cause(RerouteCause.LINK_CHANGED, "latency of link pi->server rose from 2.0 to 400.0 ms", 7.0),
        ),
        (
            (load("server", 9.0, at_s=8.0),),
            Cause(RerouteCause.LOAD_CHANGED, "load factor of server rose from 1.0 to 9.0", 8.0),
        ),
        ((presence("server", State.OFFLINE),), Cause(RerouteCause.DEVICE_LOST, "device server is gone", 120.0)),
        (
            (profile("server", tuple(50 * each for each in SERVER_MS)),),
            Cause(RerouteCause.PROFILE_CHANGED, "profile of server changed", None),
        ),
        (
            (StreamUsage(stream="camera", input_bytes=2_000_000),),
            Cause(RerouteCause.STREAM_CHANGED, "requests rose from 100.0 to 2000.0 kB", None),
        ),
        ((link("pi", "server", 0.0, at_s=9.0),), Cause(RerouteCause.LINK_CHANGED, "link pi->server is dead", 9.0)),
        ((link("server", "pi", 0.0, at_s=9.0),), Cause(RerouteCause.LINK_CHANGED, "link server->pi is dead", 9.0)),
    ],
)
def test_the_only_change_is_the_cause(changes: tuple[Change, ...], cause: Cause) -> None:
    assert cause_of(world(), *changes) == cause


def test_of_several_changes_the_one_that_matters_is_the_cause() -> None:
    noise = (link("server", "pi", 20.0), load("pi", 1.3), presence("idle"))
    assert cause_of(world(), *noise, load("server", 30.0)).cause is RerouteCause.LOAD_CHANGED
    assert cause_of(world(), *noise, link("pi", "server", 2.0)).cause is RerouteCause.LINK_CHANGED


def test_a_device_that_comes_is_the_cause_of_a_better_route() -> None:
    before = world(presence("server", State.OFFLINE))
    assert cause_of(before, presence("server")) == Cause(RerouteCause.DEVICE_BACK, "device server is there", 120.0)
    both = Links(
        device="pi",
        sent_at_s=1.0,
        links=tuple(LinkEstimate(target=each, bandwidth_mbps=50.0, latency_ms=2.0) for each in ("server", "jetson")),
    )
    faster = (presence("jetson"), profile("jetson", tuple(each / 5 for each in SERVER_MS)), both)
    assert cause_of(world(), *faster).text == "device jetson is there"


def test_a_link_that_appears_is_the_cause() -> None:
    alone = world(Links(device="pi", sent_at_s=1.0), Links(device="server", sent_at_s=1.0))
    assert cause_of(alone, link("pi", "server", 50.0, at_s=5.0)) == Cause(
        RerouteCause.LINK_CHANGED, "link pi->server appeared", 5.0
    )


def test_without_any_change_a_better_route_was_found() -> None:
    problem = problem_of(world())
    routes = candidate_of(problem).routes
    assert find_cause(problem, problem, routes, routes, world()).text == "a better route was found"
