"""Temperature of the processor."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import psutil

from services.monitor.probes.device_probe import Readings

# Names that Linux drivers give the sensor chips of processors.
_PROCESSOR_CHIPS: Final = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal", "acpitz")
# Sensors that are not connected report values such as -273 or 6553.5.
_PLAUSIBLE_C: Final = (-40.0, 150.0)


class SensorReading(Protocol):
    """One sensor as psutil reports it, in degrees Celsius."""

    current: float


class TemperatureProbe:
    """Temperature of the processor in degrees Celsius; none without a plausible sensor."""

    def sample(self, now_s: float) -> Readings:
        """Return `temperature_c`."""
        # psutil defines the function on some platforms only.
        read = getattr(psutil, "sensors_temperatures", None)
        if read is None:
            return {"temperature_c": None}
        try:
            chips: Mapping[str, Sequence[SensorReading]] = read()
        except (OSError, RuntimeError):
            return {"temperature_c": None}
        return {"temperature_c": hottest(chips)}


def hottest(chips: Mapping[str, Sequence[SensorReading]]) -> float | None:
    """Return the highest plausible temperature: of the processor's sensors, or of all if none is known as such.

    Args:
        chips: sensors by the name of their chip.
    """
    plausible = {
        name: [sensor.current for sensor in sensors if _PLAUSIBLE_C[0] < sensor.current < _PLAUSIBLE_C[1]]
        for name, sensors in chips.items()
    }
    of_processor = [value for name in _PROCESSOR_CHIPS for value in plausible.get(name, ())]
    return max(of_processor or [value for values in plausible.values() for value in values], default=None)
