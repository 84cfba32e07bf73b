"""The allocator's tuning is accepted where there is glibc, and no fault elsewhere."""

import platform
import subprocess
import sys

import pytest

from shared.bus.malloc_tuning import keep_large_buffers

# Frees 200 MB below a small block that stays, and prints the resident MB before and after they are returned.
FREES = """
import psutil
from shared.bus.malloc_tuning import keep_large_buffers, return_free_memory
keep_large_buffers()
large = [bytearray(b"x") * 1_000_000 for _ in range(200)]
kept = bytearray(1000)
del large
print(psutil.Process().memory_info().rss // 10**6)
return_free_memory()
print(psutil.Process().memory_info().rss // 10**6)
"""


def test_glibc_accepts_it_and_others_are_left_alone() -> None:
    assert keep_large_buffers() is (platform.libc_ver()[0] == "glibc")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps memory")
def test_free_memory_is_returned_on_request() -> None:
    done = subprocess.run([sys.executable, "-c", FREES], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before > 200
    assert after < before - 150
