"""A run of a whole fleet on this machine, from the start of its processes to their end."""

import asyncio
import contextlib
import statistics
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from broker.process import free_port
from services.cli.render.fleet_view import FleetView
from services.cli.support.fleet_operations import withdraw_stream
from services.cli.testbed import command_lines
from services.cli.testbed.collector_counts import CollectorCounts, await_outcomes, read_counts
from services.cli.testbed.fleet_calibration import calibrate_workload
from services.cli.testbed.fleet_description import EMBEDDED_BROKER, Fleet
from services.cli.testbed.fleet_start import BROKER_START_S, FleetStart
from services.cli.testbed.observer import FleetObserver
from services.cli.testbed.phase_runner import PhaseRunner
from services.cli.testbed.predictions import PredictionBasis
from services.cli.testbed.processes import Processes
from services.cli.testbed.request_load import RequestLoad
from services.cli.testbed.run_record import RunRecord
from services.cli.testbed.run_reporter import Reporter
from services.cli.testbed.workload import Workload, read_workload
from services.collector.query_results import OutcomeCounts
from shared.bus import topics
from shared.bus.connection import Connection, unique_client_id
from shared.bus.settings import BusSettings
from shared.messages.calibration import Calibration

_CONNECT_S: Final = 5.0
_COLLECT_S: Final = 20.0
_WITHDRAW_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Folders and limits of a run.

    Attributes:
        folder: base of relative paths in the description.
        run_dir: logs, caches and databases of the run.
        calibrations: folder in which calibrations are stored from one run to the next.
        duration_s: duration of a run without phases; None for no limit.
        requests: number of requests after which the run ends; None for no limit.
    """

    folder: Path
    run_dir: Path
    calibrations: Path
    duration_s: float | None = None
    requests: int | None = None


@dataclass(slots=True)
class FleetRun:
    """One run of a fleet. `run` is called once.

    Attributes:
        fleet: the fleet.
        settings: folders and limits.
        reporter: receives the progress.
        view: the state of the fleet, updated during the run.
        stop: when set after `started`, ends the run in order, with a record.
        started: set when requests flow.
    """

    fleet: Fleet
    settings: RunSettings
    reporter: Reporter
    view: FleetView
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    _observer: FleetObserver = field(init=False)
    _phases: PhaseRunner = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self._observer = FleetObserver(self.view, self.reporter, self.fleet.stream.name)
        self._phases = PhaseRunner(
            self.fleet, settings.duration_s, settings.requests, self.reporter, self.view, self.stop
        )

    async def run(self) -> RunRecord:
        """Start everything, run the phases, stop everything.

        Raises:
            InputError: the model or the images do not fit.
            InfeasibleProblem: the policy is refused, or no route keeps it.
            ModelError: Segue cannot cut the model.
            FleetSilent: a part of the fleet does not start; the text names it.
            BusError: the broker is out of reach.
        """
        self.reporter.step("reading the model and the images")
        workload = await asyncio.to_thread(read_workload, self.fleet, self.settings.folder, self.settings.run_dir)
        for note in workload.notes:
            self.reporter.step(f"note: {note}")
        # Before the processes start, so that nothing else computes on this machine.
        calibration = await self._calibrate(workload)
        embedded = self.fleet.broker == EMBEDDED_BROKER
        port = free_port()
        address = f"mqtt://127.0.0.1:{port}" if embedded else self.fleet.broker
        bus = BusSettings.from_address(address)
        start = FleetStart(self.fleet, self.settings.run_dir, bus, self.reporter, self._observer)
        # A given --run-dir may hold the database of an earlier run.
        before = await read_counts(self._collector_dir, self.fleet.stream.name)
        async with Processes(self.settings.run_dir, command_lines.environment(address)) as processes:
            if embedded:
                await start.start_broker(processes, port)
            async with self._observed(bus, BROKER_START_S if embedded else _CONNECT_S) as control:
                await start.start_services(processes)
                await start.start_stream(workload, calibration)
                self.started.set()
                load = await self._phases.run(bus, workload, processes, control)
                collector = await self._ask_collector(load, before)
                # An embedded broker ends with the run, and its retained messages with it.
                if not embedded:
                    await self._withdraw(control)
            self.reporter.step("stopping all processes")
        return self._record(workload, calibration, load, collector)

    @property
    def _collector_dir(self) -> Path:
        return self.settings.run_dir / command_lines.COLLECTOR

    async def _calibrate(self, workload: Workload) -> Calibration | None:
        """Return the calibration of the model; None if the fleet needs none."""
        if self.fleet.calibrates:
            images = self.fleet.model.calibration_images
            folder = None if images is None else self.settings.folder / images
            calibration = await calibrate_workload(workload, folder, self.settings.calibrations, self.reporter.step)
            self.reporter.step(
                f"encodings are known for {len(calibration.blocks)} cuts, from {calibration.samples} inputs"
            )
            return calibration
        if self.fleet.model.calibrate is None:
            self.reporter.step(
                "encodings are not measured, feature maps travel raw: `--calibrate`, or `calibrate = true` below "
                "[model], changes that"
            )
        return None

    @contextlib.asynccontextmanager
    async def _observed(self, bus: BusSettings, connect_timeout_s: float) -> AsyncIterator[Connection]:
        """Connect and observe the fleet for the time of the block; announce conditions after every connect."""
        async with (
            Connection.open(
                bus,
                client_id=unique_client_id("segue-up"),
                on_connected=self._phases.announce,
                connect_timeout_s=connect_timeout_s,
            ) as control,
            self._observer.following(control),
        ):
            yield control

    async def _ask_collector(self, load: RequestLoad, before: OutcomeCounts) -> CollectorCounts:
        self.reporter.step("asking the collector")
        finished = [request.request_id for request in load.records if request.outcome is not None]
        return await await_outcomes(self._collector_dir, self.fleet.stream.name, finished, before, _COLLECT_S)

    async def _withdraw(self, connection: Connection) -> None:
        """Clear the stream and the emulations of this run from a broker that continues to run."""
        name = self.fleet.stream.name
        await withdraw_stream(connection, name, self.fleet.stream.source)
        if self.fleet.emulated:
            for device in self.fleet.devices:
                await connection.publish(topics.emulation(device), b"", retain=True)
        await self._observer.until(lambda view: view.streams[name].plan is None, _WITHDRAW_S)

    def _record(
        self, workload: Workload, calibration: Calibration | None, load: RequestLoad, collector: CollectorCounts
    ) -> RunRecord:
        return RunRecord(
            phases=tuple(self._phases.records),
            requests=tuple(load.records),
            reroutes=self._observer.reroutes,
            basis=self._basis(workload, calibration),
            collector=collector,
            notes=tuple(self._phases.notes),
        )

    def _basis(self, workload: Workload, calibration: Calibration | None) -> PredictionBasis | None:
        """Return the figures for predictions; None if the source has no profile of the model."""
        model, source = workload.manifest.model, self.fleet.stream.source
        profiles = {name: seen.profiles[model] for name, seen in self.view.devices.items() if model in seen.profiles}
        if source not in profiles:
            return None
        input_bytes = round(statistics.median(len(payload) for payload in workload.payloads))
        return PredictionBasis(workload.manifest, profiles, source, input_bytes, self.fleet.policy, calibration)
