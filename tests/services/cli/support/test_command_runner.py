"""Ctrl-C, pressed as often as somebody likes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.support.command_runner import INTERRUPTED


@pytest.mark.parametrize("arguments", [("plan",), ("simulate",), ("explain",)])
def test_a_command_that_is_interrupted_again_and_again_ends_quietly(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    pipe = tmp_path / "never written"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "services.cli.main", *arguments, str(pipe)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        with pipe.open("w"):  # once somebody reads it, the command is at work
            while process.poll() is None:
                process.send_signal(signal.SIGINT)
        told, complaints = process.communicate()
    assert (process.returncode, told) == (INTERRUPTED, "")
    assert [line for line in complaints.splitlines() if not line.startswith("note: ")] == []


def test_who_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    program = (
        "import signal\n"
        "from services.cli.main import main\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "try: main(['--version'])\n"
        "except SystemExit: pass\n"
        "signal.raise_signal(signal.SIGINT)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False).returncode == 0
