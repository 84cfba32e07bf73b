"""A real broker, monitors on real connections, and somebody who listens."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from broker.embedded import EmbeddedBroker
from services.monitor.config import MonitorConfig
from services.monitor.service import serve
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.settings import BusSettings
from shared.messages.devices import EmulatedLink, Emulation, Links, Presence, ServicePresence, State, Telemetry

WAIT_S = 30.0


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    async with EmbeddedBroker() as running:
        yield running


class Fleet:
    """Plays the executors of a fleet, and reads what monitors publish."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def online(self, *devices: str, boot_id: str = "b1") -> None:
        for device in devices:
            presence = Presence(device=device, state=State.ONLINE, boot_id=boot_id)
            await self.connection.publish(topics.presence(device), presence.encode(), retain=True)

    async def offline(self, device: str) -> None:
        presence = Presence(device=device, state=State.OFFLINE)
        await self.connection.publish(topics.presence(device), presence.encode(), retain=True)

    async def emulate(self, device: str, *, load_factor: float = 1.0, **links: tuple[float, float]) -> None:
        emulation = Emulation(
            device=device,
            slowdown=4.0,
            load_factor=load_factor,
            links=tuple(
                EmulatedLink(target=target, bandwidth_mbps=rate, latency_ms=latency)
                for target, (rate, latency) in links.items()
            ),
        )
        await self.connection.publish(topics.emulation(device), emulation.encode(), retain=True)

    async def until_links(self, device: str, accept: Callable[[Links], bool]) -> Links:
        async with asyncio.timeout(WAIT_S):
            async for received in self.connection:
                if received.topic == topics.links(device) and accept(links := Links.decode(received.payload)):
                    return links
        raise AssertionError("unreachable")

    async def until_telemetry(self, device: str, accept: Callable[[Telemetry], bool]) -> Telemetry:
        async with asyncio.timeout(WAIT_S):
            async for received in self.connection:
                if received.topic == topics.telemetry(device):
                    telemetry = Telemetry.decode(received.payload)
                    if accept(telemetry):
                        return telemetry
        raise AssertionError("unreachable")

    async def until_service(self, name: str, state: State) -> ServicePresence:
        async with asyncio.timeout(WAIT_S):
            async for received in self.connection:
                if received.topic == topics.service(name):
                    presence = ServicePresence.decode(received.payload)
                    if presence.state is state:
                        return presence
        raise AssertionError("unreachable")


@pytest.fixture
async def fleet(broker: EmbeddedBroker) -> AsyncIterator[Fleet]:
    async with Connection.open(broker.settings) as connection:
        for topic_filter in (topics.ANY_LINKS, topics.ANY_TELEMETRY, topics.ANY_SERVICE):
            await connection.subscribe(topic_filter)
        yield Fleet(connection)


@asynccontextmanager
async def running(settings: BusSettings, *devices: str, **changes: object) -> AsyncIterator[None]:
    """Run the monitors of emulated devices in this event loop."""
    configs = [MonitorConfig(device, settings, **{"emulated": True, **changes}) for device in devices]
    tasks = [asyncio.create_task(serve(config), name=config.service_name) for config in configs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results: list[object] = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result


@pytest.fixture
def run_monitors(broker: EmbeddedBroker) -> Callable[..., Awaitable[None]]:
    return lambda *devices, **changes: running(broker.settings, *devices, **changes)
