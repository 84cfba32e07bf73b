"""Tests that interrupt processes work in background jobs too, which ignore SIGINT."""

import signal
import subprocess
import sys

PROGRAM = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
import tests.conftest
signal.raise_signal(signal.SIGINT)
child = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
subprocess.run([sys.executable, "-c", child], check=True)
"""


def test_children_of_a_test_run_that_ignores_ctrl_c_can_be_interrupted() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "True\n", "")
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
