"""Utilisation of the processor."""

import psutil

from services.monitor.probes.device_probe import Readings


class CpuProbe:
    """Utilisation of all cores together since the last sample, in percent (0 to 100)."""

    def __init__(self) -> None:
        """Start the first interval, which the first sample ends."""
        psutil.cpu_percent(interval=None)

    def sample(self, now_s: float) -> Readings:
        """Return `cpu_percent`."""
        return {"cpu_percent": psutil.cpu_percent(interval=None)}
