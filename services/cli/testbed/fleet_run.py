"""Runs a whole fleet on this machine, phase by phase, under a steady flow of requests."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.process import free_port
from services.cli.render.fleet_view import FleetView
from services.cli.support.errors import InfeasibleProblem
from services.cli.support.operations import (
    FleetSilent,
    add_model,
    declare_stream,
    publish_calibration,
    set_policy,
    until_running,
    withdraw_stream,
)
from services.cli.testbed import command_lines
from services.cli.testbed.baselines import Ground
from services.cli.testbed.collector_query import await_outcomes, read_counts
from services.cli.testbed.conditions import (
    Conditions,
    describe_conditions,
    device_in_use,
    emulations,
    measured_conditions,
    phase_conditions,
    usual_conditions,
)
from services.cli.testbed.fleet_calibration import calibrate
from services.cli.testbed.fleet_file import EMBEDDED_BROKER, Fleet, PhaseDescription
from services.cli.testbed.observer import Observer
from services.cli.testbed.processes import Died, Processes
from services.cli.testbed.reporting import PhaseStart, Reporter
from services.cli.testbed.request_load import LoadSettings, RequestLoad
from services.cli.testbed.run_record import PhaseRecord, RunRecord
from services.cli.testbed.workload import Workload, read_workload
from shared.bus import topics
from shared.bus.connection import Connection, unique_client_id
from shared.bus.errors import BrokerUnreachable
from shared.bus.settings import BusSettings
from shared.client import Client
from shared.messages.calibration import Calibration
from shared.messages.devices import State
from shared.messages.streams import StreamDeclaration, StreamState, StreamStatus
from shared.policy import policy_document

_BROKER_START_S = 20.0
_BROKER_THERE_S = 5.0
_PRESENCE_S = 30.0
_ROUTE_S = 90.0
_POLICY_S = 30.0
_DRAIN_S = 90.0
_COLLECT_S = 20.0
_WITHDRAW_S = 3.0
_WHOLE_RUN = "running"


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How to run a fleet.

    Attributes:
        folder: what paths in the description are relative to.
        run_dir: logs, caches and databases of the run.
        duration_s: without phases, stop after so long; None for no limit.
        requests: stop after so many; None for no limit.
        calibrations: where calibrations are kept from one run to the next.
    """

    folder: Path
    run_dir: Path
    calibrations: Path
    duration_s: float | None = None
    requests: int | None = None


