"""Which of many sensors counts."""

from types import SimpleNamespace

from services.monitor.probes.temperature import TemperatureProbe, hottest


def readings(*values: float) -> list[SimpleNamespace]:
    return [SimpleNamespace(current=value) for value in values]


def test_the_processor_counts_before_a_hot_disk() -> None:
    assert hottest({"nvme": readings(70.0), "coretemp": readings(50.0, 55.0)}) == 55.0


def test_without_a_known_processor_the_hottest_counts() -> None:
    assert hottest({"nvme": readings(41.0), "thermal_board": readings(44.0)}) == 44.0


def test_implausible_readings_are_ignored() -> None:
    assert hottest({"cpu_thermal": readings(-273.0, 0.0, 6553.5)}) == 0.0
    assert hottest({"cpu_thermal": readings(-273.0)}) is None
    assert hottest({}) is None


def test_this_machine_says_something_plausible_or_nothing() -> None:
    value = TemperatureProbe().sample(0.0)["temperature_c"]
    assert value is None or -40 < value < 150
