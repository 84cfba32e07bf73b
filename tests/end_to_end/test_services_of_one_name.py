"""Two planners, two monitors or two collectors of one name on a real broker: the second one leaves it to the first."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from broker.embedded import EmbeddedBroker
from services.collector.config import CollectorConfig
from services.collector.service import serve as collect
from services.monitor.config import MonitorConfig
from services.monitor.service import serve as monitor
from services.planner.config import PlannerConfig
from services.planner.service import serve as plan
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.settings import BusSettings
from shared.exit_status import InputError
from shared.messages.devices import ServicePresence, State

Begin = Callable[[BusSettings, Path], Coroutine[Any, Any, None]]

SERVICES: dict[str, tuple[str, Begin]] = {
    "planner": ("planner", lambda bus, folder: plan(PlannerConfig(bus, folder))),
    "monitor": ("monitor-pi", lambda bus, folder: monitor(MonitorConfig("pi", bus))),
    "collector": ("collector", lambda bus, folder: collect(CollectorConfig(bus, folder))),
}


async def online(ear: Connection) -> ServicePresence:
    async for received in ear:
        found = ServicePresence.decode(received.payload)
        if found.state is State.ONLINE:
            return found
    raise AssertionError("unreachable")


@pytest.mark.parametrize("role", SERVICES)
async def test_the_second_service_of_a_name_leaves_it_to_the_first(role: str, tmp_path: Path) -> None:
    name, begin = SERVICES[role]
    async with asyncio.timeout(60), EmbeddedBroker() as broker, Connection.open(broker.settings) as ear:
        await ear.subscribe(topics.service_presence(name))
        async with asyncio.TaskGroup() as group:
            first = group.create_task(begin(broker.settings, tmp_path / "first"))
            there = await online(ear)
            with pytest.raises(InputError, match=f"another {role} is called {name} already: stop it, or"):
                await begin(broker.settings, tmp_path / "second")
            await ear.unsubscribe(topics.service_presence(name))
            await ear.subscribe(topics.service_presence(name))
            while (await online(ear)).boot_id != there.boot_id:
                pass
            assert not first.done()
            first.cancel()
