"""The start of a fleet: its broker, its services, and its stream with model, calibration and policy."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.cli.render.fleet_view import FleetView
from services.cli.support.errors import InfeasibleProblem
from services.cli.support.fleet_operations import (
    FleetSilent,
    add_model,
    declare_stream,
    operator,
    publish_calibration,
    set_policy,
    until_running,
)
from services.cli.testbed import command_lines
from services.cli.testbed.fleet_description import Fleet
from services.cli.testbed.observer import FleetObserver
from services.cli.testbed.processes import Processes, cancel_all
from services.cli.testbed.run_reporter import Reporter
from services.cli.testbed.workload import Workload
from shared.bus.errors import BrokerUnreachable
from shared.bus.settings import BusSettings
from shared.messages.calibration import Calibration
from shared.messages.devices import State
from shared.messages.streams import StreamDeclaration, StreamPhase, StreamStatus
from shared.policy import policy_document

BROKER_START_S: Final = 20.0
_PRESENCE_S: Final = 30.0
_ROUTE_S: Final = 90.0
_POLICY_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class FleetStart:
    """The steps that start a fleet, to be called in the order of their definition."""

    fleet: Fleet
    run_dir: Path
    bus: BusSettings
    reporter: Reporter
    observer: FleetObserver

    async def start_broker(self, processes: Processes, port: int) -> None:
        """Start the embedded broker and wait until it accepts connections.

        Raises:
            FleetSilent: its process ends.
            BrokerUnreachable: it does not accept connections in time.
        """
        self.reporter.step(f"starting the broker at {self.bus.address}")
        await processes.start(command_lines.BROKER, command_lines.broker_arguments(port))
        end_s = time.monotonic() + BROKER_START_S
        while True:
            try:
                async with operator(self.bus, connect_timeout_s=1.0):
                    return
            except BrokerUnreachable:
                died = processes.died()
                if died is not None:
                    raise FleetSilent(str(died)) from None
                if time.monotonic() > end_s:
                    raise

    async def start_services(self, processes: Processes) -> None:
        """Start planner, collector and the devices' processes, and wait until all have announced themselves.

        Raises:
            FleetSilent: a process ends, or one does not announce itself in time.
        """
        self.reporter.step("starting planner, collector, and two processes for every device")
        for name, arguments in command_lines.service_arguments(self.fleet, self.run_dir).items():
            await processes.start(name, arguments)
        dying = asyncio.create_task(processes.death(), name="watch the processes")
        arriving = asyncio.create_task(
            self.observer.until(lambda view: not self._absent(view), _PRESENCE_S), name="wait for the fleet"
        )
        try:
            await asyncio.wait([dying, arriving], return_when=asyncio.FIRST_COMPLETED)
            if dying.done():
                raise FleetSilent(str(dying.result()))
            if not arriving.result():
                missing = ", ".join(self._absent(self.observer.view))
                raise FleetSilent(f"not there after {_PRESENCE_S:g} s: {missing}; see {processes.log_dir}")
        finally:
            await cancel_all(dying, arriving)

    def _absent(self, view: FleetView) -> list[str]:
        """Return the executors and services that are not online yet."""
        online = {name for name, device in view.devices.items() if device.is_online}
        roles = {service.role for service in view.services.values() if service.state is State.ONLINE}
        devices = [name for name in self.fleet.devices if name not in online]
        return devices + [role for role in (command_lines.PLANNER, command_lines.COLLECTOR) if role not in roles]

    async def start_stream(self, workload: Workload, calibration: Calibration | None) -> None:
        """Add the model, declare the stream with its policy, and wait until it is routed.

        Raises:
            InfeasibleProblem: the policy is refused, or no route keeps it.
            FleetSilent: the planner does not answer in time.
        """
        stream, manifest = self.fleet.stream, workload.manifest
        self.reporter.step(f"giving model {manifest.name} to the fleet: {len(manifest.blocks)} blocks")
        await add_model(self.bus, workload.published.manifest, workload.published.file)
        declaration = StreamDeclaration(
            stream=stream.name, model=manifest.model, source=stream.source, rate_hz=stream.rate_hz
        )
        # Before the stream, so that its first plan can already use encodings.
        async with operator(self.bus) as connection:
            if calibration is not None:
                await publish_calibration(connection, calibration)
            self.reporter.step("measuring the model's blocks on every device")
            await declare_stream(connection, declaration)
            policy = policy_document(self.fleet.policy)
            answer = await set_policy(connection, stream.name, policy, timeout_s=_POLICY_S)
        if not answer.policy_accepted:
            raise InfeasibleProblem("\n".join(f"policy: {reason}" for reason in answer.policy_reasons))
        for reason in answer.policy_reasons:
            self.reporter.step(f"policy: {reason}")
        async with operator(self.bus) as connection:
            status = await until_running(connection, stream.name, timeout_s=_ROUTE_S, on_status=self._report_status)
        if status.state is StreamPhase.INFEASIBLE:
            raise InfeasibleProblem("\n".join(status.reasons) or f"stream {stream.name} cannot be routed")

    def _report_status(self, status: StreamStatus) -> None:
        if status.reasons:
            self.reporter.step(f"stream {status.stream} is {status.state.value}: {'; '.join(status.reasons)}")
