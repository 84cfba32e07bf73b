"""The whole system as processes that can be killed: broker, planner, collector, and three emulated devices."""

import asyncio
import contextlib
import itertools
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from broker.process import BrokerProcess
from services.cli.render.fleet_view import FILTERS, FleetView
from services.cli.support.fleet_operations import add_model, declare_stream, withdraw_stream
from services.cli.testbed import command_lines
from services.cli.testbed.collector_counts import CollectorCounts, await_outcomes, read_counts
from services.cli.testbed.conditions import emulations, usual_conditions
from services.cli.testbed.fleet_description import (
    DeviceDescription,
    Fleet,
    LinkDescription,
    ModelDescription,
    StreamSetup,
)
from services.cli.testbed.processes import Processes
from services.cli.testbed.request_load import LoadSettings, RequestLoad
from services.cli.testbed.run_record import RequestRecord
from services.cli.testbed.workload import Workload, read_workload
from services.collector.query_results import OutcomeCounts
from shared.bus import topics
from shared.bus.connection import Connection
from shared.client import Client
from shared.messages.base import MessageError
from shared.messages.devices import State
from shared.messages.models import Preprocessing
from shared.messages.requests import Outcome, OutcomeStatus
from shared.messages.streams import StreamDeclaration
from shared.policy import CodecMode, Policy, policy_document
from tests.support.shared_paths import DEMO_DATA

DATA = DEMO_DATA
CAMERA, HELPER, SERVER = "camera", "helper", "server"
BROKER = command_lines.BROKER

# Each device is faster than the one before. The only quick way to the last one leads through the middle one. The
# differences are so large that this stays the best route while other processes use this machine: its load slows the
# server down, but is hidden by the emulated slowness of the others.
FLEET = Fleet(
    model=ModelDescription(
        "squeezenet1.1.onnx", preprocessing=Preprocessing(kind="image", channel_order="BGR", mean=(104.0, 117.0, 123.0))
    ),
    stream=StreamSetup(CAMERA, ("photos/*.jpg",), in_flight=4),
    devices={
        CAMERA: DeviceDescription(slowdown=16.0),
        HELPER: DeviceDescription(slowdown=10.0),
        SERVER: DeviceDescription(slowdown=1.5),
    },
    links=(
        LinkDescription((CAMERA, HELPER), 200.0, 1.0),
        LinkDescription((HELPER, SERVER), 200.0, 1.0),
        LinkDescription((CAMERA, SERVER), 0.5, 50.0),
    ),
    # Whole segments, on one device after the other: tests wait for routes with all three.
    policy=Policy(strategy="shortest_path", raw_input_stays_on_source=True, codec=CodecMode.LOSSLESS, max_in_flight=4),
)
# Names of all parts that can be killed.
EVERYTHING = (BROKER, *command_lines.service_arguments(FLEET, Path()))

WAIT_S = 60.0
_COLLECT_S = 30.0


