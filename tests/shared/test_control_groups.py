"""Control groups of both versions: trees of files as the kernel shows them, and real groups where they can be made."""

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.control_groups import GroupLimits, memory_pressure_file, read_group_limits, usable_cores

REPOSITORY = Path(__file__).parents[2]

# Docker with cgroup v2 and a namespace: the container sees its group as the root.
V2_CONTAINER = {
    "proc/self/cgroup": "0::/\n",
    "proc/self/mountinfo": "2013 2012 0:29 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n",
    "sys/fs/cgroup/memory.max": "419430400\n",
    "sys/fs/cgroup/memory.high": "max\n",
    "sys/fs/cgroup/memory.current": "209715200\n",
    "sys/fs/cgroup/memory.stat": "anon 100000000\nfile 90000000\ninactive_file 52428800\nactive_file 1\n",
    "sys/fs/cgroup/memory.swap.current": "4096\n",
    "sys/fs/cgroup/cpu.max": "50000 100000\n",
    "sys/fs/cgroup/cpu.stat": "usage_usec 9000\nnr_periods 20\nnr_throttled 5\nthrottled_usec 1500000\n",
}
# systemd on a host with cgroup v2: the service has a quota, its slice a limit on memory.
V2_SERVICE = {
    "proc/self/cgroup": "0::/system.slice/segue.service\n",
    "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n",
    "sys/fs/cgroup/system.slice/memory.max": "1000000\n",
    "sys/fs/cgroup/system.slice/memory.current": "400000\n",
    "sys/fs/cgroup/system.slice/segue.service/memory.max": "max\n",
    "sys/fs/cgroup/system.slice/segue.service/cpu.max": "150000 100000\n",
    "sys/fs/cgroup/system.slice/segue.service/cpu.stat": "usage_usec 1\n",
}
# Docker with cgroup v1: the path of the host, and the group's own folder as mount.
V1_CONTAINER = {
    "proc/self/cgroup": "9:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/system.slice/docker.service\n",
    "proc/self/mountinfo": (
        "700 699 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
        "701 699 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
    ),
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "419430400\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "209715200\n",
    "sys/fs/cgroup/memory/memory.stat": "cache 1\ntotal_inactive_file 52428800\ntotal_swap 4096\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.stat": "nr_periods 20\nnr_throttled 5\nthrottled_time 1500000000\n",
}
# A hybrid host, as this project's machines are: controllers are bound to version 1, version 2 is mounted as well.
HYBRID = {
    "proc/self/cgroup": "4:memory:/process_api/c2d8\n1:cpu:/\n0::/\n",
    "proc/self/mountinfo": (
        "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
        "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
    ),
    "sys/fs/cgroup/memory/process_api/c2d8/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/unified/memory.max": "5\n",
}
IN_CONTAINER = GroupLimits(419430400, 419430400 - 209715200 + 52428800, 0.5, 1.5, 4096)


def tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        (V2_CONTAINER, IN_CONTAINER),
        (V1_CONTAINER, IN_CONTAINER),
        (V2_SERVICE, GroupLimits(1000000, 600000, 1.5, 0.0, 0)),
        (HYBRID, GroupLimits()),
        ({}, GroupLimits()),
    ],
)
def test_limits_of_real_trees(tmp_path: Path, files: dict[str, str], limits: GroupLimits) -> None:
    assert read_group_limits(tree(tmp_path, files)) == limits


@pytest.mark.parametrize(
    "change",
    [
        {"sys/fs/cgroup/cpu.max": "max 100000\n"},
        {"sys/fs/cgroup/cpu.max": "nonsense\n"},
        {"sys/fs/cgroup/cpu.max": ""},
        {"sys/fs/cgroup/cpu.max": "0 0\n"},
    ],
)
def test_a_quota_that_is_none(tmp_path: Path, change: dict[str, str]) -> None:
    assert read_group_limits(tree(tmp_path, V2_CONTAINER | change)).cores is None


def test_the_soft_limit_counts_because_a_group_above_it_is_slowed_down(tmp_path: Path) -> None:
    files = V2_CONTAINER | {"sys/fs/cgroup/memory.high": "300000000\n"}
    assert read_group_limits(tree(tmp_path, files)).memory_bytes == 300_000_000


def test_a_group_that_is_not_mounted_here_is_that_of_the_mount(tmp_path: Path) -> None:
    files = V2_CONTAINER | {"proc/self/cgroup": "0::/../../somewhere/else\n"}
    assert read_group_limits(tree(tmp_path, files)) == IN_CONTAINER


def test_pressure_is_that_of_the_own_group_where_there_is_one(tmp_path: Path) -> None:
    machine = tmp_path / "proc/pressure/memory"
    assert memory_pressure_file(tree(tmp_path, V1_CONTAINER)) == machine
    assert memory_pressure_file(tree(tmp_path, V2_CONTAINER)) == machine
    own = "sys/fs/cgroup/memory.pressure"
    assert memory_pressure_file(tree(tmp_path, {own: "some avg10=0.00\n"})) == tmp_path / own


def test_pressure_of_a_hybrid_host_is_that_of_the_machine(tmp_path: Path) -> None:
    files = HYBRID | {"sys/fs/cgroup/unified/memory.pressure": "some avg10=0.00\n"}
    assert memory_pressure_file(tree(tmp_path, files)) == tmp_path / "proc/pressure/memory"


def test_cores_are_those_of_the_processor_set_or_less() -> None:
    allowed = len(os.sched_getaffinity(0))
    assert usable_cores(GroupLimits()) == allowed
    assert usable_cores(GroupLimits(cores=0.25)) == 0.25
    assert usable_cores(GroupLimits(cores=1000.0)) == allowed


@contextlib.contextmanager
def real_group(controller: str, limits: dict[str, str]) -> Iterator[Path]:
    """Make a control group of version 1, or skip the test where that is not possible."""
    folder = Path("/sys/fs/cgroup") / controller / f"segue-test-{uuid.uuid4().hex[:8]}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip(f"no control group of version 1 can be made for {controller}")
    try:
        for name, value in limits.items():
            (folder / name).write_text(value)
        yield folder
    finally:
        folder.rmdir()


def test_a_process_in_real_groups_sees_their_limits() -> None:
    program = "from shared.control_groups import *; print(read_group_limits())"
    quota = {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "30000"}
    with (
        real_group("memory", {"memory.limit_in_bytes": str(256 * 2**20)}) as memory,
        real_group("cpu", quota) as cpu,
    ):

        def enter() -> None:
            for folder in (memory, cpu):
                (folder / "cgroup.procs").write_text(str(os.getpid()))

        done = subprocess.run(
            [sys.executable, "-c", program],
            preexec_fn=enter,
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            check=True,
        )
    assert "memory_bytes=268435456" in done.stdout
    assert "cores=0.3" in done.stdout
