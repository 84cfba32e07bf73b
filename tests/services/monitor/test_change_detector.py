"""Changes are published once, noise is not, silence is bounded."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.change_detector import ChangeDetector, MonitoredQuantity, Occasion, relative_change


def one(value: float, floor: float = 1e-9) -> dict[str, MonitoredQuantity]:
    return {"load": MonitoredQuantity(value, floor)}


def published(value: float = 1.0) -> ChangeDetector:
    detector = ChangeDetector()
    assert detector.examine(one(value), 0.0) is Occasion.CHANGE
    detector.published(one(value), 0.0)
    return detector


def test_a_small_change_is_published_when_it_persists() -> None:
    detector = published()
    assert detector.examine(one(1.2), 1.0) is None
    assert detector.examine(one(1.2), 2.0) is Occasion.CHANGE


def test_a_change_that_goes_away_is_not_published() -> None:
    detector = published()
    for now_s in range(1, 5):
        assert detector.examine(one(1.2 if now_s % 2 else 1.0), float(now_s)) is None


@pytest.mark.parametrize("value", [2.0, 0.5])
def test_a_great_change_is_published_at_once(value: float) -> None:
    assert published().examine(one(value), 0.1) is Occasion.CHANGE


def test_a_heartbeat_follows_anyway() -> None:
    detector = published()
    assert detector.examine(one(1.0), 4.9) is None
    assert detector.examine(one(1.0), 5.0) is Occasion.HEARTBEAT
    assert detector.next_heartbeat_s() == 5.0


def test_what_appears_or_disappears_is_a_change() -> None:
    detector = published()
    assert detector.examine({}, 0.1) is Occasion.CHANGE
    assert detector.examine({**one(1.0), "other": MonitoredQuantity(1.0)}, 0.1) is Occasion.CHANGE


def test_changes_among_values_below_the_floor_are_none() -> None:
    detector = ChangeDetector()
    detector.published(one(0.1, floor=2.0), 0.0)
    for now_s in (1.0, 2.0, 3.0):
        assert detector.examine(one(1.9, floor=2.0), now_s) is None
    assert detector.examine(one(8.0, floor=2.0), 4.0) is Occasion.CHANGE


def test_a_slow_drift_is_published_step_by_step() -> None:
    detector, publications = published(), 0
    for step in range(1, 201):
        value = one(1.01**step)
        if detector.examine(value, step / 1000) is not None:
            detector.published(value, step / 1000)
            publications += 1
    assert 10 <= publications <= 20


@pytest.mark.parametrize("seed", range(10))
def test_noise_below_the_threshold_is_never_published(seed: int) -> None:
    rng, detector = random.Random(seed), published()
    assert all(detector.examine(one(rng.uniform(0.95, 1.05)), 0.001 * n) is None for n in range(500))


@given(st.floats(0.001, 1e6), st.floats(0.001, 1e6))
def test_relative_change_is_symmetrical(first: float, second: float) -> None:
    there = relative_change(MonitoredQuantity(first), MonitoredQuantity(second))
    assert there == relative_change(MonitoredQuantity(second), MonitoredQuantity(first)) >= 0
