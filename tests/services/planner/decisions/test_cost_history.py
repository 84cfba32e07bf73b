"""Costs that swing are recognised after one cycle, and compared by their means over whole cycles."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.planner.decisions.cost_history import HISTORY_S, CostHistory, CostSample, key_of
from tests.support.planner_world import link, problem_of, route, world

SERVER, PI = {"camera": (route((0, 5, "server")),)}, {"camera": (route((0, 5, "pi")),)}
FIRST, SECOND = key_of(SERVER), key_of(PI)


def history(first: Callable[[float], float], second: float, until_s: float, step_s: float = 0.25) -> CostHistory:
    """Return a history in which the first route's cost changes."""
    count = int(until_s / step_s)
    samples = (CostSample(number * step_s, {FIRST: first(number * step_s), SECOND: second}) for number in range(count))
    return CostHistory(tuple(samples), {FIRST: SERVER, SECOND: PI})


def square(period_s: float, low: float, high: float) -> Callable[[float], float]:
    return lambda at_s: high if at_s % period_s < period_s / 2 else low


@given(period_s=st.floats(1.0, 5.0), low=st.floats(10.0, 39.0), high=st.floats(41.0, 400.0))
def test_the_means_of_a_square_wave_are_those_of_whole_cycles(period_s: float, low: float, high: float) -> None:
    step_s = 0.02 * period_s
    swinging = history(square(period_s, low, high), 40.0, 2.9 * period_s, step_s)
    if abs(low - 40) < 1 or abs(high - 40) < 1:
        return
    found = swinging.swing(FIRST, SECOND, min(2.9 * period_s, HISTORY_S))
    assert found is not None
    assert found[0] == pytest.approx((low + high) / 2, rel=0.12)
    assert found[1] == pytest.approx(40.0)


def test_a_swing_that_can_be_followed_at_a_gain_is_none() -> None:
    slow, quick = (history(square(period_s, 10.0, 400.0), 40.0, 29.0) for period_s in (13.0, 5.0))
    assert slow.swing(FIRST, SECOND, 29.0) is not None, "each turn costs 2.5 s at ten times the cost"
    assert quick.swing(FIRST, SECOND, 14.0) is not None
    mild = history(square(13.0, 10.0, 70.0), 40.0, 29.0)
    assert mild.swing(FIRST, SECOND, 29.0) is None


def test_one_change_is_no_swing() -> None:
    assert history(lambda at_s: 30.0 if at_s < 10 else 120.0, 40.0, 12.0).swing(FIRST, SECOND, 12.0) is None


def test_a_change_and_its_end_are_no_swing() -> None:
    came_and_went = history(lambda at_s: 120.0 if 2 < at_s < 10 else 30.0, 40.0, 12.0)
    assert came_and_went.swing(FIRST, SECOND, 12.0) is None


def test_a_brief_change_is_waited_for_as_long_as_it_lasted() -> None:
    brief = history(lambda at_s: 120.0 if 5 < at_s <= 8 else 30.0, 40.0, 20.0)
    assert brief.swing(FIRST, SECOND, 10.0) == pytest.approx((75.0, 40.0), rel=0.1)
    assert brief.swing(FIRST, SECOND, 13.5) is None


def test_a_new_rival_is_judged_in_the_last_state_as_well() -> None:
    before = CostHistory().observed(problem_of(world()), (SERVER,), 1.0)
    after = before.observed(problem_of(world(link("pi", "server", 2.0))), (PI,), 2.0)
    assert after.samples[0].costs[FIRST] < after.samples[0].costs[SECOND]
    assert after.samples[1].costs[FIRST] > after.samples[1].costs[SECOND]


def test_a_phase_much_longer_than_those_before_ends_the_swing() -> None:
    waves = square(4.0, 30.0, 120.0)
    lasting = history(lambda at_s: waves(at_s) if at_s < 16 else 30.0, 40.0, 24.0)
    assert lasting.swing(FIRST, SECOND, 16.5) is not None
    assert lasting.swing(FIRST, SECOND, 16.0 + 1.6 * 2.0 + 2.0) is None


def test_swings_are_forgotten() -> None:
    waves = square(4.0, 30.0, 120.0)
    found = history(waves, 40.0, 16.0)
    assert found.is_swinging(16.0)
    assert not found.is_swinging(16.0 + HISTORY_S)


def test_noise_around_equal_costs_is_no_swing() -> None:
    assert not history(square(1.0, 39.5, 40.5), 40.0, 10.0).is_swinging(10.0)


def test_costs_of_rivals_are_followed_and_old_samples_dropped() -> None:
    found = CostHistory()
    for number in range(200):
        mbps = 50.0 if number % 2 else 2.0
        found = found.observed(problem_of(world(link("pi", "server", mbps))), (SERVER, PI), 0.5 * number)
    assert found.samples[1].at_s >= 0.5 * 199 - HISTORY_S
    assert found.samples[0].at_s <= 0.5 * 199 - HISTORY_S
    assert set(found.samples[-1].costs) == {FIRST, SECOND}
    assert found.is_swinging(100.0)


def test_a_rival_on_a_lost_device_has_no_cost() -> None:
    lost = {"camera": (route((0, 5, "nowhere")),)}
    found = CostHistory().observed(problem_of(world()), (lost, SERVER), 1.0)
    assert set(found.samples[-1].costs) == {FIRST}


def test_samples_in_quick_succession_replace_each_other() -> None:
    found = CostHistory()
    for number in range(1000):
        found = found.observed(problem_of(world()), (SERVER,), 1e-3 * number)
    assert len(found.samples) <= 12
