"""Corrections are bounded, multiply, and decay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.planner.problems.corrections import (
    HALF_LIFE_S,
    LARGEST_FACTOR,
    NO_CORRECTIONS,
    device_part,
    link_part,
)
from services.planner.problems.problem_from_snapshot import Circumstances, build_problem
from tests.support.planner_world import world

SERVER, LINK = device_part("server"), link_part("pi", "server")


@given(st.lists(st.tuples(st.floats(0.0, 1e9), st.floats(0, 1000)), max_size=20))
def test_factors_stay_within_their_bounds(learned: list[tuple[float, float]]) -> None:
    corrections, now_s = NO_CORRECTIONS, 0.0
    for factor, later_s in learned:
        now_s += later_s
        corrections = corrections.learn({SERVER: factor}, now_s)
        assert 1.0 <= corrections.factor(SERVER, now_s) <= 1.05 * LARGEST_FACTOR


def test_a_factor_decays_to_one_and_is_forgotten() -> None:
    corrections = NO_CORRECTIONS.learn({SERVER: 4.0}, 100.0)
    assert corrections.factor(SERVER, 100.0) == pytest.approx(4.0, rel=0.05)
    assert corrections.factor(SERVER, 100.0 + HALF_LIFE_S) == pytest.approx(2.0, rel=0.05)
    assert corrections.factor(SERVER, 100.0 + 20 * HALF_LIFE_S) == 1.0
    assert list(corrections.learn({}, 100.0 + 20 * HALF_LIFE_S).present(0.0)) == []


def test_a_second_failure_lasts_longer() -> None:
    once = NO_CORRECTIONS.learn({SERVER: 2.0}, 0.0)
    twice = once.learn({SERVER: 2.0}, 1.0)
    assert twice.factor(SERVER, HALF_LIFE_S) > once.factor(SERVER, HALF_LIFE_S)


def test_no_number_is_learned_from_nonsense() -> None:
    assert NO_CORRECTIONS.learn({SERVER: float("inf"), LINK: float("nan")}, 0.0).factor(SERVER, 0.0) == 1.0


def test_a_correction_slows_the_device_or_the_link_of_a_problem() -> None:
    corrections = NO_CORRECTIONS.learn({SERVER: 2.0, LINK: 4.0}, 0.0)
    plain = build_problem(world(), ("camera",), Circumstances(0.0, {}))
    corrected = build_problem(world(), ("camera",), Circumstances(0.0, {}, corrections=corrections))
    assert corrected.devices["server"].load_factor == pytest.approx(2.0 * plain.devices["server"].load_factor, rel=0.05)
    assert corrected.devices["pi"] == plain.devices["pi"]
    old, new = (next(each for each in problem.links if each.source == "pi") for problem in (plain, corrected))
    assert new.bandwidth_mbps == pytest.approx(old.bandwidth_mbps / 4, rel=0.05)
    assert new.latency_ms == pytest.approx(old.latency_ms * 4, rel=0.05)
