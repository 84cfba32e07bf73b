"""Plays the executors of a fleet for monitors, and runs monitors in the event loop of the test."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from services.monitor.config import MonitorConfig
from services.monitor.service import serve
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.settings import BusSettings
from shared.messages.devices import EmulatedLink, Emulation, Links, Presence, ServicePresence, State, Telemetry
from shared.messages.streams import StreamDeclaration

WAIT_S = 60.0


class MonitoredFleet:
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

    async def declare(self, stream: str, source: str) -> None:
        declaration = StreamDeclaration(stream=stream, model="m", source=source)
        await self.connection.publish(topics.stream(stream), declaration.encode(), retain=True)

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
                if received.topic == topics.service_presence(name):
                    presence = ServicePresence.decode(received.payload)
                    if presence.state is state:
                        return presence
        raise AssertionError("unreachable")


class RunMonitors(Protocol):
    """Runs the monitors of emulated devices while the context lasts."""

    def __call__(
        self,
        *devices: str,
        heartbeat_s: float = 5.0,
        sample_interval_s: float = 1.0,
        observation_age_s: float = 5.0,
    ) -> AbstractAsyncContextManager[None]: ...


def monitors_of(settings: BusSettings) -> RunMonitors:
    """Return a runner of monitors that are connected to one broker."""

    @asynccontextmanager
    async def run(
        *devices: str, heartbeat_s: float = 5.0, sample_interval_s: float = 1.0, observation_age_s: float = 5.0
    ) -> AsyncIterator[None]:
        configs = [
            MonitorConfig(
                device,
                settings,
                emulated=True,
                heartbeat_s=heartbeat_s,
                sample_interval_s=sample_interval_s,
                observation_age_s=observation_age_s,
            )
            for device in devices
        ]
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

    return run
