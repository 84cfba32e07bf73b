import subprocess
import sys
from pathlib import Path

import pytest

from shared import machine_identity
from shared.machine_identity import monotonic_clock_id, network_id, processor_model


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


@pytest.mark.parametrize(
    ("text", "model"),
    [
        (
            "processor\t: 0\nmodel name\t: Intel(R) Atom\ncpu MHz\t: 800\n\nmodel name\t: Intel(R) Atom\n",
            "model name=Intel(R) Atom",
        ),
        (
            "BogoMIPS\t: 38\nCPU part\t: 0xd03\n\nCPU part\t: 0xd09\nHardware\t: BCM2835\nSerial\t\t: 1\n",
            "CPU part=0xd03, CPU part=0xd09, Hardware=BCM2835",
        ),
    ],
)
def test_a_processor_is_known_by_its_make_and_not_by_its_state(tmp_path: Path, text: str, model: str) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert processor_model(tmp_path / "cpuinfo") == model


def test_a_machine_that_does_not_describe_its_processor_has_its_family(tmp_path: Path) -> None:
    assert processor_model(tmp_path / "absent")
    assert processor_model()
