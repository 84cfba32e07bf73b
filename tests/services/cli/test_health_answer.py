"""`segue health` as probes call it: a monitor in a process of its own, and only light modules."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from services.cli.health_answer import answer, answer_quickly
from shared.exit_status import ExitStatus
from tests.support.segue_command import run_segue

SUPERVISOR = f"segue-health-{os.getpid()}"
MAIN = (sys.executable, "-c", "from services.cli.health_answer import main; main()")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of sockets that no other service of this user has, here and in child processes."""
    tmp_path.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("SEGUE_FLEET", raising=False)
    return tmp_path


@pytest.fixture
def notices() -> Iterator[socket.socket]:
    """Yield the socket of a supervisor."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{SUPERVISOR}")
        receiver.setblocking(False)
        yield receiver


def test_a_probe_loads_only_light_modules(folder: Path) -> None:
    heavy = ("typer", "asyncio", "pydantic", "ssl", "numpy", "rich", "psutil", "cryptography")
    program = (
        "import sys\n"
        "from services.cli.health_answer import answer_quickly\n"
        "status = answer_quickly(['health', 'executor', '--live'])\n"
        f"print(int(status), [name for name in {heavy!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "1 []"
    assert done.stdout == "executor: no executor of this user runs here\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["doctor"],
        ["health", "nobody"],
        ["health", "--help"],
        ["health", "executor", "--json"],
        ["health", "a", "b"],
    ],
)
def test_other_calls_are_left_to_the_command_line(arguments: list[str]) -> None:
    assert answer_quickly(arguments) is None


async def until(notices: socket.socket, text: str) -> None:
    """Wait for a notice of the service to its supervisor."""
    async with asyncio.timeout(60):
        while text not in (await asyncio.get_running_loop().sock_recv(notices, 4096)).decode():
            pass


async def test_a_real_monitor_is_ready_while_it_has_a_broker(
    folder: Path, notices: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    async with EmbeddedBroker() as broker:
        monitor = await asyncio.create_subprocess_exec(
            *(*MAIN, "monitor", "--device", "cam", "--broker", broker.settings.address),
            *("--data-dir", str(folder / "data")),
            env={**os.environ, "NOTIFY_SOCKET": f"@{SUPERVISOR}"},
        )
        try:
            await until(notices, "READY=1")
            assert await asyncio.to_thread(answer, "monitor") is ExitStatus.DONE
            assert capsys.readouterr().out.endswith("monitor cam: ready\n")
            assert await asyncio.to_thread(answer, "monitor", name="other") is ExitStatus.FAILED
            assert await asyncio.to_thread(answer, "executor") is ExitStatus.FAILED
            await broker.kill()
            await until(notices, "STATUS=no connection to the broker")
            assert await asyncio.to_thread(answer, "monitor") is ExitStatus.FAILED
            assert "no connection to the broker" in capsys.readouterr().out.splitlines()[-1]
            assert await asyncio.to_thread(answer, None, is_alive_enough=True) is ExitStatus.DONE
        finally:
            monitor.terminate()
            assert await monitor.wait() == ExitStatus.DONE


def test_a_fleet_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer("broker", fleet=folder / "absent") is ExitStatus.FAILED
    assert "there is no fleet in" in capsys.readouterr().out


def test_a_role_that_there_is_not_is_named(folder: Path) -> None:
    done = run_segue("health", "exekutor")
    assert done.returncode == ExitStatus.INPUT_WRONG
    assert "exekutor" in done.stderr
    assert "executor" in done.stderr
