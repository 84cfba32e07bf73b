"""What this device can give to segments: memory and processor time, within the limits of its control groups."""

import os
from dataclasses import dataclass
from typing import Final

import psutil

from shared.control_groups import GroupLimits, read_group_limits, usable_cores

# Memory for requests, feature maps and the journal, beside the segments and what the process takes at its start.
_RESERVED_BYTES: Final = 48 * 2**20
# The announced memory must not change with every start, or measured profiles would be void.
_STEP_BYTES: Final = 8 * 2**20


@dataclass(frozen=True, slots=True)
class DeviceResources:
    """Resources of the device.

    Attributes:
        cores: cores that the process may run on.
        cpu_limit: quota of processor time, in cores; None for none.
        segment_memory_bytes: memory for segments.
    """

    cores: int
    cpu_limit: float | None
    segment_memory_bytes: int

    @classmethod
    def read(cls, memory_setting_bytes: int | None) -> "DeviceResources":
        """Read the resources of this process. Call it at its start, before it loads segments.

        Args:
            memory_setting_bytes: bound on the memory of segments that the user has set; None for none.
        """
        limits = read_group_limits()
        own_bytes = psutil.Process().memory_info().rss
        memory_bytes = segment_memory(memory_setting_bytes, limits, psutil.virtual_memory().total, own_bytes)
        return cls(len(os.sched_getaffinity(0)), limits.cores, memory_bytes)


def segment_memory(setting_bytes: int | None, limits: GroupLimits, machine_bytes: int, own_bytes: int) -> int:
    """Return the memory for segments, in bytes.

    The limit of the control group, or the memory of the machine, is for all of the process. What it takes at its start
    and a reserve are left out. A setting of the user bounds the segments alone.

    Args:
        setting_bytes: the user's setting; None for none.
        limits: of the control groups.
        machine_bytes: memory of the machine.
        own_bytes: memory of this process.
    """
    whole_bytes = min(machine_bytes, limits.memory_bytes or machine_bytes)
    left_bytes = max(0, whole_bytes - own_bytes - _RESERVED_BYTES) // _STEP_BYTES * _STEP_BYTES
    return left_bytes if setting_bytes is None else min(setting_bytes, left_bytes)


def segment_cores(threads: int) -> float:
    """Return the cores that a segment of so many threads can use now, by processor set and quota."""
    return min(float(threads), usable_cores(read_group_limits()))


def available_memory() -> int:
    """Return the memory that this process can take now, in bytes."""
    group_bytes = read_group_limits().available_bytes
    machine_bytes = int(psutil.virtual_memory().available)
    return machine_bytes if group_bytes is None else min(machine_bytes, group_bytes)