class Watcher:
    """A subscriber that keeps the fleet's state and all outcomes."""

    def __init__(self, wait_s: float = WAIT_S) -> None:
        self.wait_s = wait_s
        self.view = FleetView()
        self.outcomes: dict[str, list[Outcome]] = defaultdict(list)
        self._heard: dict[str, int] = defaultdict(int)
        self._updated = asyncio.Condition()

    async def run(self, connection: Connection) -> None:
        """Handle messages until cancelled."""
        async for received in connection:
            self.view.handle(received.topic, received.payload, time.time())
            if received.topic.endswith("/results"):
                with contextlib.suppress(MessageError):
                    outcome = Outcome.decode(received.payload)
                    self.outcomes[outcome.stream].append(outcome)
            self._heard[received.topic] += 1
            async with self._updated:
                self._updated.notify_all()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition on the received messages is met; `what` names it in the failure."""
        try:
            async with asyncio.timeout(self.wait_s), self._updated:
                await self._updated.wait_for(condition)
        except TimeoutError:
            raise AssertionError(f"not within {self.wait_s:g} s: {what}") from None

    def heard(self, topic: str) -> int:
        """Return the number of messages on a topic."""
        return self._heard[topic]

    async def next_on(self, topic: str) -> None:
        """Wait for the next message on a topic."""
        before = self.heard(topic)
        await self.until(lambda: self.heard(topic) > before, f"a message on {topic}")

    def answered(self, stream: str) -> set[str]:
        """Return the ids of the requests whose outcome arrived."""
        return {outcome.request_id for outcome in self.outcomes[stream]}

    def route(self, stream: str) -> tuple[str, ...]:
        """Return the devices of the plan in force, in order."""
        view = self.view.streams.get(stream)
        return () if view is None or view.plan is None else tuple(stage.device for stage in view.plan.routes[0].stages)


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of the requests of one stream.

    Attributes:
        accepted: all that were submitted: the client repeats a request until its source has accepted it.
        results: those that ended with a result.
        errors: those that ended with an error.
        lost: those without an outcome at the client, or without a row at the collector.
        duplicates: rows at the collector beyond one for each request, and requests with both a result and an error.
        mismatches: results that differ from the whole model's.
        retried: requests that needed more than one attempt.
        computed_twice: outcomes at the collector that differ from the first one of their request, with its status.
        gap_s: longest time without an outcome.
    """

    accepted: int
    results: int
    errors: int
    lost: int
    duplicates: int
    mismatches: int
    retried: int
    computed_twice: int
    gap_s: float

    @property
    def faults(self) -> dict[str, int]:
        """The counts that must be zero, where they are not."""
        names = ("lost", "duplicates", "mismatches", "computed_twice")
        counts = {name: getattr(self, name) for name in names}
        return {name: count for name, count in counts.items() if count}


@dataclass(slots=True)
class WholeFleet:
    """A running fleet."""

    broker: BrokerProcess
    run_dir: Path
    processes: Processes
    workload: Workload
    control: Connection
    watcher: Watcher = field(default_factory=Watcher)

    async def kill(self, *parts: str) -> None:
        """Send SIGKILL, and wait until the processes have ended."""
        if BROKER in parts:
            self.watcher.view = FleetView()
        await asyncio.gather(*(self.broker.kill() if part == BROKER else self.processes.kill(part) for part in parts))

    async def until_missed(self, *parts: str) -> None:
        """Wait until the broker has published that parts are offline. They must have been connected."""
        await self.watcher.until(lambda: not any(map(self.is_present, parts)), f"{', '.join(parts)} offline")

    async def restart(self, *parts: str) -> None:
        """Start killed parts again."""
        for part in parts:
            await (self.broker.start() if part == BROKER else self.processes.restart(part))

    def is_present(self, part: str) -> bool:
        """Return whether the last presence of a part is online. The broker has none and counts as present."""
        view = self.watcher.view
        role, _, device = part.partition("-")
        if role == "executor":
            return device in view.devices and view.devices[device].is_online
        return part == BROKER or (part in view.services and view.services[part].state is State.ONLINE)

    async def until_whole(self) -> None:
        """Wait until every device and every service is online."""
        await self.watcher.until(lambda: all(map(self.is_present, EVERYTHING)), "the whole fleet online")

    async def declare(self, stream: str) -> None:
        """Declare a stream, and wait until it runs on all three devices."""
        await self.until_whole()
        await self.set_policy(stream, FLEET.policy)
        model = self.workload.manifest.model
        await declare_stream(self.control, StreamDeclaration(stream=stream, model=model, source=CAMERA))
        row = tuple(FLEET.devices)
        await self.watcher.until(lambda: self.watcher.route(stream) == row, f"a plan of {stream} on {row}")

    async def set_policy(self, stream: str, policy: Policy) -> None:
        """Publish a stream's policy."""
        document = json.dumps(policy_document(policy)).encode()
        await self.control.publish(topics.policy(stream), document, retain=True)

    async def withdraw(self, stream: str) -> None:
        """Withdraw a stream, and wait until its plan is revoked."""
        await withdraw_stream(self.control, stream, CAMERA)
        await self.watcher.until(lambda: not self.watcher.route(stream), f"{stream} withdrawn")

    @contextlib.asynccontextmanager
    async def load(
        self, stream: str, timeout_s: float = WAIT_S, in_flight: int = FLEET.stream.in_flight
    ) -> AsyncIterator[RequestLoad]:
        """Submit requests until stopped, and wait for their outcomes at the end of the block.

        Args:
            stream: the stream of the requests.
            timeout_s: time after which a request without an outcome counts as lost.
            in_flight: requests under way at most.
        """
        settings = LoadSettings(stream, in_flight, timeout_s=timeout_s)
        async with Client.open(self.broker.settings, in_flight=settings.in_flight) as client:
            load = RequestLoad(client, self.workload.payloads, settings, self.workload.reference.differs)
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run(), name=f"load {stream}")
                yield load

    async def tally(self, stream: str, records: Sequence[RequestRecord]) -> Tally:
        """Count the requests of a stream at the client, on the bus and at the collector."""
        folder = self.run_dir / command_lines.COLLECTOR
        names = [record.request_id for record in records]
        stored = await await_outcomes(folder, stream, names, OutcomeCounts(), _COLLECT_S)
        return tally(records, self.watcher.outcomes[stream], stored, await read_counts(folder, stream))


