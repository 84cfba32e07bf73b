"""`segue device list`, `forget` and `trust`, on a broker with retained messages and on the files of an executor."""

import json
from pathlib import Path

import pytest
from typer.testing import Result

from services.cli.support.broker_access import accounts_folder
from services.cli.support.fleet_operations import operator
from services.executor.trust_files import read_keys
from shared.bus import topics
from shared.bus.roles import Role
from shared.bus.settings import BusSettings
from shared.exit_status import ExitStatus, InputError
from shared.messages.devices import BlockRowTimes, Presence, Profile, ServicePresence, State
from shared.messages.streams import StreamDeclaration
from shared.user_folders import state_folder
from tests.support.fleet_broker import make_fleet
from tests.support.segue_command import SegueOnBus, invoke_command


async def retain(bus: BusSettings, **payloads: bytes) -> None:
    async with operator(bus) as connection:
        for topic, payload in payloads.items():
            await connection.publish(topic, payload, qos=1, retain=True)


async def test_a_device_that_is_gone_is_forgotten_and_one_that_is_there_is_not(
    bus: BusSettings, segue_on_bus: SegueOnBus
) -> None:
    monitor = ServicePresence(name="monitor-pi", role="monitor", state=State.ONLINE)
    door = StreamDeclaration(stream="door", model="m", source="tpyo")
    measured = (BlockRowTimes(block=1, points=((1, 0.5), (28, 2.0))),)
    profile = Profile(device="pi", model="a" * 64, block_ms=(1.0, 4.0), row_times=measured)
    retained = {
        topics.presence("pi"): Presence(device="pi", state=State.ONLINE).encode(),
        topics.profiles("pi", "a" * 64): profile.encode(),
        topics.service_presence("monitor-pi"): monitor.encode(),
        topics.presence("tpyo"): Presence(device="tpyo", state=State.OFFLINE).encode(),
        topics.emulation("tpyo"): b"x",
        topics.stream("door"): door.encode(),
    }
    await retain(bus, **retained)
    refused = await segue_on_bus("device", "forget", "pi")
    assert refused.returncode == ExitStatus.INPUT_WRONG
    assert "device pi is there: stop its executor and its monitor first" in refused.stderr

    listed = json.loads((await segue_on_bus("device", "list", "--json")).stdout)
    assert [(device["device"], device["executor"], device["monitor"]) for device in listed] == [
        ("pi", "online", "online"),
        ("tpyo", "offline", "offline"),
    ]
    assert listed[0]["row_times"] == {"a" * 64: [{"block": 1, "points": [[1, 0.5], [28, 2.0]]}]}
    assert "(1 in tiles)" in " ".join((await segue_on_bus("device", "list")).stdout.split())
    forgotten = await segue_on_bus("device", "forget", "tpyo")
    assert forgotten.returncode == 0, forgotten.stderr
    assert "devices/tpyo/emulation, devices/tpyo/presence" in forgotten.stdout
    assert "segue stream remove door" in forgotten.stderr
    listed = json.loads((await segue_on_bus("device", "list", "--json")).stdout)
    assert [device["device"] for device in listed] == ["pi"]
    again = await segue_on_bus("device", "forget", "tpyo")
    assert again.returncode == ExitStatus.INPUT_WRONG
    assert "there is no device tpyo" in again.stderr


async def test_a_fleet_without_devices_is_told_how_to_get_one(segue_on_bus: SegueOnBus) -> None:
    listed = await segue_on_bus("device", "list")
    assert (listed.returncode, listed.stdout) == (0, "")
    assert "segue executor --device NAME" in listed.stderr


def test_the_planner_that_a_device_follows_is_shown_and_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))

    def trust(*arguments: str) -> Result:
        return invoke_command("device_commands:trust_planner_command", "pi", "--data-dir", str(tmp_path), *arguments)

    missing = trust()
    assert isinstance(missing.exception, InputError)
    assert "no executor of device pi has run here" in str(missing.exception)
    state_folder(tmp_path, "pi").mkdir(parents=True)
    assert "the first planner that it sees" in trust().stdout
    assert f"pi follows {'ab' * 32}" in trust("ab" * 32).stdout
    assert read_keys(state_folder(tmp_path, "pi")) == ("ab" * 32,)
    for bad in (("abc",), ("ab" * 32, "--any")):
        assert isinstance(trust(*bad).exception, InputError)
    # The account of a fleet says more.
    enrolment = make_fleet(tmp_path / "fleet").add("pi", Role.DEVICE)
    enrolment.write(accounts_folder())
    assert f"follows {enrolment.planner_keys[0]} whatever is set here" in trust("ab" * 32).stderr.replace("\n", " ")
    assert "the first planner that it sees" in trust("--any").stdout