@dataclass(slots=True)
class FleetRun:
    """One run of a fleet. Setting `stop` once `started` is set ends it in order, with a record of what was."""

    fleet: Fleet
    settings: RunSettings
    reporter: Reporter
    view: FleetView
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    _conditions: Conditions = field(init=False)
    _observer: Observer = field(init=False)
    _phases: list[PhaseRecord] = field(default_factory=list, init=False)
    _notes: list[str] = field(default_factory=list, init=False)
    _calibration: Calibration | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._conditions = usual_conditions(self.fleet)
        self._observer = Observer(self.view, self.reporter, self.fleet.stream.name)

    async def run(self) -> RunRecord:
        """Start everything, go through the phases, stop everything.

        Raises:
            InputError: the model or the images do not fit.
            Infeasible: the policy is refused, or no route keeps it.
            ModelError: the file is no model that Segue can cut.
            FleetSilent: the fleet does not come to run; the text says what is missing.
            BusError: the broker is out of reach.
        """
        self.reporter.step("reading the model and the images")
        workload = await asyncio.to_thread(read_workload, self.fleet, self.settings.folder)
        await self._calibrate(workload)
        embedded = self.fleet.broker == EMBEDDED_BROKER
        port = free_port()
        address = f"mqtt://127.0.0.1:{port}" if embedded else self.fleet.broker
        bus = BusSettings.from_address(address)
        collector_dir, stream = self.settings.run_dir / command_lines.COLLECTOR, self.fleet.stream.name
        before = await read_counts(collector_dir, stream)
        async with Processes(self.settings.run_dir, command_lines.environment(address)) as processes:
            if embedded:
                self.reporter.step(f"starting the broker at {bus.address}")
                await processes.start(command_lines.BROKER, command_lines.broker(port))
                await self._wait_for_broker(processes, bus)
            async with self._observed(bus, _BROKER_START_S if embedded else _BROKER_THERE_S) as control:
                await self._start_services(processes)
                await self._start_stream(bus, workload)
                load = await self._run_phases(bus, workload, processes, control)
                self.reporter.step("asking the collector")
                known = [request.request_id for request in load.records if request.outcome is not None]
                counts = await await_outcomes(collector_dir, stream, known, before, _COLLECT_S)
                if not embedded:
                    await self._withdraw(control)
            self.reporter.step("stopping all processes")
        return RunRecord(
            phases=tuple(self._phases),
            requests=tuple(load.records),
            reroutes=self._observer.reroutes,
            ground=self._ground(workload),
            collector=counts,
            notes=tuple(self._notes),
        )

    async def _calibrate(self, workload: Workload) -> None:
        """Measure encodings if that is wanted, while nothing else computes here."""
        if self.fleet.calibrates:
            images = self.fleet.model.calibration_images
            folder = None if images is None else self.settings.folder / images
            self._calibration = await calibrate(workload, folder, self.settings.calibrations, self.reporter.step)
            found = self._calibration
            self.reporter.step(f"encodings are known of {len(found.blocks)} cuts, from {found.samples} inputs")
        elif self.fleet.model.calibrate is None:
            self.reporter.step(
                "encodings are not measured, feature maps travel raw: `--calibrate`, or `calibrate = true` below "
                "[model], changes that"
            )

    async def _wait_for_broker(self, processes: Processes, bus: BusSettings) -> None:
        end_s = time.monotonic() + _BROKER_START_S
        while True:
            try:
                async with Connection.open(bus, client_id=unique_client_id("segue-up"), connect_timeout_s=1.0):
                    return
            except BrokerUnreachable:
                died = processes.died()
                if died is not None:
                    raise FleetSilent(_obituary(died)) from None
                if time.monotonic() > end_s:
                    raise

    @contextlib.asynccontextmanager
    async def _observed(self, bus: BusSettings, patience_s: float) -> AsyncIterator[Connection]:
        """Connect, keep emulated devices told, and observe the fleet, for the time of the block."""
        async with (
            Connection.open(
                bus,
                client_id=unique_client_id("segue-up"),
                on_connected=self._announce,
                connect_timeout_s=patience_s,
            ) as control,
            self._observer.following(control),
        ):
            yield control

    async def _announce(self, connection: Connection) -> None:
        if self.fleet.emulated:
            for emulation in emulations(self.fleet, self._conditions):
                await connection.publish(topics.emulation(emulation.device), emulation.encode(), retain=True)

    async def _withdraw(self, connection: Connection) -> None:
        """Take back what was declared, so that a broker that goes on keeps no stream and no emulation of this run."""
        await withdraw_stream(connection, self.fleet.stream.name, self.fleet.stream.source)
        if self.fleet.emulated:
            for device in self.fleet.devices:
                await connection.publish(topics.emulation(device), b"", retain=True)
        name = self.fleet.stream.name
        await self._observer.until(lambda view: view.streams[name].plan is None, _WITHDRAW_S)

    async def _start_services(self, processes: Processes) -> None:
        self.reporter.step("starting planner, collector, and two processes for every device")
        for name, arguments in command_lines.services(self.fleet, self.settings.run_dir).items():
            await processes.start(name, arguments)
        dying = asyncio.create_task(processes.death(), name="watch the processes")
        arriving = asyncio.create_task(
            self._observer.until(lambda view: not self._absent(view), _PRESENCE_S), name="wait for the fleet"
        )
        try:
            await asyncio.wait([dying, arriving], return_when=asyncio.FIRST_COMPLETED)
            if dying.done():
                raise FleetSilent(_obituary(dying.result()))
            if not arriving.result():
                missing = ", ".join(self._absent(self.view))
                raise FleetSilent(f"not there after {_PRESENCE_S:g} s: {missing}; see {processes.log_dir}")
        finally:
            await _cancel(dying, arriving)

    def _absent(self, view: FleetView) -> list[str]:
        """Return what is not there yet: executors, planner, collector."""
        online = {name for name, device in view.devices.items() if device.is_online}
        roles = {service.role for service in view.services.values() if service.state is State.ONLINE}
        devices = [name for name in self.fleet.devices if name not in online]
        return devices + [role for role in (command_lines.PLANNER, command_lines.COLLECTOR) if role not in roles]

    async def _start_stream(self, bus: BusSettings, workload: Workload) -> None:
        stream, manifest = self.fleet.stream, workload.manifest
        self.reporter.step(f"giving model {manifest.name} to the fleet: {len(manifest.blocks)} blocks")
        await add_model(bus, manifest, workload.model_file)
        declaration = StreamDeclaration(
            stream=stream.name, model=manifest.model, source=stream.source, rate_hz=stream.rate_hz
        )
        async with Connection.open(bus, client_id=unique_client_id("segue-up")) as connection:
            if self._calibration is not None:
                await publish_calibration(connection, self._calibration)
            self.reporter.step("measuring the model's blocks on every device")
            await declare_stream(connection, declaration)
            policy = policy_document(self.fleet.policy)
            verdict = await set_policy(connection, stream.name, policy, timeout_s=_POLICY_S)
        if not verdict.policy_accepted:
            raise InfeasibleProblem("\n".join(f"policy: {reason}" for reason in verdict.policy_reasons))
        for reason in verdict.policy_reasons:
            self.reporter.step(f"policy: {reason}")
        async with Connection.open(bus, client_id=unique_client_id("segue-up")) as connection:
            status = await until_running(connection, stream.name, timeout_s=_ROUTE_S, on_status=self._say_status)
        if status.state is StreamState.INFEASIBLE:
            raise InfeasibleProblem("\n".join(status.reasons) or f"stream {stream.name} cannot be routed")

    def _say_status(self, status: StreamStatus) -> None:
        if status.reasons:
            self.reporter.step(f"stream {status.stream} is {status.state.value}: {'; '.join(status.reasons)}")

    async def _run_phases(
        self, bus: BusSettings, workload: Workload, processes: Processes, control: Connection
    ) -> RequestLoad:
        stream = self.fleet.stream
        settings = LoadSettings(stream.name, stream.in_flight, rate_hz=stream.rate_hz, limit=self.settings.requests)
        async with Client.open(bus, in_flight=stream.in_flight) as client:
            load = RequestLoad(client, workload.payloads, settings, workload.reference.differs)
            flow = asyncio.create_task(load.run(), name="load")
            self.started.set()
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
                await _cancel(flow)
        return load

    async def _run_phase(
        self,
        number: int,
        phase: PhaseDescription | None,
        flow: "asyncio.Task[None]",
        processes: Processes,
        control: Connection,
    ) -> None:
        name, duration_s = (_WHOLE_RUN, self.settings.duration_s) if phase is None else (phase.name, phase.duration_s)
        if phase is not None:
            self._conditions = phase_conditions(self.fleet, phase, self._device_in_use())
        condition = describe_conditions(self.fleet, self._conditions)
        self.reporter.phase(PhaseStart(number, max(1, len(self.fleet.phases)), name, condition, duration_s))
        started_at_s = time.time()
        await self._announce(control)
        dead = [process for device in self._conditions.dead for process in command_lines.device_processes(device)]
        for process in dead:
            await processes.kill(process)
        await self._until_over(flow, processes, duration_s)
        expect = phase is not None and phase.expect_reroute and not self.stop.is_set()
        self._phases.append(PhaseRecord(name, condition, self._truth(), started_at_s, time.time(), expect))
        for process in dead:
            await processes.restart(process)

    def _truth(self) -> Conditions:
        """Return the present conditions: as told to emulated devices, as measured by the monitors of real ones."""
        if self.fleet.emulated:
            return self._conditions
        devices = self.view.devices.values()
        return measured_conditions(
            [device.links for device in devices if device.links is not None],
            {device.name: device.load_factor for device in devices},
            self._conditions.dead,
        )

    def _device_in_use(self) -> str:
        plan = self.view.streams[self.fleet.stream.name].plan
        return self.fleet.stream.source if plan is None else device_in_use(plan)

    async def _until_over(self, flow: "asyncio.Task[None]", processes: Processes, duration_s: float | None) -> None:
        """Wait until the phase's time is up, the requests are, the user stops, or a process dies."""
        stopping = asyncio.create_task(self.stop.wait(), name="wait for stop")
        dying = asyncio.create_task(processes.death(), name="watch the processes")
        try:
            done, _ = await asyncio.wait(
                [flow, stopping, dying], timeout=duration_s, return_when=asyncio.FIRST_COMPLETED
            )
            if dying in done:
                self._notes.append(_obituary(dying.result()))
                self.stop.set()
        finally:
            await _cancel(stopping, dying)

    def _ground(self, workload: Workload) -> Ground | None:
        model = workload.manifest.model
        profiles = {name: seen.profiles[model] for name, seen in self.view.devices.items() if model in seen.profiles}
        if self.fleet.stream.source not in profiles:
            return None
        size_bytes = _median_bytes(workload.payloads)
        source, policy = self.fleet.stream.source, self.fleet.policy
        return Ground(workload.manifest, profiles, source, size_bytes, policy, self._calibration)


async def _cancel(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _median_bytes(payloads: Sequence[bytes]) -> int:
    return round(statistics.median(len(payload) for payload in payloads))


def _obituary(died: Died) -> str:
    last = died.tail.splitlines()[-1] if died.tail else "it wrote nothing"
    return f"process {died.name} ended with status {died.status}: {last}"
