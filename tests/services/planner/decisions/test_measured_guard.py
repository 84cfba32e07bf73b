"""A reroute that made the measured latency worse beyond noise is taken back, and its promise corrected."""

import random

import pytest

from services.planner.decisions.measured_guard import (
    LEAST_AFTER,
    TRIAL_S,
    MeasuredLatency,
    RerouteTrial,
    TakeBack,
    can_be_judged,
    judge,
    recent,
)
from services.planner.problems.corrections import device_part, link_part
from tests.support.planner_world import problem_of, route, world

PI, SERVER = (route((0, 5, "pi")),), (route((0, 5, "server")),)
PROBLEM = problem_of(world())
MIN_GAIN = 0.05


def trial(
    before_ms: float = 439.0,
    *,
    noise: float = 0.05,
    predicted_then_ms: float = 430.0,
    predicted_before_ms: float = 430.0,
    predicted_after_ms: float = 300.0,
    seed: int = 0,
) -> RerouteTrial:
    """Return the trial of a reroute from the pi to the server."""
    rng = random.Random(seed)
    before = tuple(
        MeasuredLatency(float(number), before_ms * rng.uniform(1 - noise, 1 + noise), predicted_then_ms)
        for number in range(10)
    )
    return RerouteTrial(2, PI, SERVER, before, predicted_before_ms, predicted_after_ms, 10.0)


def latencies(mean_ms: float, *, noise: float = 0.05, count: int = 20, seed: int = 1) -> list[float]:
    rng = random.Random(seed)
    return [mean_ms * rng.uniform(1 - noise, 1 + noise) for _ in range(count)]


def test_a_reroute_from_439_to_923_ms_is_taken_back() -> None:
    verdict = judge(trial().measured(latencies(923.0), {"server": 20.0}), PROBLEM, MIN_GAIN, 15.0)
    assert isinstance(verdict, TakeBack)
    assert verdict.routes == PI
    assert "measured 9" in verdict.text
    assert "300 ms predicted: taken back" in verdict.text
    # 923 ms for 300 predicted, where the routes before took 439 for 430.
    assert verdict.corrections == {link_part("pi", "server"): pytest.approx(923 / 300 / (439 / 430), rel=0.1)}


def test_a_device_whose_own_time_explains_the_loss_is_corrected() -> None:
    verdict = judge(trial().measured(latencies(923.0), {"server": 210.0}), PROBLEM, MIN_GAIN, 15.0)
    assert isinstance(verdict, TakeBack)
    # 21 ms are predicted for the server.
    assert verdict.corrections == {device_part("server"): pytest.approx(10.0, rel=0.1)}


def share_taken_back(factor: float, noise: float) -> float:
    """Return the share of 500 random reroutes that are taken back, which change the mean latency by a factor."""
    reroutes = [
        trial(noise=noise, seed=2 * seed).measured(latencies(439.0 * factor, noise=noise, seed=2 * seed + 1), {})
        for seed in range(500)
    ]
    return sum(isinstance(judge(each, PROBLEM, MIN_GAIN, 15.0), TakeBack) for each in reroutes) / len(reroutes)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.125, 0.3])
def test_a_reroute_that_is_not_worse_stays(noise: float) -> None:
    assert max(share_taken_back(factor, noise) for factor in (0.5, 1.0, 1.05, 1.09)) <= 0.002


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.125, 0.3])
def test_a_reroute_that_is_twice_as_slow_is_taken_back(noise: float) -> None:
    assert share_taken_back(2.0, noise) == 1.0


def test_the_latency_before_is_that_of_the_state_that_caused_the_reroute() -> None:
    """Before the server got busy the routes took 30 ms; now they would take 120, so that 45 ms are a gain."""
    left = trial(30.0, predicted_then_ms=30.0, predicted_before_ms=120.0, predicted_after_ms=45.0)
    assert isinstance(judge(left.measured(latencies(45.0), {}), PROBLEM, MIN_GAIN, 15.0), RerouteTrial)


def test_a_change_that_the_latencies_have_not_shown_is_no_reason() -> None:
    """The estimate of a link fell, but requests took 30 ms all the time: 45 ms are a loss."""
    misled = trial(30.0, predicted_then_ms=120.0, predicted_before_ms=120.0, predicted_after_ms=45.0)
    verdict = judge(misled.measured(latencies(45.0), {"server": 20.0}), PROBLEM, MIN_GAIN, 15.0)
    assert isinstance(verdict, TakeBack)
    assert verdict.corrections == {}, "the new routes took what was promised"


def test_a_trial_waits_for_enough_requests_and_then_ends() -> None:
    few = trial().measured(latencies(923.0, count=LEAST_AFTER), {})
    assert judge(few, PROBLEM, MIN_GAIN, 15.0) is few
    assert judge(few, PROBLEM, MIN_GAIN, 10.0 + TRIAL_S + 1) is None
    good = trial().measured(latencies(310.0), {})
    assert judge(good, PROBLEM, MIN_GAIN, 15.0) is good
    assert judge(good, PROBLEM, MIN_GAIN, 10.0 + TRIAL_S + 1) is None


def test_the_first_requests_on_cold_caches_do_not_count() -> None:
    cold = trial().measured([5_000.0, 4_000.0, *latencies(310.0)], {})
    assert isinstance(judge(cold, PROBLEM, MIN_GAIN, 15.0), RerouteTrial)


def test_old_latencies_and_few_are_no_comparison() -> None:
    measured = trial().before
    assert recent(measured, 9.0) == measured
    assert len(recent(measured, 20.0)) == 5
    assert can_be_judged(measured, 430.0, 300.0)
    assert not can_be_judged(measured[:3], 430.0, 300.0)
    assert not can_be_judged(measured, 0.0, 300.0)
