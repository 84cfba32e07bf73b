"""Physical memory of the device."""

import psutil

from services.monitor.probes.device_probe import Readings


class MemoryProbe:
    """Physical memory in bytes: the total, and the part that is not available without swapping."""

    def sample(self, now_s: float) -> Readings:
        """Return `memory_used_bytes` and `memory_total_bytes`."""
        memory = psutil.virtual_memory()
        return {"memory_used_bytes": memory.total - memory.available, "memory_total_bytes": memory.total}
