"""Real direct transports of one machine, without a broker: a test plays the bus that carries their presences."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from broker.embedded import EmbeddedBroker
from broker.process import BrokerProcess
from shared.bus.feature_maps.transport import Delivery
from shared.bus.settings import BusSettings
from shared.direct.direct_settings import DirectSettings
from shared.direct.direct_transport import DirectReceipt, DirectTransport
from shared.messages.devices import Presence, State

WAIT_S = 30.0


def presence_of(transport: DirectTransport, boot_id: str = "boot", **changes: Any) -> Presence:
    """The presence of a transport's device; `changes` are to its endpoints."""
    access = transport.access.model_copy(update=changes)
    return Presence(device=transport.device, state=State.ONLINE, boot_id=boot_id, direct=access)


async def next_of(transport: DirectTransport) -> Delivery:
    async with asyncio.timeout(WAIT_S):
        return await anext(transport)


async def receipt_of(transport: DirectTransport) -> DirectReceipt:
    """The next receipt; losses before it are passed over."""
    async with asyncio.timeout(WAIT_S):
        async for answer in transport.answers():
            if isinstance(answer, DirectReceipt):
                return answer
    raise AssertionError("unreachable")


@dataclass
class Machine:
    """Opens transports of devices of this machine."""

    folder: Path
    stack: AsyncExitStack
    settings: dict[str, Any] = field(default_factory=dict)

    async def open(self, device: str, boot_id: str = "boot", **settings: Any) -> DirectTransport:
        given = {"broker": BusSettings(host="127.0.0.1"), "socket_folder": self.folder, **self.settings, **settings}
        return await self.stack.enter_async_context(DirectTransport.open(device, boot_id, DirectSettings(**given)))

    async def pair(self, **changes: Any) -> tuple[DirectTransport, DirectTransport]:
        """Two devices that know each other; the first is connected to the second."""
        pi, server = await self.open("pi"), await self.open("server")
        server.learn(presence_of(pi, **changes))
        pi.learn(presence_of(server, **changes))
        assert await pi.connected("server")
        return pi, server


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    async with asyncio.timeout(100), AsyncExitStack() as stack:
        yield Machine(tmp_path / "sockets", stack)


@pytest.fixture
def open_files() -> Callable[[], int]:
    """Counts the open files of this process."""
    return lambda: len(list(Path("/proc/self/fd").iterdir()))


async def until(found: Callable[[], Any]) -> None:
    """Let the event loop work until a condition holds."""
    async with asyncio.timeout(WAIT_S):
        while True:
            if found():
                return
            await asyncio.sleep(0)


@pytest.fixture
async def embedded() -> AsyncIterator[BrokerProcess]:
    async with EmbeddedBroker() as running:
        yield running
