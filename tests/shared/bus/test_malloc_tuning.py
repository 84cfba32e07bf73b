"""The allocator's tuning is accepted where there is glibc, and no fault elsewhere."""

import platform

from shared.bus.malloc_tuning import keep_large_buffers


def test_glibc_accepts_it_and_others_are_left_alone() -> None:
    assert keep_large_buffers() is (platform.libc_ver()[0] == "glibc")
