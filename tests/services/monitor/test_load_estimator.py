"""The load factor follows a change within two samples; neither one outlier nor noise moves it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.load_estimator import LoadEstimator


@given(load=st.floats(1.0, 20.0), idle=st.lists(st.floats(1.0, 300.0), min_size=1, max_size=20))
def test_load_factor_is_exact_without_noise(load: float, idle: list[float]) -> None:
    estimator = LoadEstimator()
    for idle_ms in idle:
        estimator.add(load * idle_ms, idle_ms)
    assert estimator.load_factor == pytest.approx(load)


def test_load_is_followed_within_two_samples_up_and_down() -> None:
    estimator = LoadEstimator()
    for _ in range(9):
        estimator.add(20.0, 20.0)
    estimator.add(60.0, 20.0)
    assert estimator.load_factor == pytest.approx(1.0)
    assert estimator.in_doubt
    estimator.add(60.0, 20.0)
    assert estimator.load_factor == pytest.approx(3.0)
    estimator.add(20.0, 20.0)
    estimator.add(20.0, 20.0)
    assert estimator.load_factor == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(20))
def test_load_factor_under_ten_percent_noise_stays_within_ten_percent(seed: int) -> None:
    rng = random.Random(seed)
    estimator = LoadEstimator()
    for number in range(300):
        estimator.add(40.0 * rng.uniform(0.9, 1.1), 20.0)
        assert number < 5 or estimator.load_factor == pytest.approx(2.0, rel=0.1)


def test_nonsense_is_ignored() -> None:
    load = LoadEstimator()
    load.add(0.0, 5.0)
    load.add(5.0, 0.0)
    load.add(-1.0, -1.0)
    assert load.load_factor == 1.0
