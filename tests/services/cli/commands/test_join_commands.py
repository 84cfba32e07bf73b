"""`segue device join`: strings from standard input, files and arguments; and services that need no option then."""

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from broker.fleet_folder import FleetFolder
from broker.mosquitto import find_mosquitto
from shared.bus.errors import SettingsError
from shared.bus.roles import Role
from shared.enrolment import Enrolment
from shared.exit_status import InputError
from tests.support.fleet_broker import make_fleet, running
from tests.support.segue_command import invoke_command

JOIN = "join_commands:join_command"


@pytest.fixture
def camera(tmp_path: Path) -> Enrolment:
    """A device of a fleet whose broker does not run."""
    return make_fleet(tmp_path / "fleet").add("camera", Role.DEVICE)


def test_a_string_is_taken_from_everywhere(camera: Enrolment, tmp_path: Path) -> None:
    text = camera.to_text()
    (tmp_path / "string.txt").write_text(text + "\n")
    for number, (argument, stdin) in enumerate((("-", text), (text, None), (str(tmp_path / "string.txt"), None))):
        folder = tmp_path / str(number)
        done = invoke_command(JOIN, argument, "--folder", str(folder), "--offline", stdin=stdin)
        assert done.exit_code == 0, done.output
        assert Enrolment.read(folder / "camera.json") == camera
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        assert camera.password not in done.output
        assert "next: segue executor" in done.stderr


@pytest.mark.parametrize("text", ["", "hello", "segue1.AAAA", "/no/such/file", "segue1." + "A" * 70_000])
def test_what_is_no_string_is_refused_and_writes_nothing(text: str, tmp_path: Path) -> None:
    done = invoke_command(JOIN, "-", "--folder", str(tmp_path / "x"), "--offline", stdin=text)
    assert isinstance(done.exception, SettingsError)
    done = invoke_command(JOIN, text, "--folder", str(tmp_path / "x"), "--offline")
    assert isinstance(done.exception, SettingsError | InputError)
    assert not (tmp_path / "x").exists()


def test_a_folder_that_cannot_be_written_is_named(camera: Enrolment, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = invoke_command(JOIN, camera.to_text(), "--folder", str(tmp_path / "file" / "x"), "--offline")
    assert isinstance(done.exception, InputError)
    assert "cannot write" in str(done.exception)


@pytest.mark.mosquitto
@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto")
async def test_after_joining_neither_broker_nor_name_is_given(tmp_path: Path) -> None:
    """The whole way of an operator: join, and look at the fleet."""
    fleet = make_fleet(tmp_path / "fleet")
    with FleetFolder.changing(fleet.path) as opened:
        text = opened.add("eve", Role.OPERATOR).to_text()
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "home")}
    environment.pop("SEGUE_BROKER", None)

    def segue(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "services.cli.main", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=90, check=False, input=stdin, env=environment
        )

    async with running(fleet):
        joined = await asyncio.to_thread(lambda: segue("device", "join", "-", stdin=text))
        assert joined.returncode == 0, joined.stderr
        assert "lets it in" in joined.stdout
        listed = await asyncio.to_thread(lambda: segue("device", "list", "--json"))
        assert (listed.returncode, listed.stdout.strip()) == (0, "[]"), listed.stderr
