from typing import Any

from services.executor.observation_throttle import INTERVAL_S, ObservationThrottle
from shared.messages.devices import ComputeObservation, TransferObservation


def computed(start: int = 0) -> ComputeObservation:
    return ComputeObservation(device="me", model="0" * 64, start=start, stop=9, measured_ms=2.0, idle_ms=1.0)


def sent(size_bytes: int = 1000, **changes: Any) -> TransferObservation:
    return TransferObservation(device="me", target="other", size_bytes=size_bytes, elapsed_ms=3.0, **changes)


def test_of_many_alike_a_few_are_worth_a_message() -> None:
    sparing = ObservationThrottle(interval_s=0.5)
    told = [step for step in range(100) if sparing.is_worth(computed(), step * 0.125)]
    assert told == list(range(0, 100, 4))


def test_at_low_rates_every_one_is() -> None:
    sparing = ObservationThrottle()
    assert all(sparing.is_worth(computed(), step * 1.01 * INTERVAL_S) for step in range(100))


def test_segments_links_and_magnitudes_are_told_apart() -> None:
    sparing = ObservationThrottle()
    assert sparing.is_worth(computed(0), 0.0)
    assert sparing.is_worth(computed(3), 0.0)
    assert sparing.is_worth(sent(1000), 0.0)
    assert sparing.is_worth(sent(50_000), 0.0)
    assert not sparing.is_worth(sent(1010), 0.001)


def test_what_is_overdue_is_always_told() -> None:
    sparing = ObservationThrottle()
    assert sparing.is_worth(sent(), 0.0)
    assert all(sparing.is_worth(sent(finished=False), 0.0) for _ in range(3))


def test_a_device_with_ever_new_segments_remembers_a_bounded_number() -> None:
    sparing = ObservationThrottle()
    assert all(sparing.is_worth(computed(start), 0.0) for start in range(1000))
    assert not sparing.is_worth(computed(999), 0.0)
