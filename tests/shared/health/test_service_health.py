"""Readiness of a service by the state of its connections."""

from dataclasses import dataclass

import pytest

from shared.health.service_health import OFFLINE_LIMIT_S, SILENCE_LIMIT_S, ServiceHealth


@dataclass
class State:
    offline_s: float = 0.0
    silent_s: float = 0.0


def test_a_service_that_has_not_started_is_alive_and_not_ready() -> None:
    report = ServiceHealth("monitor", "cam").report()
    assert not report.is_ready
    assert report.is_alive
    assert "starting" in report.reason


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (State(), ""),
        (State(offline_s=OFFLINE_LIMIT_S), ""),
        (State(offline_s=OFFLINE_LIMIT_S + 7.1), "no connection to the broker for 12 s (probes)"),
        (State(silent_s=SILENCE_LIMIT_S), ""),
        (State(silent_s=SILENCE_LIMIT_S + 1.0), "the broker has not answered for 11 s (probes)"),
    ],
)
def test_every_connection_counts_after_its_limit(state: State, reason: str) -> None:
    health = ServiceHealth("monitor", "cam")
    health.serving({"control": State(), "probes": state})
    report = health.report()
    assert report.reason == reason
    assert report.is_ready is not bool(reason)


def test_a_connection_that_is_back_makes_it_ready_again() -> None:
    health, state = ServiceHealth("planner", "planner"), State(offline_s=60.0)
    health.serving({"control": state})
    assert not health.report().is_ready
    state.offline_s = 0.0
    assert health.report().is_ready
