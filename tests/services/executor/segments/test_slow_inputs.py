import pytest

from services.executor.segments.slow_inputs import ClockReference, is_suspect, without_slow_input


@pytest.mark.parametrize(
    ("measured_ms", "cpu_ms", "clock_ratio", "expected_ms"),
    [
        (10.0, 10.0, 1.0, 10.0),  # as usual
        (90.0, 11.0, 1.0, 90.0),  # it waited: the device is busy
        (25.0, 25.0, 1.0, 25.0),  # neighbours share caches and memory
        (400.0, 400.0, 1.0, 10.0),  # the input is slow
        (450.0, 400.0, 1.0, 60.0),  # the input is slow, and it waited
        (80.0, 80.0, 8.0, 80.0),  # the clock of the processor is throttled
        (900.0, 900.0, 2.0, 20.0),  # both
    ],
)
def test_what_a_device_and_what_an_input_costs(
    measured_ms: float, cpu_ms: float, clock_ratio: float, expected_ms: float
) -> None:
    assert without_slow_input(measured_ms, cpu_ms, 10.0, clock_ratio) == pytest.approx(expected_ms)


def test_only_much_processor_time_is_looked_into() -> None:
    assert not is_suspect(29.0, 10.0)
    assert is_suspect(31.0, 10.0)


def test_the_reference_is_near_one_on_this_machine() -> None:
    reference = ClockReference()
    assert reference.ratio() == 1.0
    assert reference.ratio() == 1.0
