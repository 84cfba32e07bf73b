"""The whole system on the Mosquitto of a closed fleet: every process under its own account, TLS and rights."""

import asyncio
from pathlib import Path

import pytest

from broker.fleet_folder import FleetFolder
from broker.mosquitto import find_mosquitto
from services.cli.testbed.command_lines import device_processes
from shared.bus.errors import PublishFailed
from shared.bus.roles import Role
from shared.client import Client, ClientTimeout
from shared.messages.requests import OutcomeStatus
from tests.support.fleet_broker import ClosedBroker, make_fleet
from tests.support.segue_command import run_segue
from tests.support.whole_fleet import FLEET, HELPER, WAIT_S, open_fleet

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto"),
]


async def test_every_role_has_the_rights_that_it_needs(tmp_path: Path) -> None:
    fleet = make_fleet(tmp_path / "fleet")
    accounts = {name: fleet.accounts / f"{name}.json" for name in ("planner", "collector")}
    with FleetFolder.changing(fleet.path) as opened:
        for device in FLEET.devices:
            path = opened.add(device, Role.DEVICE).write(tmp_path / device)
            accounts |= dict.fromkeys(device_processes(device), path)
        opened.record = opened.record.with_stream("door", FLEET.stream.source).with_stream("yard", FLEET.stream.source)
        bell = opened.add("bell", Role.APPLICATION, ("door",)).write(tmp_path / "bell")
    environments = {name: {"SEGUE_BROKER": str(path)} for name, path in accounts.items()}
    async with open_fleet(ClosedBroker(fleet), tmp_path, environments=environments) as running:
        await running.declare("door")
        photographs = running.workload.payloads
        async with Client.open(str(bell)) as client:
            outcomes = await client.submit_many("door", photographs, timeout_s=WAIT_S)
            assert not [each for each in outcomes if isinstance(each, ClientTimeout)]
            assert {each.status for each in outcomes if not isinstance(each, ClientTimeout)} == {OutcomeStatus.OK}
            # A stream of the fleet that is not the application's.
            with pytest.raises(PublishFailed, match="no right to write"):
                await client.submit("yard", photographs[0], timeout_s=WAIT_S)

            doctor = await asyncio.to_thread(run_segue, "doctor", "--broker", str(bell))
            assert "does not see the fleet" in " ".join(doctor.stdout.split())
            assert "bad" not in doctor.stdout

            revoked = await asyncio.to_thread(run_segue, "fleet", "revoke", HELPER, "--fleet", str(fleet.path))
            assert revoked.returncode == 0, revoked.stderr
            await running.watcher.until(
                lambda: running.watcher.route("door") != () and HELPER not in running.watcher.route("door"),
                "a route without the revoked device",
            )
            outcome = await client.submit("door", photographs[0], timeout_s=WAIT_S)
            assert outcome.status is OutcomeStatus.OK
    logs = {name: running.processes.log(name).read_text() for name in accounts}
    assert not [name for name, text in logs.items() if "access rules" in text or "Traceback" in text]
    passwords = [path.read_text().split('"password": "')[1].split('"')[0] for path in accounts.values()]
    assert not [name for name, text in logs.items() if any(password in text for password in passwords)]
