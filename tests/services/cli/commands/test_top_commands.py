"""`segue top` where the output is no terminal."""

import json

from services.cli.support.fleet_operations import operator
from shared.bus import topics
from shared.bus.settings import BusSettings
from shared.messages.devices import Presence, State
from tests.support.segue_command import SegueOnBus


async def test_the_present_state_is_printed_once(bus: BusSettings, segue_on_bus: SegueOnBus) -> None:
    async with operator(bus) as connection:
        online = Presence(device="pi", state=State.ONLINE)
        await connection.publish(topics.presence("pi"), online.encode(), qos=1, retain=True)
    document = json.loads((await segue_on_bus("top", "--json", "--duration-s", "0.5")).stdout)
    assert document["devices"]["pi"]["online"] is True
    assert (document["services"], document["streams"]) == ({}, {})
    shown = await segue_on_bus("top", "--duration-s", "0.5")
    assert shown.returncode == 0, shown.stderr
    assert "pi" in shown.stdout
