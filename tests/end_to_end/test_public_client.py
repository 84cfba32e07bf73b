"""The client example of docs/python.md, run against a whole fleet."""

import asyncio
import shutil
import sys
from pathlib import Path

from broker.embedded import EmbeddedBroker
from tests.support.documentation import python_blocks
from tests.support.shared_paths import DEMO_DATA, REPOSITORY
from tests.support.whole_fleet import open_fleet


async def test_the_client_example_prints_a_result(tmp_path: Path) -> None:
    broker = EmbeddedBroker()
    example, *_ = python_blocks(REPOSITORY / "docs" / "python.md")
    shutil.copy(DEMO_DATA / "photos" / "coffee.jpg", tmp_path / "photo.jpg")
    async with open_fleet(broker, tmp_path / "run") as fleet:
        await fleet.declare("camera")
        (tmp_path / "example.py").write_text(example.replace("mqtt://localhost:1883", broker.settings.address))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "example.py",
            cwd=tmp_path,
            env={"PYTHONPATH": str(REPOSITORY)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    assert printed.startswith(b"ok [")
