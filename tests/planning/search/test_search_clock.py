"""The end of a search by a clock."""

from math import inf

import pytest

from planning.search.search_clock import ENDLESS, LEAST_TIME_S, OutOfTime, SearchClock


class _Clock:
    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def test_a_search_ends_with_its_budget() -> None:
    now_s = _Clock()
    clock = SearchClock.of_budget(now_s, 2.0)
    assert clock.left_s() == 2.0
    clock.check()
    now_s.s = 102.0
    assert (clock.left_s(), clock.is_over()) == (0.0, True)
    with pytest.raises(OutOfTime):
        clock.check()


def test_a_part_of_a_search_ends_no_later_than_the_whole() -> None:
    clock = SearchClock.of_budget(_Clock(), 2.0)
    assert clock.within(0.5).ends_s == 100.5
    assert clock.within(5.0).ends_s == 102.0


def test_no_budget_is_too_small_for_a_small_problem() -> None:
    assert SearchClock.of_budget(_Clock(), 0.0).left_s() == pytest.approx(LEAST_TIME_S)


def test_an_endless_clock_never_ends_and_keeps_its_parts_endless() -> None:
    assert not ENDLESS.is_over()
    assert ENDLESS.left_s() == inf
    assert not ENDLESS.within(inf).is_over()


def test_a_clock_that_jumps_to_infinity_ends_a_search() -> None:
    now_s = _Clock()
    clock = SearchClock.of_budget(now_s, 2.0).within(1.0)
    now_s.s = inf
    assert clock.is_over()
    assert clock.left_s() == 0.0
