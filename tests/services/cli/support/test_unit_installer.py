"""Whether a service could run what it is given. `make test-systemd` installs units on a booted machine."""

import shutil
import sys
from pathlib import Path

import pytest

from services.cli.support import unit_installer
from services.cli.support.unit_installer import check_program, check_reachable, check_systemd, own_program
from shared.exit_status import InputError


def test_a_home_folder_is_out_of_reach() -> None:
    for path in ("/home/eve/segue/bin/segue", "/root/fleet", "/run/user/1000/segue"):
        with pytest.raises(InputError, match="in a home folder, which a service does not see: elsewhere"):
            check_reachable(Path(path), "elsewhere")


def test_a_folder_that_others_cannot_pass_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "deep").mkdir(parents=True)
    closed.chmod(0o700)
    with pytest.raises(InputError, match=r"cannot pass through .*: elsewhere"):
        check_reachable(closed / "deep" / "file", "elsewhere")
    check_reachable(Path("/usr/bin/env"), "elsewhere")


def test_a_program_that_is_not_there_and_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"there is no program /opt/none/segue: .*venv /opt/segue"):
        check_program(Path("/opt/none/segue"), ())
    monkeypatch.setattr(unit_installer, "check_reachable", lambda path, remedy: None)
    monkeypatch.setattr(unit_installer, "missing_packages", lambda role: ["onnx"] if role == "executor" else [])
    check_program(own_program(), ("monitor",))
    with pytest.raises(InputError, match=r"the executor needs onnx: pip install 'segue\[executor\]'"):
        check_program(own_program(), ("monitor", "executor"))


def test_the_program_is_the_one_that_runs() -> None:
    assert own_program() == Path(sys.executable).parent / "segue"
    assert own_program().is_file()


def test_only_root_on_a_machine_with_systemd_installs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_installer, "_BOOTED", tmp_path / "none")
    with pytest.raises(InputError, match="systemd does not run this machine: `--dry-run` shows"):
        check_systemd()
    monkeypatch.setattr(unit_installer, "_BOOTED", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(InputError, match="only root installs services"):
        check_systemd()
    monkeypatch.setattr("os.geteuid", lambda: 0)
    check_systemd()
