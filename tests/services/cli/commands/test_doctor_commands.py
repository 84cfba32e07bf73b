"""`segue doctor` with and without a broker."""

import asyncio
import json
from pathlib import Path

import pytest

from broker.mosquitto import find_mosquitto
from services.cli.support.fleet_operations import operator
from shared.bus import topics
from shared.bus.errors import BrokerUnreachable
from shared.bus.settings import BusSettings
from shared.exit_status import ExitStatus, InputError
from shared.messages.devices import Presence, State
from tests.support.fleet_broker import make_fleet, running
from tests.support.segue_command import SegueOnBus, invoke_command, run_segue


def test_it_checks_this_machine_without_a_broker(tmp_path: Path) -> None:
    done = run_segue("doctor", "--offline", "--json", "--data-dir", str(tmp_path / "not" / "there"))
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 0
    assert {"python", "segue", "executor", "planner", "mosquitto", "disk"} <= findings.keys()
    assert findings["python"]["level"] == "good"


def test_a_broker_out_of_reach_is_a_finding_and_a_status(unused_tcp_port: int) -> None:
    done = run_segue("doctor", "--broker", f"mqtt://127.0.0.1:{unused_tcp_port}")
    assert done.returncode == ExitStatus.OUT_OF_REACH
    assert "is a broker running there?" in " ".join(done.stdout.split())


async def test_a_fleet_with_faults_fails_with_advice(bus: BusSettings, segue_on_bus: SegueOnBus) -> None:
    async with operator(bus) as connection:
        offline = Presence(device="pi", state=State.OFFLINE)
        await connection.publish(topics.presence("pi"), offline.encode(), qos=1, retain=True)
    done = await segue_on_bus("doctor", "--json", "--listen-s", "0.5")
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == ExitStatus.FAILED
    assert findings["broker"]["level"] == "good"
    assert findings["device pi"]["advice"] == "segue executor --device pi"


@pytest.mark.mosquitto
@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto")
async def test_a_contract_that_is_not_kept_is_a_line_and_a_status(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path / "fleet")
    async with running(fleet):
        account = str(fleet.account_file("operator"))
        done = await asyncio.to_thread(run_segue, "doctor", "--contract", "--json", "--broker", account)
    (finding,) = json.loads(done.stdout)
    assert (done.returncode, finding["level"], finding["subject"]) == (1, "bad", "rights below the root")


def test_a_second_broker_is_for_the_contract(unused_tcp_port: int) -> None:
    address = f"mqtt://127.0.0.1:{unused_tcp_port}"
    done = invoke_command("doctor_commands:doctor_command", "--offline", "--second", address)
    assert isinstance(done.exception, InputError)
    done = invoke_command("doctor_commands:doctor_command", "--contract", "--broker", address)
    assert isinstance(done.exception, BrokerUnreachable)
