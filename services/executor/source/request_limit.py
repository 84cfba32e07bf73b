"""Largest request that a source takes, from the memory that is free for it."""

from pathlib import Path
from typing import Final

import psutil

# A request stands several times in memory: as packet, as payload, in the journal's transaction and as input tensor.
_COPIES: Final = 6
_LEAST_BYTES: Final = 1024 * 1024
_CGROUPS: Final = Path("/sys/fs/cgroup")
# cgroup v1 states about 2^63 where there is no limit.
_NO_LIMIT_BYTES: Final = 2**60


def request_limit_bytes(most_bytes: int) -> int:
    """Return the largest payload that this process can take now: at least 1 MiB, at most `most_bytes`."""
    free_bytes = psutil.virtual_memory().available
    limit_bytes = cgroup_limit_bytes()
    if limit_bytes is not None:
        free_bytes = min(free_bytes, limit_bytes - psutil.Process().memory_info().rss)
    return max(_LEAST_BYTES, min(most_bytes, free_bytes // _COPIES))


def cgroup_limit_bytes(membership: Path = Path("/proc/self/cgroup"), root: Path = _CGROUPS) -> int | None:
    """Return the memory limit of this process's control group, version 1 or 2; None if there is none.

    Args:
        membership: file that names the groups of the process, one per line, as ``hierarchy:controllers:path``.
        root: where the control groups are mounted.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return None
    limits = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            limits.append(_read_bytes(root / path.lstrip("/") / "memory.max"))
        elif "memory" in controllers.split(","):
            limits.append(_read_bytes(root / "memory" / path.lstrip("/") / "memory.limit_in_bytes"))
    return min((limit for limit in limits if limit is not None), default=None)


def _read_bytes(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and int(text) < _NO_LIMIT_BYTES else None
