"""How hot the processor is."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import psutil

_PROCESSOR_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal", "cpu-thermal", "soc_thermal", "acpitz")
_PLAUSIBLE_C = (-40.0, 150.0)


class Reading(Protocol):
    """One sensor as psutil gives it."""

    current: float


def sample_temperature() -> float | None:
    """Return the hottest of the processor's sensors, or of all if none is known as such, in degrees Celsius."""
    read = getattr(psutil, "sensors_temperatures", None)
    if read is None:
        return None
    try:
        chips: Mapping[str, Sequence[Reading]] = read()
    except (OSError, RuntimeError):
        return None
    return hottest(chips)


def hottest(chips: Mapping[str, Sequence[Reading]]) -> float | None:
    """Pick the temperature that matters; none if no sensor says anything plausible."""
    plausible = {
        name: [each.current for each in readings if _PLAUSIBLE_C[0] < each.current < _PLAUSIBLE_C[1]]
        for name, readings in chips.items()
    }
    of_processor = [value for name in _PROCESSOR_CHIPS for value in plausible.get(name, ())]
    return max(of_processor or [value for values in plausible.values() for value in values], default=None)
