"""How much memory is in use."""

from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Physical memory of the device.

    Attributes:
        used_bytes: what cannot be had without swapping.
        total_bytes: what there is.
    """

    used_bytes: int
    total_bytes: int


def sample_memory() -> MemorySample:
    """Return the present use of memory."""
    memory = psutil.virtual_memory()
    return MemorySample(used_bytes=memory.total - memory.available, total_bytes=memory.total)
