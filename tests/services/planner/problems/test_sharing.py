"""Memory and computing time that streams take from each other."""

import pytest

from services.planner.problems.sharing import LARGEST_SHARE, busy_shares, held_bytes, segment_bytes, slowdown
from shared.messages.devices import State
from shared.messages.streams import CommittedPlan, PlanRoute, StreamUsage
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import declaration, load, presence, route, world


def plan(*routes: PlanRoute) -> CommittedPlan:
    return CommittedPlan(stream="camera", epoch=1, model=MODEL, source="pi", strategy="auto", routes=routes)


SPLIT = route((0, 2, "pi"), (2, 5, "server"))


def test_a_segment_that_streams_share_is_held_once() -> None:
    manifest = manifest_of()
    both = [(manifest, (SPLIT, route((0, 5, "server"))))] * 2
    held = held_bytes(both)
    assert held["pi"] == segment_bytes(manifest, 0, 2) == 1_000_000 + 600_000
    assert held["server"] == (3_000_000 + 200_000) + (4_000_000 + 600_000)


def test_a_device_is_busy_for_as_long_as_it_computes() -> None:
    shares = busy_shares([plan(SPLIT)], world(declaration(rate_hz=10.0), load("server", 2.0)), 100.0)
    assert shares == {"pi": pytest.approx(10 * 0.045), "server": pytest.approx(10 * 2 * 0.015)}


def test_routes_share_the_rate_by_their_weights_and_streams_add_up() -> None:
    weighted = plan(route((0, 5, "pi"), weight=1), route((0, 5, "server"), weight=3))
    shares = busy_shares([weighted, weighted], world(declaration(rate_hz=4.0)), 100.0)
    assert shares == {"pi": pytest.approx(2 * 1 * 0.165), "server": pytest.approx(2 * 3 * 0.021)}


def test_what_the_source_sees_counts_more_than_what_was_declared() -> None:
    usage = StreamUsage(stream="camera", input_bytes=5, rate_hz=20.0)
    assert busy_shares([plan(SPLIT)], world(declaration(rate_hz=1.0), usage), 100.0)["pi"] == pytest.approx(0.9)


def test_a_stream_that_does_not_run_takes_nothing() -> None:
    assert busy_shares([plan(SPLIT)], world(), 100.0) == {"pi": 0.0, "server": 0.0}
    offline = world(declaration(rate_hz=10.0), presence("pi", State.OFFLINE))
    assert busy_shares([plan(SPLIT)], offline, 100.0) == {"pi": 0.0, "server": 0.0}


def test_slowing_down_has_a_bound() -> None:
    assert [slowdown(0.0), slowdown(0.5)] == [1.0, 2.0]
    assert slowdown(7.0) == slowdown(LARGEST_SHARE) == pytest.approx(5.0)
