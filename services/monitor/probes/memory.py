"""Memory of the device, within the limits of its control groups, and its shortage."""

from pathlib import Path

import psutil

from services.monitor.probes.device_probe import Readings
from shared.control_groups import memory_pressure_file, read_group_limits


class MemoryProbe:
    """Memory in bytes: the total, the part that is not available without swapping, and what is swapped out.

    In a container they are those of its control group. The pressure is the share of the last ten seconds in which a
    task had to wait for memory: in the control group where that is of version 2, else on the machine.
    """

    def __init__(self, pressure: Path | None = None) -> None:
        """Make a probe.

        Args:
            pressure: file with the kernel's pressure stall information; None for that of this process.
        """
        self._pressure = memory_pressure_file() if pressure is None else pressure

    def sample(self, now_s: float) -> Readings:
        """Return `memory_used_bytes`, `memory_total_bytes`, `swap_used_bytes` and `memory_stall_percent`."""
        memory, limits = psutil.virtual_memory(), read_group_limits()
        total, available, swapped = memory.total, memory.available, psutil.swap_memory().used
        if limits.memory_bytes is not None and limits.memory_bytes < total:
            total, swapped = limits.memory_bytes, limits.swap_bytes
            available = min(available, limits.available_bytes or 0)
        return {
            "memory_used_bytes": max(0, total - available),
            "memory_total_bytes": total,
            "swap_used_bytes": swapped,
            "memory_stall_percent": stalled_percent(self._pressure),
        }


def stalled_percent(pressure: Path) -> float | None:
    """Return the share of the last ten seconds in which a task waited, in percent; None if the kernel does not tell.

    Args:
        pressure: file whose first line begins with ``some avg10=0.12 avg60=...``.
    """
    try:
        words = pressure.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    for word in words[1:2] if words[:1] == ["some"] else ():
        name, _, value = word.partition("=")
        try:
            return min(100.0, max(0.0, float(value))) if name == "avg10" else None
        except ValueError:
            return None
    return None
