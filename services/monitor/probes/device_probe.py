"""The contract of a probe: reads one sensor and names the telemetry fields that it fills."""

from collections.abc import Mapping
from typing import Protocol

# Values by field of `shared.messages.devices.Telemetry`; none where the device has no such sensor.
Readings = Mapping[str, int | float | None]


class DeviceProbe(Protocol):
    """Reads one quantity of the device. May keep state between samples; is called from one thread only."""

    def sample(self, now_s: float) -> Readings:
        """Read the sensor.

        Args:
            now_s: monotonic seconds.
        """
        ...
