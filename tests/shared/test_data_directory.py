"""A data directory has one user, and damaged databases are preserved."""

import asyncio
import sys
from pathlib import Path

import pytest

from shared.data_directory import lock_directory, move_aside
from shared.exit_status import InputError

HOLDER = """
import asyncio, sys
from pathlib import Path
from shared.data_directory import lock_directory

async def hold():
    async with lock_directory(Path(sys.argv[1])):
        print("held", flush=True)
        await asyncio.Event().wait()

asyncio.run(hold())
"""


async def test_a_folder_has_one_user_until_its_process_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"
    command = (sys.executable, "-c", HOLDER, str(folder))
    holder = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert holder.stdout is not None
    async with asyncio.timeout(30):
        assert await holder.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=r"another process uses .*folder"):
            async with lock_directory(folder, grace_period_s=0.0):
                pass
        holder.kill()
        await holder.wait()
        async with lock_directory(folder):
            pass


async def test_a_folder_can_be_taken_again_in_one_process(tmp_path: Path) -> None:
    for _ in range(2):
        async with lock_directory(tmp_path, grace_period_s=0.0):
            pass


async def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used"):
        async with lock_directory(tmp_path / "file" / "folder"):
            pass


def test_a_database_goes_with_what_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    for name in ("", "-wal"):
        (tmp_path / f"journal.sqlite{name}").write_text(f"damaged{name}")
    aside = move_aside(path)
    assert (aside.read_text(), aside.with_name(f"{aside.name}-wal").read_text()) == ("damaged", "damaged-wal")
    assert list(tmp_path.glob("journal.sqlite")) == []


def test_an_earlier_one_is_not_overwritten(tmp_path: Path) -> None:
    path, asides = tmp_path / "planner.db", []
    for content in ("first", "second"):
        path.write_text(content)
        asides.append(move_aside(path))
    assert [aside.read_text() for aside in asides] == ["first", "second"]
