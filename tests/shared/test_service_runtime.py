import asyncio
import sys
from pathlib import Path

import pytest

from shared.service_runtime import InputError, lock_directory

HOLDER = """
import asyncio, sys
from pathlib import Path
from shared.service_runtime import sole_user

async def hold():
    async with sole_user(Path(sys.argv[1])):
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
            async with lock_directory(folder, patience_s=0.0):
                pass
        holder.kill()
        await holder.wait()
        async with lock_directory(folder):
            pass


async def test_a_folder_can_be_taken_again_in_one_process(tmp_path: Path) -> None:
    for _ in range(2):
        async with lock_directory(tmp_path, patience_s=0.0):
            pass


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used"):
        async with lock_directory(tmp_path / "file" / "folder"):
            pass
