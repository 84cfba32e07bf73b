"""The phases of a run: their conditions and disturbances, under a steady load of requests."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

from services.cli.render.fleet_view import FleetView
from services.cli.testbed import command_lines
from services.cli.testbed.conditions import (
    Conditions,
    describe_conditions,
    device_in_use,
    emulations,
    measured_conditions,
    phase_conditions,
    usual_conditions,
)
from services.cli.testbed.fleet_description import Fleet, PhaseDescription
from services.cli.testbed.processes import Processes, cancel_all
from services.cli.testbed.request_load import LoadSettings, RequestLoad
from services.cli.testbed.run_record import PhaseRecord
from services.cli.testbed.run_reporter import PhaseStart, Reporter
from services.cli.testbed.workload import Workload
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.settings import BusSettings
from shared.client import Client

_DRAIN_S: Final = 90.0

# Name of the only phase of a fleet without phases.
_WHOLE_RUN: Final = "running"


@dataclass(slots=True)
class PhaseRunner:
    """Runs the phases of a fleet in order.

    Only `run` changes `conditions`, which are the present phase's, and `records`, which has the phases that ended.
    It also adds a note for a process that ended by itself, which ends the run.

    Attributes:
        fleet: the fleet.
        duration_s: duration of a run without phases; None for no limit.
        max_requests: number of requests after which the run ends; None for no limit.
        reporter: receives the start of every phase.
        view: the state of the fleet.
        stop: ends the run when set.
    """

    fleet: Fleet
    duration_s: float | None
    max_requests: int | None
    reporter: Reporter
    view: FleetView
    stop: asyncio.Event
    records: list[PhaseRecord] = field(default_factory=list, init=False)
    notes: list[str] = field(default_factory=list, init=False)
    conditions: Conditions = field(init=False)

    def __post_init__(self) -> None:
        self.conditions = usual_conditions(self.fleet)

    async def announce(self, connection: Connection) -> None:
        """Publish the present conditions to emulated devices, retained for those that start later."""
        if self.fleet.emulated:
            for emulation in emulations(self.fleet, self.conditions):
                await connection.publish(topics.emulation(emulation.device), emulation.encode(), retain=True)

    async def run(self, bus: BusSettings, workload: Workload, processes: Processes, control: Connection) -> RequestLoad:
        """Submit requests through all phases; return the load with the records of all requests.

        Raises:
            BusError: requests cannot be published.
            TimeoutError: outcomes are missing long after the last phase.
        """
        stream = self.fleet.stream
        settings = LoadSettings(stream.name, stream.in_flight, rate_hz=stream.rate_hz, limit=self.max_requests)
        async with Client.open(bus, in_flight=stream.in_flight) as client:
            load = RequestLoad(client, workload.payloads, settings, workload.reference.differs, workload.files)
            flow = asyncio.create_task(load.run(), name="load")
            try:
                for number, phase in enumerate(self.fleet.phases or (None,), start=1):
                    await self._run_phase(number, phase, flow, processes, control)
                    if self.stop.is_set() or flow.done():
                        break
                self.reporter.step("waiting for the last outcomes")
                load.stop()
                async with asyncio.timeout(_DRAIN_S):
                    await flow
            finally:
                await cancel_all(flow)
        return load

    async def _run_phase(
        self,
        number: int,
        phase: PhaseDescription | None,
        flow: asyncio.Task[None],
        processes: Processes,
        control: Connection,
    ) -> None:
        name, duration_s = (_WHOLE_RUN, self.duration_s) if phase is None else (phase.name, phase.duration_s)
        if phase is not None:
            # `in-use` is resolved when the phase starts: it depends on the route that the last phase left.
            self.conditions = phase_conditions(self.fleet, phase, self._device_in_use())
        condition = describe_conditions(self.fleet, self.conditions)
        self.reporter.phase(PhaseStart(number, max(1, len(self.fleet.phases)), name, condition, duration_s))
        # The clock starts before the emulation changes, so that every reroute that it causes lies in this phase.
        started_at_s = time.time()
        await self.announce(control)
        dead = [process for device in self.conditions.dead for process in command_lines.device_processes(device)]
        for process in dead:
            await processes.kill(process)
        await self._wait(flow, processes, duration_s)
        # A phase that the user cut short had no time for a reroute.
        expect_reroute = phase is not None and phase.expect_reroute and not self.stop.is_set()
        self.records.append(
            PhaseRecord(name, condition, self._true_conditions(), started_at_s, time.time(), expect_reroute)
        )
        # Restarted after the end of the phase is recorded: the device's return belongs to the next phase.
        for process in dead:
            await processes.restart(process)

    async def _wait(self, flow: asyncio.Task[None], processes: Processes, duration_s: float | None) -> None:
        """Wait until the time is up, all requests are done, the user stops the run, or a process ends by itself."""
        stopping = asyncio.create_task(self.stop.wait(), name="wait for stop")
        dying = asyncio.create_task(processes.death(), name="watch the processes")
        try:
            done, _ = await asyncio.wait(
                [flow, stopping, dying], timeout=duration_s, return_when=asyncio.FIRST_COMPLETED
            )
            if dying in done:
                self.notes.append(str(dying.result()))
                self.stop.set()
        finally:
            await cancel_all(stopping, dying)

    def _true_conditions(self) -> Conditions:
        """Return the present conditions: the emulated ones, or those that the monitors of real devices measure."""
        if self.fleet.emulated:
            return self.conditions
        devices = self.view.devices.values()
        return measured_conditions(
            [device.links for device in devices if device.links is not None],
            {device.name: device.load_factor for device in devices},
            self.conditions.dead,
        )

    def _device_in_use(self) -> str:
        plan = self.view.streams[self.fleet.stream.name].plan
        return self.fleet.stream.source if plan is None else device_in_use(plan)
