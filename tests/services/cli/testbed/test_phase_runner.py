"""Phases of a run on a real broker, with a stand-in that answers the requests of a fleet."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from services.cli.render.fleet_view import FleetView
from services.cli.support.fleet_operations import operator
from services.cli.support.manifest import Preset
from services.cli.testbed.fleet_description import (
    DeviceDescription,
    Fleet,
    LinkDescription,
    ModelDescription,
    PhaseDescription,
    StreamSetup,
)
from services.cli.testbed.phase_runner import PhaseRunner
from services.cli.testbed.processes import Processes
from services.cli.testbed.run_reporter import LineReporter
from services.cli.testbed.workload import Workload, read_workload
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.settings import BusSettings
from shared.messages.devices import Emulation
from shared.messages.requests import REQUEST_ID_PROPERTY, Outcome, OutcomeStatus
from shared.messages.streams import CommittedPlan
from shared.model.architectures import build
from shared.model.onnx_file import write_onnx
from tests.support.run_records import plan_route

STREAM = "camera"
LINK = LinkDescription(("a", "b"), 8.0)
FLEET = Fleet(
    model=ModelDescription("tiny.onnx", preprocessing=Preset.TENSOR),
    stream=StreamSetup("a", ("*.npy",)),
    devices={"a": DeviceDescription(), "b": DeviceDescription()},
    links=(LINK,),
)


@pytest.fixture
def workload(tmp_path: Path) -> Workload:
    write_onnx(build("tiny"), tmp_path / "tiny.onnx")
    np.save(tmp_path / "a.npy", np.ones((1, 3, 32, 32), np.float32))
    return read_workload(FLEET, tmp_path, tmp_path)


@contextlib.asynccontextmanager
async def answering(bus: BusSettings) -> AsyncIterator[None]:
    """Answer every request with an empty result for the time of the block."""

    async def answer(connection: Connection) -> None:
        async for received in connection:
            request_id = received.user[REQUEST_ID_PROPERTY]
            result = Outcome(request_id=request_id, stream=STREAM, status=OutcomeStatus.OK)
            await connection.publish(topics.results(STREAM), result.encode())

    async with operator(bus) as connection:
        await connection.subscribe(topics.requests(STREAM))
        task = asyncio.create_task(answer(connection))
        yield
        task.cancel()


def runner(fleet: Fleet, *, duration_s: float | None = None, max_requests: int | None = None) -> PhaseRunner:
    view = FleetView()
    plan = CommittedPlan(
        stream=STREAM, epoch=1, model="0" * 64, source="a", strategy="x", routes=(plan_route(("a", 0, 1), ("b", 1, 3)),)
    )
    view.handle(topics.plan(STREAM), plan.encode(), 0.0)
    return PhaseRunner(fleet, duration_s, max_requests, LineReporter(Console(quiet=True)), view, asyncio.Event())


async def test_a_phase_has_its_conditions_and_emulated_devices_get_them(
    bus: BusSettings, workload: Workload, tmp_path: Path, unused_tcp_port: int
) -> None:
    slow = replace(LINK, bandwidth_mbps=0.5)
    phases = (
        PhaseDescription("steady", 0.2),
        PhaseDescription("slow", 0.2, links=(slow,), load={"in-use": 3.0}, expect_reroute=True),
    )
    phase_runner = runner(replace(FLEET, phases=phases))
    async with answering(bus), operator(bus) as control, Processes(tmp_path) as processes:
        await processes.start("bystander", ("broker", "--port", str(unused_tcp_port)))
        load = await phase_runner.run(bus, workload, processes, control)
        await control.subscribe(topics.emulation("b"))
        emulation = Emulation.decode((await anext(control)).payload)
    steady, slowed = phase_runner.records
    assert (steady.name, steady.condition, steady.expect_reroute) == ("steady", "as described", False)
    assert (slowed.condition, slowed.expect_reroute) == ("link a - b at 0.5 of 8 Mbps, b 3 times slower", True)
    assert steady.ended_at_s <= slowed.started_at_s < slowed.ended_at_s
    assert (emulation.load_factor, emulation.links[0].bandwidth_mbps) == (3.0, 0.5)
    assert load.records
    assert all(record.outcome is not None for record in load.records)
    assert phase_runner.notes == []


async def test_a_fleet_without_phases_runs_until_its_requests_are_done(
    bus: BusSettings, workload: Workload, tmp_path: Path, unused_tcp_port: int
) -> None:
    phase_runner = runner(FLEET, max_requests=3)
    async with answering(bus), operator(bus) as control, Processes(tmp_path) as processes:
        await processes.start("bystander", ("broker", "--port", str(unused_tcp_port)))
        load = await phase_runner.run(bus, workload, processes, control)
    assert len(load.records) == 3
    (record,) = phase_runner.records
    assert (record.name, record.condition) == ("running", "as described")


async def test_a_process_that_ends_by_itself_ends_the_run_with_a_note(
    bus: BusSettings, workload: Workload, tmp_path: Path
) -> None:
    phase_runner = runner(replace(FLEET, phases=(PhaseDescription("p", 60.0, expect_reroute=True),)))
    async with answering(bus), operator(bus) as control, Processes(tmp_path) as processes:
        await processes.start("mistyped", ("no-such-command",))
        await phase_runner.run(bus, workload, processes, control)
    assert phase_runner.stop.is_set()
    (note,) = phase_runner.notes
    assert note.startswith("process mistyped ended with status 2: ")
    (record,) = phase_runner.records
    assert not record.expect_reroute
