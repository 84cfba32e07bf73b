import os

import psutil

from services.executor.device_resources import DeviceResources, available_memory, segment_memory
from shared.control_groups import GroupLimits

MIB = 2**20


def test_a_limit_of_the_control_group_is_for_the_whole_process() -> None:
    assert segment_memory(None, GroupLimits(memory_bytes=512 * MIB), 8192 * MIB, 100 * MIB) == 360 * MIB
    assert segment_memory(None, GroupLimits(), 1024 * MIB, 104 * MIB) == 872 * MIB
    assert segment_memory(None, GroupLimits(memory_bytes=110 * MIB), 8192 * MIB, 100 * MIB) == 0


def test_a_setting_bounds_segments_but_does_not_exceed_the_limit() -> None:
    limits = GroupLimits(memory_bytes=512 * MIB)
    assert segment_memory(20 * MIB, limits, 8192 * MIB, 100 * MIB) == 20 * MIB
    assert segment_memory(2000 * MIB, limits, 8192 * MIB, 100 * MIB) == 360 * MIB


def test_small_changes_of_the_process_change_nothing() -> None:
    known = {segment_memory(None, GroupLimits(), 1024 * MIB, 100 * MIB + jitter * MIB) for jitter in range(4)}
    assert len(known) == 1


def test_this_process_has_cores_and_memory() -> None:
    resources = DeviceResources.read(5)
    assert resources.cores == len(os.sched_getaffinity(0))
    assert resources.segment_memory_bytes == 5
    assert 0 < available_memory() <= psutil.virtual_memory().total
