"""Invalid configurations of a monitor are refused with their reason."""

from collections.abc import Callable

import pytest

from services.monitor.config import MonitorConfig
from services.monitor.probe_settings import ProbeSettings
from shared.bus.settings import BusSettings
from shared.exit_status import InputError

BROKER = BusSettings()


@pytest.mark.parametrize("device", ["", "a b", "x" * 64, "+"])
def test_a_device_needs_a_name_that_fits_into_topics(device: str) -> None:
    with pytest.raises(InputError, match="no device name"):
        MonitorConfig(device, BROKER)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MonitorConfig("pi", BROKER, sample_interval_s=0),
        lambda: MonitorConfig("pi", BROKER, observation_age_s=0),
        lambda: MonitorConfig("pi", BROKER, heartbeat_s=0),
        lambda: MonitorConfig("pi", BROKER, change_threshold=0),
        lambda: MonitorConfig("pi", BROKER, threads=0),
    ],
)
def test_intervals_are_positive(make: Callable[[], MonitorConfig]) -> None:
    with pytest.raises(InputError, match="positive"):
        make()


def test_the_service_is_named_after_its_device() -> None:
    assert MonitorConfig("pi", BROKER).service_name == "monitor-pi"


def test_a_bandwidth_is_assumed_for_metered_devices_only() -> None:
    with pytest.raises(InputError, match="--assumed-mbps needs --metered"):
        MonitorConfig("pi", BROKER, probing=ProbeSettings(assumed_mbps=5.0))
    MonitorConfig("pi", BROKER, probing=ProbeSettings(assumed_mbps=5.0, is_metered=True))
