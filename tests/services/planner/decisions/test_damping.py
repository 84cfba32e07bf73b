"""Damping of returns to routes that were left."""

from services.planner.decisions.damping import (
    DAMPING_WINDOW_S,
    Departure,
    is_return,
    last_departure_s,
    remember,
    required_gain,
)
from shared.policy import Policy
from tests.support.planner_world import route

SERVER, PI = (route((0, 5, "server")),), (route((0, 5, "pi")),)


def left(at_s: float, *, returned: bool = False) -> Departure:
    return Departure(at_s, PI, returned)


def test_returning_needs_twice_the_gain_each_time() -> None:
    policy = Policy(min_gain=0.05)
    assert required_gain(policy, PI, (), 100.0) == 0.05
    assert required_gain(policy, SERVER, (left(99.0),), 100.0) == 0.05
    assert required_gain(policy, PI, (left(99.0),), 100.0) == 0.1
    assert required_gain(policy, PI, (left(98.0, returned=True), left(99.0, returned=True)), 100.0) == 0.4
    assert required_gain(policy, PI, (left(99.0, returned=True),) * 9, 100.0) == 0.5
    assert required_gain(policy, PI, (left(99.0),), 100.0 + DAMPING_WINDOW_S) == 0.05
    assert required_gain(Policy(min_gain=0.0), PI, (left(99.0),), 100.0) == 0.02
    assert required_gain(Policy(min_gain=0.9), PI, (left(99.0),), 100.0) == 0.9


def test_departures_are_forgotten_after_the_window() -> None:
    kept = remember((left(10.0), left(50.0)), left(100.0))
    assert [each.at_s for each in kept] == [50.0, 100.0]
    assert is_return(PI, kept, 110.0)
    assert not is_return(SERVER, kept, 110.0)
    assert last_departure_s(kept) == 100.0
    assert last_departure_s(()) == float("-inf")
