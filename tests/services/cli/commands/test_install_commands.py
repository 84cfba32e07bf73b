"""`segue device install`, `segue fleet install` and their removal, as far as nothing is changed."""

from pathlib import Path

import pytest
from typer.testing import Result

from broker.mosquitto import find_mosquitto
from services.cli.support import unit_installer
from shared.bus.roles import Role
from shared.enrolment import Enrolment
from shared.exit_status import InputError
from tests.support.fleet_broker import make_fleet
from tests.support.segue_command import invoke_command, run_segue


def command(name: str, *arguments: str) -> Result:
    return invoke_command(f"install_commands:{name}_command", *arguments)


def refusal(result: Result) -> str:
    assert isinstance(result.exception, InputError)
    return str(result.exception)


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """The account of a device that has joined."""
    return make_fleet(tmp_path / "fleet").add("camera", Role.DEVICE).write(tmp_path / "accounts")


@pytest.fixture(autouse=True)
def _no_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is ever installed on the machine of the tests."""
    monkeypatch.setattr(unit_installer, "_BOOTED", tmp_path / "none")
    monkeypatch.setattr(unit_installer, "UNIT_FOLDER", tmp_path / "units")


def test_a_dry_run_prints_the_units_and_no_secret(account: Path) -> None:
    done = command("install_device", "--account", str(account), "--dry-run")
    assert done.exit_code == 0, done.output
    assert f"LoadCredential=account.json:{account}\n" in done.stdout
    assert "Description=Segue monitor of camera" in done.stdout
    assert "systemctl enable segue-executor.service segue-monitor.service" in done.stdout
    assert Enrolment.read(account).password not in done.output


def test_without_systemd_it_refuses_in_one_line(account: Path) -> None:
    done = run_segue("device", "install", "--account", str(account))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "systemd does not run this machine" in done.stderr or "only root" in done.stderr
    assert "systemd does not run this machine" in refusal(command("install_device", "--account", str(account)))


def test_a_device_must_have_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert "no device has joined here" in refusal(command("install_device", "--dry-run"))


def test_an_account_of_another_role_is_refused(account: Path) -> None:
    planner = account.parent.parent / "fleet" / "accounts" / "planner.json"
    assert "account of the role planner" in refusal(command("install_device", "--account", str(planner), "--dry-run"))


@pytest.mark.mosquitto
@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto")
def test_a_server_gets_its_roles(tmp_path: Path) -> None:
    folder = make_fleet(tmp_path / "fleet").path
    done = command("install_server", "--fleet", str(folder), "--dry-run")
    for line in (
        f"ExecStart={find_mosquitto()} -c {folder}/broker/mosquitto.conf",
        f"ReadWritePaths={folder}/broker",
        f"LoadCredential=account.json:{folder}/accounts/planner.json",
        f"LoadCredential=account.json:{folder}/accounts/collector.json",
    ):
        assert f"{line}\n" in done.stdout
    some = command("install_server", "--fleet", str(folder), "--dry-run", "--role", "collector")
    assert "systemctl enable segue-collector.service\n" in some.stdout
    unknown = refusal(command("install_server", "--fleet", str(folder), "--dry-run", "--role", "monitor"))
    assert unknown == "--role monitor: use broker, planner, collector"
    assert "systemd does not run" in refusal(command("install_server", "--fleet", str(folder)))


def test_what_is_not_installed_is_not_removed(tmp_path: Path) -> None:
    assert "none of these services is installed here" in refusal(command("uninstall_device", "--dry-run"))
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "segue-monitor.service").write_text("")
    done = command("uninstall_device", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "systemctl disable --now segue-monitor.service\n" in done.stdout
    assert "none of these" in refusal(command("uninstall_server"))