@contextlib.asynccontextmanager
async def open_fleet(
    broker: BrokerProcess,
    run_dir: Path,
    *,
    described: Fleet = FLEET,
    environments: Mapping[str, Mapping[str, str]] | None = None,
    wait_s: float = WAIT_S,
) -> AsyncIterator[WholeFleet]:
    """Start everything for the time of the block.

    Args:
        broker: not started.
        run_dir: where logs and databases are.
        described: its devices and links; the names of the devices are those of `FLEET`.
        environments: further variables of some processes, by their names.
        wait_s: longest wait for a state of the fleet.
    """
    workload = await asyncio.to_thread(read_workload, described, DATA, run_dir)
    watcher = Watcher(wait_s)

    async def announce(connection: Connection) -> None:
        for emulation in emulations(described, usual_conditions(described)):
            await connection.publish(topics.emulation(emulation.device), emulation.encode(), retain=True)

    async with (
        broker,
        Processes(run_dir, command_lines.environment(broker.settings.address)) as processes,
        Connection.open(broker.settings, on_connected=announce) as control,
        Connection.open(broker.settings) as ear,
        asyncio.TaskGroup() as group,
    ):
        for topic in (*FILTERS, topics.receipts("+"), topics.commands("+"), topics.requests("+")):
            await ear.subscribe(topic)
        listening = group.create_task(watcher.run(ear), name="watcher")
        for name, arguments in command_lines.service_arguments(described, run_dir).items():
            await processes.start(name, arguments, (environments or {}).get(name))
        fleet = WholeFleet(broker, run_dir, processes, workload, control, watcher)
        await fleet.until_whole()
        await add_model(broker.settings, workload.manifest, workload.model_file)
        try:
            yield fleet
        finally:
            listening.cancel()


def tally(
    records: Sequence[RequestRecord], heard: Sequence[Outcome], stored: CollectorCounts, counts: OutcomeCounts
) -> Tally:
    """Compare the records of the client, the bus and the collector."""
    outcomes = [record.outcome for record in records if record.outcome is not None]
    results = [outcome for outcome in outcomes if outcome.status is OutcomeStatus.OK]
    kinds: dict[str, set[OutcomeStatus]] = defaultdict(set)
    for outcome in heard:
        kinds[outcome.request_id].add(outcome.status)
    twofold = sum(len(statuses) > 1 for statuses in kinds.values())
    ends_s = sorted(record.finished_at_s for record in records)
    return Tally(
        accepted=len(records),
        results=len(results),
        errors=len(outcomes) - len(results),
        lost=len(records) - len(outcomes) + stored.missing,
        duplicates=counts.results + counts.errors - stored.stored + max(twofold, stored.contradicted),
        mismatches=sum(record.mismatch for record in records),
        retried=sum(outcome.attempt > 1 for outcome in outcomes),
        computed_twice=stored.computed_twice,
        gap_s=max((later - sooner for sooner, later in itertools.pairwise(ends_s)), default=0.0),
    )
