"""The planner in a loop with a simulated fleet: swings of a load or a link cost at most `min_gain`.

The better fixed plan is what a user could have chosen by hand. Nothing here takes real time.
"""

import statistics

import pytest

from shared.policy import Policy
from tests.support.closed_loop import BLOCKS, Loop, Wave, square
from tests.support.planner_world import route

MIN_GAIN = Policy().min_gain
FOR_S = 100.0


@pytest.mark.parametrize("period_s", [1.0, 2.0, 4.0, 7.0, 11.0, 20.0])
@pytest.mark.parametrize("high", [1.6, 4.0], ids=["the loaded one is better", "the other one is better"])
def test_a_load_that_swings_costs_at_most_min_gain_over_the_better_fixed_plan(period_s: float, high: float) -> None:
    wave = square(period_s, 1.0, high)
    loop = Loop({"camera": 600.0, "first": 30.0, "second": 45.0}, {"door": "camera"}, {"first": wave})
    loop.run(FOR_S)
    better_ms = min(loop.fixed_ms("door", device, FOR_S) for device in ("first", "second"))
    assert statistics.mean(loop.latencies_ms["door"]) <= (1 + MIN_GAIN) * better_ms
    assert loop.reroutes <= 5


@pytest.mark.parametrize("period_s", [2.0, 5.0, 20.0])
def test_a_link_that_swings_costs_at_most_min_gain_over_the_better_fixed_plan(period_s: float) -> None:
    wave = square(period_s, 1.2, 200.0)
    loop = Loop({"camera": 60.0, "server": 20.0}, {"door": "camera"}, mbps=wave)
    loop.run(FOR_S)
    better_ms = min(loop.fixed_ms("door", device, FOR_S) for device in ("camera", "server"))
    assert statistics.mean(loop.latencies_ms["door"]) <= (1 + MIN_GAIN) * better_ms
    # Swings of 20 s can be followed at a gain: two reroutes per cycle.
    assert loop.reroutes <= max(5.0, 2 * FOR_S / period_s + 1 if period_s > 10 else 0.0)


def ramp(from_s: float, until_s: float, high: float = 4.0) -> Wave:
    return lambda at_s: high if from_s <= at_s < until_s else 1.0


def test_a_load_that_comes_for_a_while_is_left_and_returned_to() -> None:
    loop = Loop({"camera": 600.0, "first": 30.0, "second": 45.0}, {"door": "camera"}, {"first": ramp(20.0, 60.0)})
    loop.run(19.0)
    assert loop.devices("door") == ("first",)
    loop.run(5.0)
    assert loop.devices("door") == ("second",)
    loop.run(40.0)
    assert loop.devices("door") == ("first",)
    assert loop.reroutes == 2


def test_after_the_swings_the_better_route_is_taken() -> None:
    waves = square(4.0, 1.0, 4.0)
    loop = Loop(
        {"camera": 600.0, "first": 30.0, "second": 45.0},
        {"door": "camera"},
        {"first": lambda at_s: waves(at_s) if at_s < 40.0 else 1.0},
    )
    loop.run(40.0)
    assert loop.devices("door") == ("second",)
    loop.run(20.0)
    assert loop.devices("door") == ("first",)


@pytest.mark.parametrize("rate_hz", [8.0, 14.0, 20.0])
def test_two_streams_do_not_push_each_other_off_a_server(rate_hz: float) -> None:
    loop = Loop(
        {"north": 600.0, "south": 600.0, "first": 30.0, "second": 40.0},
        {"a": "north", "b": "south"},
        rate_hz=rate_hz,
    )
    loop.run(60.0)
    assert loop.reroutes <= 1
    first, second = ((route((0, BLOCKS, device)),) for device in ("first", "second"))
    apart_ms = statistics.mean((loop.true_ms("a", first, 0.0), loop.true_ms("b", second, 0.0)))
    together_ms = loop.true_ms("a", first, 0.0, ["first"])
    mean_ms = statistics.mean(value for own in loop.latencies_ms.values() for value in own)
    assert mean_ms <= (1 + MIN_GAIN) * (apart_ms if loop.devices("a") != loop.devices("b") else together_ms)


def test_a_reroute_that_made_it_worse_is_taken_back_and_not_repeated() -> None:
    """The second server promises 41 ms against 61, and takes 120."""
    loop = Loop(
        {"camera": 600.0, "first": 30.0, "second": 40.0},
        {"door": "camera"},
        {"first": ramp(10.0, 1000.0, 2.0)},
        hidden={"second": 3.0},
        noise=0.1,
    )
    loop.run(20.0)
    assert loop.devices("door") == ("first",)
    assert [" taken back" in each for each in loop.reasons] == [False, False, True]
    assert "against 6" in loop.reasons[-1]
    assert "41 ms predicted" in loop.reasons[-1]
    loop.run(40.0)
    assert loop.devices("door") == ("first",)
    assert loop.reroutes == 2


def test_a_reroute_that_keeps_its_promise_stays() -> None:
    loop = Loop(
        {"camera": 600.0, "first": 30.0, "second": 40.0},
        {"door": "camera"},
        {"first": ramp(10.0, 1000.0, 2.0)},
        hidden={"first": 1.3, "second": 1.3},
        noise=0.1,
    )
    loop.run(60.0)
    assert loop.devices("door") == ("second",)
    assert loop.reroutes == 1
