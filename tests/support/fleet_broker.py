"""A fleet in a folder, and its Mosquitto as a process of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from broker.fleet_folder import FleetFolder
from broker.mosquitto import find_mosquitto
from broker.process import BrokerProcess, free_port
from shared.bus.connection import Connection
from shared.bus.settings import BusSettings
from shared.enrolment import Enrolment

WAIT_S = 30.0


def make_fleet(folder: Path, *hosts: str) -> FleetFolder:
    """Make a fleet on a free port."""
    return FleetFolder.create(folder, hosts or ("127.0.0.1", "localhost"), free_port(), "segue/v1")


def settings_of(enrolment: Enrolment, folder: Path) -> BusSettings:
    """Return the settings of a device or an application that joins with its string, in a folder of its own."""
    joined = Enrolment.from_text(enrolment.to_text())
    return joined.settings(joined.write(folder / joined.account))


def own_settings(fleet: FleetFolder, name: str) -> BusSettings:
    """Return the settings of an account in the fleet's folder."""
    path = fleet.accounts / f"{name}.json"
    return Enrolment.read(path).settings(path)


@contextlib.asynccontextmanager
async def running(fleet: FleetFolder) -> AsyncIterator[Path]:
    """Run the fleet's Mosquitto for the time of the block; yield its log."""
    server = find_mosquitto()
    assert server is not None
    log = fleet.path / "broker.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            server, "-c", str(fleet.configuration), stdout=output, stderr=output
        )
    try:
        async with Connection.open(own_settings(fleet, "viewer"), connect_timeout_s=WAIT_S):
            yield log
    finally:
        process.terminate()
        await process.wait()


class ClosedBroker(BrokerProcess):
    """The Mosquitto of a fleet. Its settings are those of the operator."""

    def __init__(self, fleet: FleetFolder) -> None:
        super().__init__(own_settings(fleet, "operator"))
        self._configuration = fleet.configuration

    def prepare(self, directory: Path) -> Sequence[str]:
        return (str(find_mosquitto()), "-c", str(self._configuration))
