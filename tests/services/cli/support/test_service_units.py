"""Units of systemd: what each contains, and what systemd itself says of them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from services.cli.support.service_units import ServiceUnit, broker_unit, service_unit, unit_name
from shared.exit_status import InputError

ACCOUNT = Path("/etc/segue/camera.json")
# Exists wherever there are tests, so that systemd finds what it would start.
PROGRAM = Path("/bin/true")
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")


def every_unit() -> list[ServiceUnit]:
    services = [
        service_unit(role, "camera", ACCOUNT, PROGRAM, "segue device install") for role in ("executor", "monitor")
    ]
    services += [service_unit(role, None, ACCOUNT, PROGRAM, "segue fleet install") for role in ("planner", "collector")]
    configuration = Path("/etc/segue/fleet/broker/mosquitto.conf")
    return [*services, broker_unit(configuration, "mosquitto", PROGRAM, "segue fleet install")]


def settings(unit: ServiceUnit) -> dict[str, str]:
    lines = (line.partition("=") for line in unit.text.splitlines() if "=" in line and not line.startswith("#"))
    return {name: value for name, _, value in lines}


def test_a_service_gets_a_copy_of_its_account_and_no_password_on_its_command_line() -> None:
    unit = service_unit("executor", "camera", ACCOUNT, Path("/opt/segue/bin/segue"), "segue device install")
    assert unit.name == "segue-executor.service"
    assert "LoadCredential=account.json:/etc/segue/camera.json\n" in unit.text
    assert "LoadCredential=account.ca.pem:/etc/segue/camera.ca.pem\n" in unit.text
    assert settings(unit)["ExecStart"] == (
        "/opt/segue/bin/segue executor --broker ${CREDENTIALS_DIRECTORY}/account.json --connect-timeout-s 0 "
        "--data-dir /var/lib/segue/executor"
    )


@pytest.mark.parametrize("unit", every_unit(), ids=lambda unit: unit.name)
def test_every_unit_is_restarted_bounded_and_not_root(unit: ServiceUnit) -> None:
    found = settings(unit)
    assert found["User"] in ("segue", "mosquitto")
    assert (found["Restart"], found["RestartPreventExitStatus"], found["StartLimitIntervalSec"]) == ("always", "2", "0")
    assert "TasksMax" in found
    # Mosquitto says nothing to a watchdog.
    assert ("WatchdogSec" in found) is (unit.name != unit_name("broker"))
    assert found["ProtectSystem"] == "strict"
    assert "$" not in unit.text.replace("${CREDENTIALS_DIRECTORY}", "").replace("$MAINPID", "")


def test_services_of_the_server_start_after_its_broker() -> None:
    for unit in every_unit():
        is_after = unit_name("broker") in settings(unit)["After"]
        assert is_after is (unit.name in (unit_name("planner"), unit_name("collector")))


@pytest.mark.parametrize(
    "path", ["/opt/a b/c.json", "/opt/100%/c.json", "/opt/$HOME/c.json", "/opt/x\ny.json", "c.json"]
)
def test_a_path_that_systemd_would_read_otherwise_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="cannot stand in a unit file"):
        service_unit("monitor", "camera", Path(path), PROGRAM, "segue device install")


@needs_systemd
def test_systemd_knows_every_setting_and_finds_the_services_well_guarded(tmp_path: Path) -> None:
    paths = [tmp_path / unit.name for unit in every_unit()]
    for path, unit in zip(paths, every_unit(), strict=True):
        path.write_text(unit.text, encoding="ascii")
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    # Units of the machine itself may have faults, which systemd-analyze reports as well.
    assert not [line for line in verified.stderr.splitlines() if "segue-" in line]
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr
