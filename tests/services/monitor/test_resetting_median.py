"""The sliding median restarts on a change and drops single outliers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitor.resetting_median import Deviation, ResettingMedian, weighted_quantile


def median_of_ones(count: int = 5) -> ResettingMedian[float]:
    median: ResettingMedian[float] = ResettingMedian(lambda value: (value, 1.0))
    for _ in range(count):
        median.add(1.0, Deviation.NONE)
    return median


def test_contradictions_in_alternating_directions_do_not_freeze_the_estimate() -> None:
    median: ResettingMedian[float] = ResettingMedian(lambda value: (value, 1.0))
    for _ in range(5):
        median.add(1.0, Deviation.NONE)
    for value, deviation in [(10.0, Deviation.ABOVE), (0.1, Deviation.BELOW), (10.0, Deviation.ABOVE)]:
        median.add(value, deviation)
    assert median.value == pytest.approx(10.0)


def test_two_deviations_in_one_direction_restart_the_window() -> None:
    median = median_of_ones()
    median.add(3.0, Deviation.ABOVE)
    assert (median.value, median.in_doubt) == (1.0, True)
    median.add(3.1, Deviation.ABOVE)
    assert median.samples == (3.0, 3.1)
    assert not median.in_doubt


def test_an_outlier_between_agreeing_samples_is_dropped() -> None:
    median = median_of_ones()
    median.add(3.0, Deviation.ABOVE)
    median.add(1.0, Deviation.NONE)
    assert median.samples == (1.0,) * 6
    assert not median.in_doubt


def test_deviations_of_the_same_moment_count_once() -> None:
    median: ResettingMedian[float] = ResettingMedian(lambda value: (value, 1.0), coincide=lambda earlier, later: True)
    median.add(1.0, Deviation.NONE)
    for _ in range(5):
        median.add(3.0, Deviation.ABOVE)
    assert median.value == 1.0


@pytest.mark.parametrize(
    ("ratio", "difference_ms", "deviation"),
    [
        (3.0, 1.0, Deviation.NONE),
        (1.3, 50.0, Deviation.NONE),
        (3.0, 50.0, Deviation.ABOVE),
        (0.3, -50.0, Deviation.BELOW),
    ],
)
def test_a_deviation_exceeds_the_noise_and_the_agreement(
    ratio: float, difference_ms: float, deviation: Deviation
) -> None:
    assert Deviation.of(ratio, difference_ms, noise_ms=1.5) is deviation


def test_the_quantile_is_weighted_and_a_tie_gives_the_middle() -> None:
    assert weighted_quantile([(1.0, 1.0), (5.0, 3.0)], 0.5) == 5.0
    assert weighted_quantile([(1.0, 1.0), (2.0, 1.0)], 0.5) == 1.5


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.1, 100)), min_size=1), st.floats(0.01, 1))
def test_a_quantile_lies_among_its_samples(samples: list[tuple[float, float]], quantile: float) -> None:
    values = [value for value, _ in samples]
    assert min(values) <= weighted_quantile(samples, quantile) <= max(values)


def test_weak_evidence_that_ends_with_a_change_of_direction_is_no_fault() -> None:
    """Seven samples deviate upwards, the eighth downwards: it is alone in its direction."""
    median: ResettingMedian[float] = ResettingMedian(lambda sample: (sample, 1.0), confirmations=1)
    median.add(1.0, Deviation.NONE)
    for sample in range(7):
        median.add(3.0 + sample, Deviation.ABOVE, confirmations=8)
    for _ in range(9):
        median.add(0.2, Deviation.BELOW, confirmations=4)
    assert median.value is not None
