"""The map of who wins, measured: real executors on an emulated fleet against what the planner's cost model predicts.

    python -m benchmarks.encodings_measured [--requests N] [--burst N] [--out FILE]

Two executor processes behind the embedded broker run SqueezeNet 1.1; source speed and link are emulated (compute takes
the idle profile times the slowdown, transfers take latency + 8 n / bandwidth). For every cell the routes that the cost
model finds best (local, remote, split with raw tensors, split with encoded ones) are put in force one after the
other, and every request is sent when the one before is answered. Latency is from dispatch to completion. What the bus
adds to a transfer is measured beforehand and counts as latency of the link, as a monitor would report it. Then the
routes with the best sustained rate (raw, encoded) get a burst; the rate is between the first and the last completion.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from benchmarks.encoding_map import LATENCY_MS, SERVER, SOURCE, MeasuredModel, make_problem
from benchmarks.encodings import DATA, SQUEEZENET, jpeg_of
from broker.embedded import EmbeddedBroker
from planning.problem.plan import Infeasible
from planning.problem.problem import Problem
from planning.strategies.registry import solve, with_strategy
from services.cli.calibration import MeasureSettings, SampleSet, measure, read_samples
from services.cli.support.manifest import build_manifest
from services.executor.segments.coding import Coder
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.model_exchange import serve_models
from shared.bus.properties import Properties
from shared.codecs import load_registry
from shared.link_time import transfer_ms
from shared.messages.control import REPORTS, Prepare, Preparing, ProfileModel, Ready, ranges_of
from shared.messages.devices import EmulatedLink, Emulation, Presence, Profile, State
from shared.messages.models import Manifest, OutputKind
from shared.messages.requests import REQUEST_ID_PROPERTY, Outcome, OutcomeStatus
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage, StreamDeclaration
from shared.model.onnx_file import load_model
from shared.policy import Objective, Policy

RESULTS = Path(__file__).parent / "results" / "encodings_measured.json"
STREAM = "camera"
WAIT_S = 60.0
CELLS = (
    *((speed, link, False) for speed in (0.10, 0.25, 0.50) for link in (5.0, 20.0, 50.0, 200.0)),
    *((0.25, link, True) for link in (1.0, 5.0, 20.0, 50.0)),
)
"""Speed of the source, Mbps, and whether requests are JPEGs of the input's size (else tensors)."""
IN_FLIGHT = 8
WAYS = (("local", "local_only"), ("remote", "remote_only"), ("raw", "shortest_path"), ("encoded", "shortest_path"))


@dataclass(frozen=True, slots=True)
class Row:
    """One way to run in one cell; rates are those of a burst along the route with the best sustained rate."""

    speed: float
    bandwidth_mbps: float
    jpeg: bool
    way: str
    stages: tuple[tuple[int, int, str, str], ...]
    predicted_ms: float
    measured_ms: float
    best_ms: float
    predicted_hz: float | None = None
    measured_hz: float | None = None


