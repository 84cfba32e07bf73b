"""Memory limits of control groups, and the bound of requests."""

from pathlib import Path

import pytest

from services.executor.source.request_limit import cgroup_limit_bytes, request_limit_bytes


@pytest.mark.parametrize(
    ("membership", "file", "text", "limit_bytes"),
    [
        ("0::/fleet/camera\n", "fleet/camera/memory.max", "400000000\n", 400_000_000),
        ("0::/fleet/camera\n", "fleet/camera/memory.max", "max\n", None),
        ("9:cpu,memory:/camera\n0::/\n", "memory/camera/memory.limit_in_bytes", "4096\n", 4096),
        ("9:memory:/camera\n", "memory/camera/memory.limit_in_bytes", "9223372036854771712\n", None),
        ("9:memory:/elsewhere\n", "memory/camera/memory.limit_in_bytes", "4096\n", None),
    ],
)
def test_limits_of_both_versions(
    tmp_path: Path, membership: str, file: str, text: str, limit_bytes: int | None
) -> None:
    (tmp_path / "membership").write_text(membership)
    path = tmp_path / "groups" / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert cgroup_limit_bytes(tmp_path / "membership", tmp_path / "groups") == limit_bytes


def test_a_system_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    assert cgroup_limit_bytes(tmp_path / "none") is None


def test_a_request_may_have_a_part_of_the_free_memory_and_a_mebibyte_at_least() -> None:
    assert request_limit_bytes(10**18) < 2**40
    assert request_limit_bytes(5_000_000) <= 5_000_000
    assert request_limit_bytes(1) == 2**20
