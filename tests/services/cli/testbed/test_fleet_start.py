"""The start of a fleet's broker. Services and streams are started by the runs in tests/end_to_end."""

from pathlib import Path

import pytest
from rich.console import Console

from services.cli.render.fleet_view import FleetView
from services.cli.support.fleet_operations import FleetSilent, operator
from services.cli.testbed import command_lines
from services.cli.testbed.fleet_description import DeviceDescription, Fleet, ModelDescription, StreamSetup
from services.cli.testbed.fleet_start import FleetStart
from services.cli.testbed.observer import FleetObserver
from services.cli.testbed.processes import Processes
from services.cli.testbed.run_reporter import LineReporter
from shared.bus.settings import BusSettings

FLEET = Fleet(
    model=ModelDescription("m.onnx"), stream=StreamSetup("pi", ("x.jpg",)), devices={"pi": DeviceDescription()}
)


def start_of(run_dir: Path, bus: BusSettings) -> FleetStart:
    reporter = LineReporter(Console(quiet=True))
    return FleetStart(FLEET, run_dir, bus, reporter, FleetObserver(FleetView(), reporter, "camera"))


async def test_the_broker_accepts_connections_once_it_is_started(tmp_path: Path, unused_tcp_port: int) -> None:
    bus = BusSettings(port=unused_tcp_port)
    async with Processes(tmp_path, command_lines.environment(bus.address)) as processes:
        await start_of(tmp_path, bus).start_broker(processes, unused_tcp_port)
        assert processes.names == (command_lines.BROKER,)
        async with operator(bus):
            pass


async def test_a_broker_that_ends_is_reported_with_its_last_line(tmp_path: Path, unused_tcp_port: int) -> None:
    unreachable = BusSettings(port=unused_tcp_port)
    async with Processes(tmp_path, command_lines.environment(unreachable.address)) as processes:
        with pytest.raises(FleetSilent, match="process broker ended with status 2: "):
            await start_of(tmp_path, unreachable).start_broker(processes, port=99_999)
