"""`segue fleet`: from nothing to accounts, strings and files."""

import json
import stat
from pathlib import Path

import pytest
from typer.testing import Result

from services.cli.commands.closed_fleet_commands import _own_hosts
from shared.bus.roles import Role
from shared.enrolment import Enrolment
from shared.exit_status import InputError
from tests.support.segue_command import invoke_command, run_segue


def fleet(command: str, *arguments: str) -> Result:
    return invoke_command(f"closed_fleet_commands:{command}_command", *arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A fleet on this machine."""
    done = fleet("init", str(tmp_path / "fleet"), "--host", "127.0.0.1", "--port", "18883")
    assert done.exit_code == 0, done.output
    return tmp_path / "fleet"


def refusal(result: Result) -> str:
    assert isinstance(result.exception, InputError)
    return str(result.exception)


def test_init_says_what_comes_next(tmp_path: Path) -> None:
    done = run_segue("fleet", "init", str(tmp_path / "fleet"))
    assert done.returncode == 0, done.stderr
    for command in ("segue broker --fleet", "segue planner --broker", "export SEGUE_BROKER=", "segue fleet add-device"):
        assert command in done.stdout
    again = run_segue("fleet", "init", str(tmp_path / "fleet"))
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)


def test_the_hosts_of_this_machine_end_with_its_names() -> None:
    hosts = _own_hosts()
    assert hosts[-2:] == ["localhost", "127.0.0.1"]
    assert not [host for host in hosts if "%" in host]


def test_a_device_gets_a_string_on_standard_output_and_nothing_else_there(folder: Path) -> None:
    done = fleet("add_device", "camera", "--fleet", str(folder))
    enrolment = Enrolment.from_text(done.stdout)
    assert (enrolment.account, enrolment.role, enrolment.port) == ("camera", Role.DEVICE, 18883)
    assert done.stdout.count("\n") == 1
    assert "no broker of this fleet runs here" in done.stderr


def test_a_string_may_go_to_a_private_file(folder: Path, tmp_path: Path) -> None:
    done = fleet("add_device", "camera", "--fleet", str(folder), "--out", str(tmp_path / "camera.txt"))
    assert done.stdout == ""
    assert Enrolment.from_text((tmp_path / "camera.txt").read_text()).account == "camera"
    assert stat.S_IMODE((tmp_path / "camera.txt").stat().st_mode) == 0o600


def test_an_unwritable_file_adds_no_device(folder: Path, tmp_path: Path) -> None:
    done = fleet("add_device", "camera", "--fleet", str(folder), "--out", str(tmp_path / "no" / "camera.txt"))
    assert "there is no folder" in refusal(done)
    assert "camera" not in fleet("list", "--fleet", str(folder)).output


def test_a_qr_code_is_drawn(folder: Path) -> None:
    done = fleet("add_device", "camera", "--fleet", str(folder), "--qr")
    assert "█" in done.stdout or "▄" in done.stdout


def test_streams_applications_and_their_order(folder: Path) -> None:
    at = ("--fleet", str(folder))
    assert "add-stream door" in refusal(fleet("add_application", "bell", "--stream", "door", *at))
    assert "there is no account camera" in refusal(fleet("add_stream", "door", "--source", "camera", *at))
    fleet("add_device", "camera", *at)
    assert fleet("add_stream", "door", "--source", "camera", *at).exit_code == 0
    bell = Enrolment.from_text(fleet("add_application", "bell", "--stream", "door", *at).stdout)
    assert bell.role is Role.APPLICATION
    listed = {each["name"]: each for each in json.loads(fleet("list", "--json", *at).stdout)["accounts"]}
    assert listed["camera"] == {"name": "camera", "role": "device", "streams": ["door"], "site": None}
    assert listed["bell"] == {"name": "bell", "role": "application", "streams": ["door"], "site": None}
    rules = (folder / "broker" / "rules").read_text()
    assert "topic read segue/v1/streams/door/requests" in rules


def test_rotation_prints_a_device_s_string_and_replaces_the_file_of_a_service(folder: Path) -> None:
    at = ("--fleet", str(folder))
    first = Enrolment.from_text(fleet("add_device", "camera", *at).stdout)
    second = Enrolment.from_text(fleet("rotate", "camera", *at).stdout)
    assert second == first.model_copy(update={"password": second.password})
    assert second.password != first.password
    before = Enrolment.read(folder / "accounts" / "planner.json")
    done = fleet("rotate", "planner", *at)
    after = Enrolment.read(folder / "accounts" / "planner.json")
    assert after.password not in done.output
    assert after.password != before.password
    assert after.signing_key == before.signing_key
    certificate = (folder / "broker" / "server.pem").read_bytes()
    assert fleet("rotate", *at).exit_code == 0
    assert (folder / "broker" / "server.pem").read_bytes() != certificate


def test_a_revoked_account_leaves_nothing_behind(folder: Path) -> None:
    at = ("--fleet", str(folder))
    assert fleet("revoke", "viewer", *at).exit_code == 0
    left = [
        path for path in folder.rglob("*") if path.is_file() and b"viewer" in path.read_bytes() + path.name.encode()
    ]
    assert left == []
    assert "there is no account viewer" in refusal(fleet("revoke", "viewer", *at))


def test_further_people_and_services(folder: Path) -> None:
    at = ("--fleet", str(folder))
    eve = Enrolment.from_text(fleet("add_account", "eve", "--role", "operator", *at).stdout)
    assert (eve.role, eve.signing_key) == (Role.OPERATOR, "")
    assert "a fleet has one planner" in refusal(fleet("add_account", "second", "--role", "planner", *at))
    assert "segue fleet add-device eva" in refusal(fleet("add_account", "eva", "--role", "device", *at))


@pytest.mark.parametrize("command", ["add_device", "revoke", "rotate"])
def test_without_a_fleet_the_next_step_is_named(tmp_path: Path, command: str) -> None:
    assert "segue fleet init" in refusal(fleet(command, "camera", "--fleet", str(tmp_path / "none")))
