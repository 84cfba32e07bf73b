"""Runs a whole emulated fleet on this machine, as `segue up` does."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import services.cli.data
from benchmarks.fleet_harness import BenchmarkFailed, FleetHarness
from broker.embedded import EmbeddedBroker
from services.cli.support.fleet_operations import add_model, declare_stream, operator, set_policy
from services.cli.testbed import command_lines
from services.cli.testbed.conditions import Conditions, emulations, usual_conditions
from services.cli.testbed.fleet_description import Fleet
from services.cli.testbed.fleet_file import read_fleet
from services.cli.testbed.processes import Processes
from services.cli.testbed.workload import Workload, read_workload
from shared.bus import topics
from shared.messages.streams import CommittedPlan, StreamDeclaration
from shared.policy import policy_document

_START_S = 60.0
_ROUTE_S = 90.0


def demo_fleet() -> tuple[Fleet, Path]:
    """Return the fleet of `segue demo` and the folder to which its paths are relative."""
    folder = Path(services.cli.data.__file__).parent
    return read_fleet(folder / "demo.toml"), folder


@dataclass(slots=True)
class RunningFleet:
    """A running fleet.

    Attributes:
        fleet: its description.
        workload: the model and its requests.
        harness: receives its messages.
        processes: its services.
        conditions: emulated at present.
    """

    fleet: Fleet
    workload: Workload
    harness: FleetHarness
    processes: Processes
    conditions: Conditions
    _forced: int = 0

    @property
    def plan(self) -> CommittedPlan:
        """The plan in force.

        Raises:
            BenchmarkFailed: no plan is in force.
        """
        stream = self.harness.view.streams.get(self.harness.stream)
        if stream is None or stream.plan is None:
            raise BenchmarkFailed(f"stream {self.harness.stream} has no plan")
        return stream.plan

    @property
    def epoch(self) -> int:
        """The epoch of the plan in force; 0 without a plan."""
        stream = self.harness.view.streams.get(self.harness.stream)
        return 0 if stream is None or stream.plan is None else stream.plan.epoch

    async def emulate(self, conditions: Conditions) -> None:
        """Publish new conditions to every device."""
        self.conditions = conditions
        for emulation in emulations(self.fleet, conditions):
            await self.harness.connection.publish(topics.emulation(emulation.device), emulation.encode(), retain=True)

    async def force(self, policy: Mapping[str, Any]) -> None:
        """Put a policy document in force and wait for its plan.

        A planner keeps a cheaper route under a new policy, unless settings of the plan itself change too. So
        `retry_limit` grows by one every time, which has no other effect here.

        Raises:
            BenchmarkFailed: the planner refuses the policy, or finds no route.
        """
        harness, epoch = self.harness, self.epoch
        self._forced += 1
        policy = {**policy, "retry_limit": 3 + self._forced}
        async with operator(harness.connection.settings) as connection:
            answer = await set_policy(connection, harness.stream, policy, timeout_s=_ROUTE_S)
        if not answer.policy_accepted:
            raise BenchmarkFailed(f"policy {policy}: {'; '.join(answer.policy_reasons)}")
        await harness.until(lambda: self.epoch > epoch, f"a plan under policy {policy}", _ROUTE_S)


@asynccontextmanager
async def running_fleet(fleet: Fleet, folder: Path, run_dir: Path) -> AsyncIterator[RunningFleet]:
    """Start a broker, a planner, and an executor and a monitor for every device; add the model and the stream.

    Args:
        fleet: its description; phases are not run.
        folder: to which its paths are relative.
        run_dir: for logs, caches and databases.
    """
    workload = read_workload(fleet, folder, run_dir)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker())
        environment = command_lines.environment(broker.settings.address)
        harness = await stack.enter_async_context(FleetHarness.open(broker.settings, fleet.stream.name))
        running = RunningFleet(
            fleet,
            workload,
            harness,
            await stack.enter_async_context(Processes(run_dir, environment)),
            usual_conditions(fleet),
        )
        await running.emulate(running.conditions)
        for name, arguments in command_lines.service_arguments(fleet, run_dir).items():
            if name != command_lines.COLLECTOR:
                await running.processes.start(name, arguments)
        view = harness.view
        await harness.until(
            lambda: all(map(harness.is_online, fleet.devices)) and len(view.services) > len(fleet.devices),
            "the fleet is online",
            _START_S,
        )
        await add_model(broker.settings, workload.manifest, workload.model_file)
        declaration = StreamDeclaration(
            stream=fleet.stream.name, model=workload.manifest.model, source=fleet.stream.source
        )
        await declare_stream(harness.connection, declaration)
        await running.force(policy_document(fleet.policy))
        yield running
