from hypothesis import given
from hypothesis import strategies as st

from shared.clock_offset import ClockOffset

TRUE_S = 3600.0
delays = st.floats(0.0, 5.0)


def exchange(clock: ClockOffset, at_s: float, there_s: float, back_s: float, offset_s: float = TRUE_S) -> None:
    """Exchange messages that are under way for these times, with a clock that is ahead by the offset."""
    arrived_s = at_s + there_s + offset_s
    clock.exchanged(at_s, arrived_s, arrived_s + 0.001, at_s + there_s + 0.001 + back_s)


def test_nothing_is_known_before_the_first_exchange() -> None:
    assert ClockOffset().estimate(0.0) is None
    assert ClockOffset().age_s(0.0) == float("inf")


@given(st.lists(st.tuples(delays, delays), min_size=1, max_size=20), st.floats(-1e6, 1e6))
def test_the_true_offset_is_always_within_the_error(pairs: list[tuple[float, float]], offset_s: float) -> None:
    clock = ClockOffset()
    for number, (there_s, back_s) in enumerate(pairs):
        exchange(clock, 20.0 * number, there_s, back_s, offset_s)
        estimate = clock.estimate(20.0 * number + 10.0)
        assert estimate is not None
        assert abs(estimate.offset_s - offset_s) <= estimate.error_s + 1e-6


def test_one_quick_exchange_bounds_what_slow_ones_left_open() -> None:
    clock = ClockOffset()
    exchange(clock, 0.0, 2.0, 0.01)
    slow = clock.estimate(3.0)
    assert slow is not None
    assert 1.0 < slow.error_s < 1.1
    exchange(clock, 3.0, 0.001, 0.001)
    exchange(clock, 4.0, 2.0, 0.01)
    quick = clock.estimate(7.0)
    assert quick is not None
    assert quick.error_s < 0.002


def test_the_error_grows_with_age() -> None:
    clock = ClockOffset()
    exchange(clock, 0.0, 0.001, 0.001)
    then, later = clock.estimate(1.0), clock.estimate(1001.0)
    assert then is not None
    assert later is not None
    assert 0.09 < later.error_s - then.error_s < 0.11


def test_a_clock_that_was_set_is_followed_at_once() -> None:
    clock = ClockOffset()
    exchange(clock, 0.0, 0.001, 0.001)
    exchange(clock, 10.0, 0.001, 0.001, offset_s=TRUE_S - 50.0)
    estimate = clock.estimate(11.0)
    assert estimate is not None
    assert abs(estimate.offset_s - (TRUE_S - 50.0)) < 0.01


def test_readings_that_contradict_themselves_are_ignored() -> None:
    clock = ClockOffset()
    clock.exchanged(5.0, 10.0, 9.0, 6.0)
    clock.exchanged(5.0, 10.0, 11.0, 4.0)
    clock.exchanged(5.0, 10.0, 15.0, 6.0)
    assert clock.estimate(7.0) is None
