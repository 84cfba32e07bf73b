"""Limits of the control groups (version 1 and 2) that this process is in: memory, processor time, throttling.

A group's limits hold for all groups inside it, so those of all ancestors count. Inside a container only the part of
the tree that is mounted there is visible. Source: Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst of Linux.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Version 1 states about 2^63 where there is no limit.
_NO_LIMIT_BYTES: Final = 2**60


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """What control groups leave to this process.

    Attributes:
        memory_bytes: smallest limit on memory; None for no limit.
        available_bytes: memory that can still be taken, file cache that can be dropped included; None for no limit.
        cores: smallest quota of processor time, in cores; None for no quota.
        throttled_s: time for which the group with that quota was stopped because it was used up, since its creation.
        swap_bytes: memory of the group that was swapped out.
    """

    memory_bytes: int | None = None
    available_bytes: int | None = None
    cores: float | None = None
    throttled_s: float = 0.0
    swap_bytes: int = 0


def read_group_limits(root: Path = Path("/")) -> GroupLimits:
    """Return the limits of the control groups of this process.

    Args:
        root: folder that stands for `/`, in tests.
    """
    paths = _group_paths(root)
    memory = [limit for folder, is_v2 in _lineage(paths.get("memory")) if (limit := _memory(folder, is_v2)) is not None]
    quotas = [quota for folder, is_v2 in _lineage(paths.get("cpu")) if (quota := _quota(folder, is_v2)) is not None]
    cores, throttled_s = min(quotas, default=(None, 0.0), key=lambda quota: quota[0])
    own = next(_lineage(paths.get("memory")), None)
    return GroupLimits(
        memory_bytes=min((limit for limit, _ in memory), default=None),
        available_bytes=min((max(0, limit - used) for limit, used in memory), default=None),
        cores=cores,
        throttled_s=throttled_s,
        swap_bytes=0 if own is None else _swap_bytes(*own),
    )


def memory_pressure_file(root: Path = Path("/")) -> Path:
    """Return where the kernel tells how long tasks waited for memory: of the control group of this process, or of all.

    Version 1 has the figures of the machine only.

    Args:
        root: folder that stands for `/`, in tests.
    """
    group = _group_paths(root).get("memory")
    if group is not None and group.is_v2 and (own := group.folder / "memory.pressure").exists():
        return own
    return root / "proc/pressure/memory"


def usable_cores(limits: GroupLimits) -> float:
    """Return the cores that this process can use: those of its processor set, or less by quota."""
    allowed = len(os.sched_getaffinity(0))
    return float(allowed) if limits.cores is None else min(float(allowed), limits.cores)


@dataclass(frozen=True, slots=True)
class _Group:
    """A group's folder, and the folder where its hierarchy is mounted."""

    folder: Path
    mount: Path
    is_v2: bool


def _group_paths(root: Path) -> dict[str, _Group]:
    """Return the groups of this process by controller. Version 1 takes precedence where a controller is bound to it."""
    members: dict[str, str] = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        members.update(dict.fromkeys(controllers.split(","), path))
    found: dict[str, _Group] = {}
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or not kind[0].startswith("cgroup"):
            continue
        is_v2 = kind[0] == "cgroup2"
        mount = root / fields[4].lstrip("/")
        # Version 2 has no controllers in its line of /proc/self/cgroup.
        for controller in ("memory", "cpu") if is_v2 else kind[2].split(","):
            member = members.get("" if is_v2 else controller)
            if member is not None and not (is_v2 and controller in found):
                found[controller] = _Group(_below(mount, fields[3], member), mount, is_v2)
    return found


def _below(mount: Path, mounted: str, path: str) -> Path:
    """Return the folder of a group, of whose hierarchy the group `mounted` is at `mount`."""
    inside = path.removeprefix(mounted.rstrip("/")) if mounted != "/" else path
    # A container may show the path of the host, which is not mounted in it: then its own group is the mount.
    if ".." in Path(inside).parts or (mounted != "/" and not path.startswith(mounted)):
        return mount
    folder = mount / inside.lstrip("/")
    return folder if folder.is_dir() else mount


def _lineage(group: _Group | None) -> Iterator[tuple[Path, bool]]:
    """Yield the folder of a group, and those of its ancestors."""
    if group is None:
        return
    folder = group.folder
    while True:
        yield folder, group.is_v2
        if folder == group.mount or folder == folder.parent:
            return
        folder = folder.parent


def _memory(folder: Path, is_v2: bool) -> tuple[int, int] | None:
    """Return limit and working set of a group, in bytes; None if it has no limit."""
    # Above memory.high a group is slowed down until it is below.
    names = ("memory.max", "memory.high") if is_v2 else ("memory.limit_in_bytes",)
    limits = [number for name in names if (number := _number(folder / name)) is not None and number < _NO_LIMIT_BYTES]
    if not limits:
        return None
    used = _number(folder / ("memory.current" if is_v2 else "memory.usage_in_bytes")) or 0
    statistics = _table(folder / "memory.stat")
    # File cache that nobody has mapped lately is given back before a limit is reached.
    cache = statistics.get("inactive_file" if is_v2 else "total_inactive_file", 0)
    return min(limits), max(0, used - cache)


def _swap_bytes(folder: Path, is_v2: bool) -> int:
    if is_v2:
        return _number(folder / "memory.swap.current") or 0
    return _table(folder / "memory.stat").get("total_swap", 0)


def _quota(folder: Path, is_v2: bool) -> tuple[float, float] | None:
    """Return the quota of a group, in cores, and its throttled seconds; None if it has no quota."""
    if is_v2:
        words = next(iter(_lines(folder / "cpu.max")), "").split()
        quota, period = (_integer(words[0]), _integer(words[1])) if len(words) == 2 else (None, None)
    else:
        quota, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    if quota is None or period is None or quota <= 0 or period <= 0:
        return None
    statistics = _table(folder / "cpu.stat")
    # Version 1 counts nanoseconds, version 2 microseconds.
    throttled_s = statistics.get("throttled_usec", 0) / 1e6 if is_v2 else statistics.get("throttled_time", 0) / 1e9
    return quota / period, throttled_s


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    return next(map(_integer, _lines(path)), None)


def _integer(text: str) -> int | None:
    convert: Callable[[str], int] = int
    try:
        return convert(text)
    except ValueError:  # "max": no limit.
        return None


def _table(path: Path) -> dict[str, int]:
    """Return a file of lines with a name and a number."""
    rows = (line.split() for line in _lines(path))
    return {row[0]: number for row in rows if len(row) == 2 and (number := _integer(row[1])) is not None}
