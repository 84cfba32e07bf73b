"""Two sites of a fleet: two Mosquittos, and between them a bridge that can be cut and whose bytes are counted."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from broker.fleet_folder import FleetFolder
from broker.mosquitto import find_mosquitto
from broker.process import free_port
from broker.site_folder import set_site, write_site
from shared.bus.connection import Connection
from shared.bus.settings import BusSettings
from tests.support.fleet_broker import WAIT_S, make_fleet, own_settings, running

SITE = "barn"
_READ_BYTES = 65_536
_SLOW_READ_BYTES = 4_096


@dataclass(slots=True)
class CuttableWay:
    """A TCP proxy to a port of this machine.

    Attributes:
        target_port: where connections go on to.
        passed_bytes: of both directions, since the start.
        limit_bytes_s: rate of each direction of each connection; None for no limit.
    """

    target_port: int
    passed_bytes: int = 0
    limit_bytes_s: float | None = None
    _port: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """Serve for the time of the block; yield the port."""
        await self.mend()
        try:
            yield self._port
        finally:
            self.cut()

    def cut(self) -> None:
        """End all connections, and refuse others."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()

    async def mend(self) -> None:
        """Let connections pass, at the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            onward, back = await asyncio.open_connection("127.0.0.1", self.target_port)
            self._writers |= {writer, back}
            await asyncio.gather(self._pass(reader, back), self._pass(onward, writer))
            self._writers -= {writer, back}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_READ_BYTES if self.limit_bytes_s is None else _SLOW_READ_BYTES):
                self.passed_bytes += len(data)
                if self.limit_bytes_s is not None:
                    await asyncio.sleep(len(data) / self.limit_bytes_s)
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@dataclass(frozen=True, slots=True)
class TwoSites:
    """A fleet whose brokers run.

    Attributes:
        fleet: its folder.
        way: the bridge.
        folder: of the site's Mosquitto.
    """

    fleet: FleetFolder
    way: CuttableWay
    folder: Path

    def settings(self, account: str) -> BusSettings:
        """Return the settings of an account whose file `new_fleet` has written."""
        return own_settings(self.fleet, account)


def new_fleet(folder: Path) -> FleetFolder:
    """Make a fleet with a site, on free ports. Its members are added next."""
    fleet = make_fleet(folder / "fleet", "127.0.0.1")
    with FleetFolder.changing(fleet.path) as opened:
        set_site(opened, SITE, ("127.0.0.1",), free_port())
    return opened


@contextlib.asynccontextmanager
async def two_sites(fleet: FleetFolder, folder: Path, site_account: str) -> AsyncIterator[TwoSites]:
    """Run both Mosquittos, bridged through a way that can be cut; see `site_broker`."""
    async with running(fleet), site_broker(fleet, folder, site_account) as sites:
        yield sites


@contextlib.asynccontextmanager
async def site_broker(fleet: FleetFolder, folder: Path, site_account: str, site: str = SITE) -> AsyncIterator[TwoSites]:
    """Run the site's Mosquitto, and the way to the first one.

    Args:
        fleet: with all its members.
        folder: for the files of the site.
        site_account: an account at the site, in the folder of the fleet, to see that its broker serves.
        site: its name.
    """
    site_folder = folder / site
    write_site(fleet, site, site_folder)
    way = CuttableWay(fleet.record.port)
    async with way.open() as port, contextlib.AsyncExitStack() as stack:
        configuration = site_folder / "mosquitto.conf"
        text = configuration.read_text(encoding="utf-8")
        configuration.write_text(
            text.replace(f"address 127.0.0.1:{fleet.record.port}\n", f"address 127.0.0.1:{port}\n")
        )
        server = find_mosquitto()
        assert server is not None
        with (folder / "site.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(server, "-c", str(configuration), stdout=log, stderr=log)
        stack.push_async_callback(process.wait)
        stack.callback(process.terminate)
        async with asyncio.timeout(WAIT_S):
            settings = replace(own_settings(fleet, site_account), port=fleet.record.site(site).port)
            async with Connection.open(settings, connect_timeout_s=WAIT_S):
                pass
        yield TwoSites(fleet, way, site_folder)
