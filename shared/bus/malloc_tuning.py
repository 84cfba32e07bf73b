"""Keeps large buffers from going back to the kernel after every message.

glibc's malloc returns and re-requests the memory of every multi-megabyte message, and the kernel clears it each time.
That costs more than moving the message: a 3.2 MB message took 13.5 ms instead of 3.5 ms. The price of keeping the
memory is that the resident size stays at its high-water mark.
"""

import ctypes
import logging
import platform

logger = logging.getLogger(__name__)

_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_THRESHOLD = -3
_LARGEST_C_INT = 2**31 - 1
_TOP_PAD_BYTES = 64 << 20
"""Memory requested from the kernel at a time."""


def keep_large_buffers() -> bool:
    """Tell glibc's malloc to keep what it has. Call once, at the start of a process that moves feature maps.

    All three options belong together: the trim threshold alone switches the dynamic mmap threshold off and is slower
    than no tuning.

    Returns:
        True if the allocator was told; False where there is no glibc, which is no fault.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    mallopt.restype = ctypes.c_int
    options = ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, _LARGEST_C_INT), (_M_TOP_PAD, _TOP_PAD_BYTES))
    accepted = all([mallopt(option, value) == 1 for option, value in options])
    if not accepted:
        logger.warning("malloc did not accept its tuning; large messages will cost more")
    return accepted
