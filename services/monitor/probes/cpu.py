"""How busy the processor is."""

import psutil


class CpuProbe:
    """Use of all cores together since the last sample."""

    def __init__(self) -> None:
        """Begin: the first sample tells what happened since now."""
        psutil.cpu_percent(interval=None)

    def sample(self) -> float:
        """Return the use in percent, 0 to 100."""
        return psutil.cpu_percent(interval=None)