class Fleet:
    """Two executors and the connection that plays planner and application."""

    def __init__(self, connection: Connection, manifest: Manifest) -> None:
        self.connection = connection
        self.manifest = manifest
        self.profiles: dict[str, Profile] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._ready: set[tuple[str, int]] = set()
        self._online: set[str] = set()
        self._news = asyncio.Condition()
        self._epoch = 0
        self._requests = 0

    async def listen(self) -> None:
        """Take note of everything that is said."""
        async for received in self.connection:
            if not received.payload:
                continue
            async with self._news:
                self._note(received.topic.split("/"), bytes(received.payload))
                self._news.notify_all()

    def _note(self, topic: list[str], payload: bytes) -> None:
        match topic:
            case ["devices", device, "presence"]:
                if Presence.decode(payload).state is State.ONLINE:
                    self._online.add(device)
            case ["devices", device, "profiles", _]:
                self.profiles[device] = Profile.decode(payload)
            case ["devices", device, "reports"]:
                report = REPORTS.decode(payload)
                if isinstance(report, Ready):
                    self._ready.add((device, report.epoch))
                elif not isinstance(report, Preparing):
                    raise RuntimeError(f"{device} cannot: {report}")
            case ["streams", _, "results"]:
                outcome = Outcome.decode(payload)
                self._outcomes[outcome.request_id] = outcome

    async def begin(self) -> None:
        """Wait for the executors, let them measure the model one after the other, declare the stream."""
        await self._until(lambda: {SOURCE, SERVER} <= self._online)
        for device in (SOURCE, SERVER):
            command = ProfileModel(manifest=self.manifest)
            await self.connection.publish(topics.commands(device), command.encode())
            await self._until(lambda device=device: device in self.profiles)
        declaration = StreamDeclaration(stream=STREAM, model=self.manifest.model, source=SOURCE)
        await self.connection.publish(topics.stream(STREAM), declaration.encode(), retain=True)

    async def emulate(self, speed: float, bandwidth_mbps: float) -> None:
        """Shape the devices and the link between them."""
        for device, other, slowdown in ((SOURCE, SERVER, 1 / speed), (SERVER, SOURCE, 1.0)):
            link = EmulatedLink(target=other, bandwidth_mbps=bandwidth_mbps, latency_ms=LATENCY_MS)
            emulation = Emulation(device=device, slowdown=slowdown, links=(link,))
            await self.connection.publish(topics.emulation(device), emulation.encode(), retain=True)

    async def commit(self, stages: Sequence[tuple[int, int, str, str]]) -> None:
        """Make a route ready and put it in force."""
        self._epoch += 1
        epoch = self._epoch
        planned = tuple(PlanStage(start=a, stop=b, device=device, codec=codec) for a, b, device, codec in stages)
        for device in {stage[2] for stage in stages}:
            ranges = ranges_of(stage for stage in planned if stage.device == device)
            command = Prepare(stream=STREAM, epoch=epoch, manifest=self.manifest, segments=ranges)
            await self.connection.publish(topics.commands(device), command.encode())
        await self._until(lambda: {(stage[2], epoch) for stage in stages} <= self._ready)
        plan = CommittedPlan(
            stream=STREAM,
            epoch=epoch,
            model=self.manifest.model,
            source=SOURCE,
            strategy="benchmark",
            routes=(PlanRoute(stages=planned),),
            max_in_flight=IN_FLIGHT,
            committed_at_s=float(epoch),
        )
        await self.connection.publish(topics.plan(STREAM), plan.encode(), retain=True)
        await self._answer(b"wake up", epoch)

    async def bus_ms(self, payload: bytes, count: int) -> float:
        """Return what a transfer takes beyond what its emulated link does, ms."""
        bandwidth_mbps = 200.0
        await self.emulate(1.0, bandwidth_mbps)
        await self.commit(((0, len(self.manifest.blocks), SERVER, "raw"),))
        outcomes = [await self._answer(payload, self._epoch) for _ in range(count)]
        ideal_ms = transfer_ms(len(payload), LATENCY_MS, bandwidth_mbps)
        took_ms = [1000 * (outcome.trace[0].received_at_s - outcome.dispatched_at_s) for outcome in outcomes]
        return max(0.0, statistics.median(took_ms) - ideal_ms)

    async def latencies_ms(self, payload: bytes, count: int) -> list[float]:
        """Send requests one after the other."""
        outcomes = [await self._answer(payload, self._epoch) for _ in range(count)]
        failed = [outcome.error for outcome in outcomes if outcome.status is not OutcomeStatus.OK]
        if failed:
            raise RuntimeError(failed[0])
        return [1000 * (outcome.completed_at_s - outcome.dispatched_at_s) for outcome in outcomes]

    async def rate_hz(self, payload: bytes, count: int) -> float:
        """Send requests all at once; return the rate at which they are completed."""
        wanted = [f"b{self._requests + index}" for index in range(count)]
        self._requests += count
        for request_id in wanted:
            properties = Properties(user={REQUEST_ID_PROPERTY: request_id})
            await self.connection.publish(topics.requests(STREAM), payload, properties=properties)
        await self._until(lambda: self._outcomes.keys() >= set(wanted))
        completed = sorted(self._outcomes.pop(request_id).completed_at_s for request_id in wanted)
        return (count - 1) / (completed[-1] - completed[0])

    async def _answer(self, payload: bytes, epoch: int) -> Outcome:
        """Send requests until one is answered in this epoch: the source takes a new plan for its next request."""
        while True:
            self._requests += 1
            request_id = f"r{self._requests}"
            properties = Properties(user={REQUEST_ID_PROPERTY: request_id})
            await self.connection.publish(topics.requests(STREAM), payload, properties=properties)
            await self._until(lambda request_id=request_id: request_id in self._outcomes)
            outcome = self._outcomes.pop(request_id)
            if outcome.epoch == epoch:
                return outcome

    async def _until(self, found: object) -> None:
        assert callable(found)
        async with asyncio.timeout(WAIT_S), self._news:
            await self._news.wait_for(found)


