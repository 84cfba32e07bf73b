"""Largest request and largest result that a source takes, from the memory that is free for them."""

from typing import Final

import psutil

from shared.control_groups import read_group_limits
from shared.large_outcomes import MAX_LARGE_OUTCOME_BYTES

# A request stands several times in memory: as packet, as payload, in the journal's transaction and as input tensor.
_COPIES: Final = 6
_LEAST_BYTES: Final = 1024 * 1024


def request_limit_bytes(most_bytes: int) -> int:
    """Return the largest payload that this process can take now: at least 1 MiB, at most `most_bytes`."""
    free_bytes = psutil.virtual_memory().available
    group_bytes = read_group_limits().available_bytes
    if group_bytes is not None:
        free_bytes = min(free_bytes, group_bytes)
    return max(_LEAST_BYTES, min(most_bytes, free_bytes // _COPIES))


def largest_result_bytes() -> int:
    """Return the size of the largest result with outputs apart from it that this process can take now."""
    return request_limit_bytes(MAX_LARGE_OUTCOME_BYTES)
