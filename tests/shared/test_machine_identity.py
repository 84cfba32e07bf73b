import subprocess
import sys
from pathlib import Path

import pytest

from shared import machine_identity
from shared.machine_identity import monotonic_clock_id, network_id


def test_processes_of_one_machine_agree() -> None:
    code = "from shared.machine_identity import *; print(network_id(), monotonic_clock_id())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert other == [network_id(), monotonic_clock_id()]
    assert len(set(other)) == 2
    assert all(len(each) == 32 for each in other)


def test_without_a_boot_id_the_clock_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_identity, "_BOOT_ID", Path("/proc/no/file"))
    assert monotonic_clock_id.__wrapped__() == ""
    assert len(network_id.__wrapped__()) == 32