@asynccontextmanager
async def running_fleet(manifest: Manifest, file: Path, folder: Path) -> AsyncIterator[Fleet]:
    """Start the broker and two executors in processes of their own."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker())
        library = await stack.enter_async_context(Connection.open(broker.settings))
        connection = await stack.enter_async_context(Connection.open(broker.settings))
        for topic in (topics.presence.any, topics.reports.any, topics.results.any, topics.profiles.any):
            await connection.subscribe(topic)
        await connection.publish(topics.manifest(manifest.model), manifest.encode(), retain=True)
        fleet = Fleet(connection, manifest)
        processes = [await _start(device, broker.settings.address, folder) for device in (SOURCE, SERVER)]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(serve_models(library, "planner", {manifest.model: file}.get)),
                group.create_task(fleet.listen()),
            ]
            try:
                await fleet.begin()
                yield fleet
            finally:
                for process in processes:
                    process.kill()
                    await process.wait()
                for task in tasks:
                    task.cancel()


async def _start(device: str, address: str, folder: Path) -> asyncio.subprocess.Process:
    arguments = ("executor", "--device", device, "--data-dir", str(folder), "--emulated", "--log-level", "warning")
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from services.cli.main import main; main()", *arguments, "--broker", address
    )


async def measure_cells(requests: int, burst: int) -> list[Row]:
    """Measure every cell."""
    file = DATA / "squeezenet1.1.onnx"
    manifest = build_manifest(file, preprocessing=SQUEEZENET, output=OutputKind.CLASSIFICATION)
    samples = read_samples(DATA / "calibration", manifest)
    settings = MeasureSettings(threads=os.cpu_count() or 1)
    calibration = measure(load_model(file), samples, Coder(load_registry(), settings.engine), settings)
    tensor, jpeg = _payloads(read_samples(DATA / "photos", manifest, variants=1), manifest)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        async with running_fleet(manifest, file, Path(folder)) as fleet:
            profile = fleet.profiles[SERVER]
            measured = MeasuredModel(
                manifest.name,
                profile.block_ms,
                profile.segment_overhead_ms,
                profile.block_ms[0],
                len(jpeg),
                tuple(block.output_bytes for block in manifest.blocks),
                calibration,
            )
            bus_ms = await fleet.bus_ms(tensor, requests)
            print(f"the bus adds {bus_ms:.1f} ms to a transfer")
            for speed, bandwidth, is_jpeg in CELLS:
                await fleet.emulate(speed, bandwidth)
                for way, strategy in WAYS:
                    problem = make_problem(
                        measured, speed, bandwidth, is_jpeg, 0.99 if way == "encoded" else None, LATENCY_MS + bus_ms
                    )
                    payload = jpeg if is_jpeg else tensor
                    stages, predicted = _route(problem, strategy, Objective.LATENCY)
                    await fleet.commit(stages)
                    found = await fleet.latencies_ms(payload, requests)
                    row = Row(speed, bandwidth, is_jpeg, way, stages, predicted, statistics.median(found), min(found))
                    if strategy == "shortest_path":
                        stages, period_ms = _route(problem, strategy, Objective.THROUGHPUT)
                        await fleet.commit(stages)
                        rate_hz = await fleet.rate_hz(payload, burst)
                        row = replace(row, predicted_hz=1000 / period_ms, measured_hz=rate_hz)
                    rows.append(row)
                    print(_line(row), flush=True)
    return rows


def _payloads(samples: SampleSet, manifest: Manifest) -> tuple[bytes, bytes]:
    (tensor,) = samples.inputs[0].values()
    return tensor.tobytes(), jpeg_of(samples, manifest.preprocessing)


def _route(
    problem: Problem, strategy: str, objective: Objective
) -> tuple[tuple[tuple[int, int, str, str], ...], float]:
    """Return the best route and its cost: latency, or time per request in steady state; ms."""
    plan = solve(with_strategy(replace(problem, policy=Policy(objective=objective)), strategy))
    if isinstance(plan, Infeasible):
        raise RuntimeError(f"{strategy}: {plan}")
    stages = plan.streams["s"].routes[0].stages
    route = tuple((stage.start, stage.stop, stage.device, stage.codec) for stage in stages)
    if objective is Objective.THROUGHPUT and plan.predicted.throughput_hz:
        return route, 1000 / plan.predicted.throughput_hz
    return route, plan.predicted.latency_ms


def _line(row: Row) -> str:
    route = " ".join(
        f"[{start},{stop}){device}" + (f" {codec} >" if codec != "raw" else "")
        for start, stop, device, codec in row.stages
    )
    return (
        f"{row.speed:5.0%} {row.bandwidth_mbps:5.0f} Mbps {'jpeg' if row.jpeg else 'tensor':6} {row.way:8}"
        f"{row.predicted_ms:9.1f}{row.measured_ms:9.1f}{row.measured_ms / row.predicted_ms:6.2f}"
        f"{_rates(row)}  {route}"
    )


def _rates(row: Row) -> str:
    if row.predicted_hz is None or row.measured_hz is None:
        return " " * 20
    return f"{row.predicted_hz:8.1f}{row.measured_hz:8.1f} Hz"


def print_winners(rows: Sequence[Row]) -> None:
    """Say for every cell what the encoded split gains over the better of local and remote, predicted and measured."""
    print(f"\n{'cell':26}{'best other':>11}{'raw':>9}{'encoded':>9}{'gain':>7}{'predicted':>11}", end="")
    print(f"{'raw Hz':>9}{'enc. Hz':>9}{'1/best':>9}")
    wins = 0
    for speed, bandwidth, jpeg in CELLS:
        cell = {row.way: row for row in rows if (row.speed, row.bandwidth_mbps, row.jpeg) == (speed, bandwidth, jpeg)}
        others = min(cell["local"].measured_ms, cell["remote"].measured_ms)
        expected = min(cell["local"].predicted_ms, cell["remote"].predicted_ms) / cell["encoded"].predicted_ms
        gain = others / cell["encoded"].measured_ms
        wins += gain > 1.05
        name = f"{speed:.0%} {bandwidth:g} Mbps {'jpeg' if jpeg else 'tensor'}"
        print(f"{name:26}{others:11.1f}{cell['raw'].measured_ms:9.1f}{cell['encoded'].measured_ms:9.1f}", end="")
        print(f"{gain:7.2f}{expected:11.2f}{cell['raw'].measured_hz:9.1f}{cell['encoded'].measured_hz:9.1f}", end="")
        print(f"{1000 / min(others, cell['encoded'].measured_ms, cell['raw'].measured_ms):9.1f}")
    print(f"the encoded split is more than 5 % faster in {wins} of {len(CELLS)} cells")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=12, help="per route")
    parser.add_argument("--burst", type=int, default=24, help="requests at once, per route")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = asyncio.run(measure_cells(options.requests, options.burst))
    print_winners(rows)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
