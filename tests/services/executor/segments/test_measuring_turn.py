"""The lock of a machine: of any user, shared or not, and never the reason for measuring nothing."""

import asyncio
import logging
import os
import stat
from pathlib import Path

import pytest

from services.executor.segments.measuring_turn import measuring_turn, usual_lock_path


def test_a_folder_that_all_may_write_comes_first(tmp_path: Path) -> None:
    assert usual_lock_path(tmp_path) == tmp_path / "segue-measuring.lock"
    assert str(os.getuid()) in usual_lock_path(tmp_path / "absent").name


async def test_one_at_a_time(tmp_path: Path) -> None:
    path, running, most = tmp_path / "lock", 0, 0

    async def measure() -> None:
        nonlocal running, most
        async with measuring_turn(path, 30.0):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    await asyncio.gather(*(measure() for _ in range(5)))
    assert most == 1
    # Another user opens it to lock it.
    assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444


async def test_a_lock_that_is_not_freed_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with measuring_turn(tmp_path / "lock", 1.0), measuring_turn(tmp_path / "lock", 0.01):
            pass
    assert "was not free within 0.01 s" in caplog.text


async def test_a_link_is_not_followed_and_a_missing_folder_is_no_obstacle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with caplog.at_level(logging.WARNING):
        for path in (tmp_path / "link", tmp_path / "absent" / "lock"):
            async with measuring_turn(path, 1.0):
                pass
    assert caplog.text.count("measuring without the lock of this machine") == 2
