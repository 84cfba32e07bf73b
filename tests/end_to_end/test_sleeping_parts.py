"""Parts that sleep with open connections: the broker does not answer, a device does not compute; then they wake up."""

import asyncio
from pathlib import Path

import pytest

from broker.mosquitto import MosquittoBroker, find_mosquitto
from shared.bus.connection import Connection
from shared.bus.errors import BrokerUnreachable
from shared.client import Client
from shared.messages.requests import Outcome, OutcomeStatus
from tests.support.whole_fleet import CAMERA, HELPER, open_fleet

STREAM = "door"
ASLEEP = (f"executor-{CAMERA}", f"executor-{HELPER}", "planner")

pytestmark = [
    pytest.mark.mosquitto,
    pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is missing: apt-get install mosquitto"),
    pytest.mark.timeout(180),
]


async def test_requests_go_on_when_broker_and_devices_wake_up(tmp_path: Path) -> None:
    async with open_fleet(MosquittoBroker(), tmp_path) as fleet:
        await fleet.declare(STREAM)
        async with Client.open(fleet.broker.settings) as client:
            await client.submit(STREAM, fleet.workload.payloads[0], timeout_s=60)
            fleet.broker.suspend()
            for part in ASLEEP:
                fleet.processes.suspend(part)
            sent = [
                asyncio.ensure_future(client.submit(STREAM, payload, timeout_s=90))
                for payload in fleet.workload.payloads
            ]
            # The kernel accepts connections for a broker that sleeps.
            with pytest.raises(BrokerUnreachable, match="no answer"):
                async with Connection.open(fleet.broker.settings, connect_timeout_s=2.0):
                    raise AssertionError("connected")
            assert not any(request.done() for request in sent)
            fleet.broker.resume()
            for part in ASLEEP:
                fleet.processes.resume(part)
            outcomes = await asyncio.gather(*sent)
        assert {outcome.status for outcome in outcomes} == {OutcomeStatus.OK}
        identities = {outcome.request_id for outcome in outcomes}
        await fleet.watcher.until(lambda: identities <= fleet.watcher.answered(STREAM), "all outcomes on the bus")
        # Attempts that ended late brought no other outcome.
        first: dict[str, Outcome] = {}
        for heard in fleet.watcher.outcomes[STREAM]:
            assert heard == first.setdefault(heard.request_id, heard)
        await fleet.until_whole()
        assert fleet.processes.died() is None
