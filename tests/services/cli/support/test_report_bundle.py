"""An archive for a bug report: what is in it, and what must never be."""

import json
import os
import stat
import tarfile
from pathlib import Path

import pytest

from broker.fleet_folder import FleetFolder
from services.cli.render.fleet_view import FleetView
from services.cli.support.health_checks import Finding, Level
from services.cli.support.report_bundle import report_members, write_bundle
from services.cli.support.secret_scrubber import SecretScrubber
from services.planner.signer import Signer
from shared.bus import topics
from shared.bus.roles import Role
from shared.bus.settings import BusSettings
from shared.client_secret import with_client_secret
from shared.enrolment import Enrolment
from shared.exit_status import InputError
from shared.messages.devices import DirectAccess, Presence, State
from shared.messages.requests import ClassScore, Outcome, OutcomeStatus
from tests.support.fleet_broker import make_fleet
from tests.support.segue_command import invoke_command, run_segue


def read(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        names = archive.getnames()
        files = {name: archive.extractfile(name) for name in names}
        return {name.removeprefix("segue-report/"): file.read().decode() for name, file in files.items() if file}


def plant(folder: Path) -> tuple[FleetFolder, list[str]]:
    """Make a fleet, an account that has joined, and the state of services; return every secret in them."""
    fleet = make_fleet(folder / "fleet")
    with FleetFolder.changing(fleet.path) as opened:
        strings = [opened.add("camera", Role.DEVICE)]
        opened.record = opened.record.with_stream("door", "camera")
        strings.append(opened.add("bell", Role.APPLICATION, ("door",)))
    for string in strings:
        string.write(folder / "data" / "segue" / "accounts")
        (folder / f"{string.account}.txt").write_text(string.to_text())
    settings = with_client_secret(BusSettings(), folder / "data" / "segue" / "devices" / "camera")
    secrets = [settings.client_secret]
    for each in (*strings, *(Enrolment.read(path) for path in fleet.accounts.glob("*.json"))):
        secrets += [each.password, each.to_text(), *([each.signing_key] if each.signing_key else [])]
    for path in (*fleet.path.glob("authority/*.key"), *fleet.path.glob("broker/*.key")):
        secrets += [line for line in path.read_text().splitlines() if not line.startswith("-----")]
    secrets += [line.partition(":")[2] for line in (fleet.path / "broker" / "passwords").read_text().splitlines()]
    assert len(secrets) > 20
    assert all(len(secret) > 8 for secret in secrets)
    return fleet, secrets


def test_no_secret_of_a_fleet_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet, secrets = plant(tmp_path)
    data = tmp_path / "data"
    # As a careless service might log them: one by one, whole files, and in an address.
    log = tmp_path / "careless.log"
    files = [path.read_text() for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".log"]
    log.write_text("\n".join(["the line that matters", *(f"value {secret} end" for secret in secrets), *files]))
    for name, value in {
        "XDG_DATA_HOME": str(data),
        "SEGUE_FLEET": str(fleet.path),
        "SEGUE_BROKER_PASSWORD": "from the environment",
        "SEGUE_BROKER": "mqtts://eve:in%20the%20address@192.0.2.7",
        "SEGUE_METERED": "1",
    }.items():
        monkeypatch.setenv(name, value)
    secrets += ["from the environment", "in%20the%20address", "in the address"]
    bundle = tmp_path / "report.tar.gz"
    done = run_segue("doctor", "--offline", "--bundle", str(bundle), "--log", str(log))
    assert done.returncode == 0, done.stderr
    assert "look through it before you send it" in done.stderr
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    members = read(bundle)
    found = [(secret, name) for secret in secrets for name, text in members.items() if secret in text]
    assert found == []
    assert "PRIVATE KEY" not in "".join(members.values())
    assert "the line that matters" in members["logs/1-careless.log"]
    settings = json.loads(members["settings.json"])
    assert settings["environment"]["SEGUE_METERED"] == "1"
    assert {"README.txt", "findings.json", "versions.json", "files.json", "records.json"} <= members.keys()
    assert json.loads(members["versions.json"])["packages"]["mqtt5"]
    assert [each for each in json.loads(members["files.json"]) if each["path"].endswith("client_secret")]


def test_no_request_no_result_and_no_token_of_a_device_is_in_it(tmp_path: Path) -> None:
    view = FleetView()
    token = "ab" * 16
    presence = Presence(
        device="camera",
        state=State.ONLINE,
        direct=DirectAccess(addresses=("192.0.2.1:9000",), token=token, certificate=b"\xff\x00"),
    )
    view.handle(topics.presence("camera"), presence.encode(), 1.0)
    outcome = Outcome(
        request_id="r1", stream="door", status=OutcomeStatus.OK, top=(ClassScore(index=1, label="a face", score=0.9),)
    )
    view.handle(topics.results("door"), outcome.encode(), 2.0)
    account = make_fleet(tmp_path / "fleet").add("eve", Role.OPERATOR)
    members = report_members(
        [Finding(Level.BAD, "broker", "down", "start it")],
        settings=BusSettings(host="192.0.2.7", username="eve", password=account.password, tls=True),
        account=account,
        view=view,
        retained=None,
        data_dir=tmp_path / "none",
        logs=[tmp_path / "none.log"],
    )
    write_bundle(tmp_path / "report.tar.gz", members, SecretScrubber(()))
    written = read(tmp_path / "report.tar.gz")
    everything = "".join(written.values())
    assert token not in everything
    assert "a face" not in everything
    assert account.password not in everything
    fleet = json.loads(written["fleet.json"])
    assert fleet["devices"]["camera"]["presence"]["direct"]["addresses"] == ["192.0.2.1:9000"]
    assert fleet["streams"]["door"]["last"]["request_id"] == "r1"
    assert json.loads(written["settings.json"])["account"]["role"] == "operator"
    assert json.loads(written["findings.json"])[0]["text"] == "down"
    assert "none" in json.loads(written["records.json"])
    assert written["logs/1-none.log"] == f"{os.strerror(2)}\n"


def test_the_planners_key_on_disk_is_not_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "planner").mkdir()
    key = Signer.open(tmp_path / "planner", "segue/v1").key
    log = tmp_path / "x.log"
    log.write_text(f"oops {key.private.hex()} oops, public {key.public}")
    bundle = tmp_path / "report.tar.gz"
    arguments = ("--data-dir", str(tmp_path), "--bundle", str(bundle), "--log", str(log))
    assert invoke_command("doctor_commands:doctor_command", "--offline", *arguments).exit_code == 0
    text = read(bundle)["logs/1-x.log"]
    assert key.private.hex() not in text
    assert key.public in text


def test_wrong_options_are_one_line(tmp_path: Path) -> None:
    for arguments in (("--bundle", str(tmp_path)), ("--bundle", str(tmp_path / "no" / "x.tar.gz")), ("--log", "x")):
        done = invoke_command("doctor_commands:doctor_command", "--offline", *arguments)
        assert isinstance(done.exception, InputError)
