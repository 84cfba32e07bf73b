"""Measured against predicted latency (ms) and sustained rate (1/s) of raw and encoded splits on an emulated fleet.

    python -m benchmarks.encodings_measured [--quick] [--out FILE] [--requests N] [--burst N]

Two executor processes behind the embedded broker run SqueezeNet 1.1 with an emulated source speed and link. In every
cell the benchmark commits the best routes by the cost model: local, remote, split with raw tensors, and split with
encoded tensors. Each request is sent when the one before is answered. Its latency is from dispatch to completion. The
additional time of the bus is measured first and counts as latency of the link, as a monitor would report it. Then the
routes with the best sustained rate (raw, encoded) get a burst. The rate is between its first and its last completion.
"""

import asyncio
import os
import statistics
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.encoding_map import LATENCY_MS, SERVER, SOURCE, MeasuredModel, make_problem
from benchmarks.encodings import DATA, SQUEEZENET, jpeg_of
from benchmarks.fleet_harness import FleetHarness
from benchmarks.report import argument_parser, write
from broker.embedded import EmbeddedBroker
from planning.problem.plan import Infeasible
from planning.problem.problem import Problem
from planning.strategies.registry import solve, with_strategy
from services.cli.calibration import MeasureSettings, SampleSet, measure, read_samples
from services.cli.support.manifest import build_manifest
from services.cli.testbed import command_lines
from services.cli.testbed.processes import Processes
from services.executor.segments.coding import Coder
from shared.bus import topics
from shared.codecs import load_registry
from shared.link_time import transfer_ms
from shared.messages.calibration import Calibration
from shared.messages.devices import EmulatedLink, Emulation
from shared.messages.models import Manifest, OutputKind
from shared.messages.requests import Outcome
from shared.messages.streams import PlanRoute, PlanStage
from shared.model.onnx_file import load_model
from shared.policy import Objective, Policy

STREAM: Final = "camera"
# Speed of the source, bandwidth in Mbps, and whether requests are JPEGs of the input's size (otherwise tensors).
CELLS: Final = (
    *((speed, link, False) for speed in (0.10, 0.25, 0.50) for link in (5.0, 20.0, 50.0, 200.0)),
    *((0.25, link, True) for link in (1.0, 5.0, 20.0, 50.0)),
)
IN_FLIGHT: Final = 8
WAYS: Final = (
    ("local", "local_only"),
    ("remote", "remote_only"),
    ("raw", "shortest_path"),
    ("encoded", "shortest_path"),
)
REQUESTS, QUICK_REQUESTS = 12, 3
BURST, QUICK_BURST = 24, 8
MIN_TOP1_AGREEMENT: Final = 0.99

Stages = tuple[tuple[int, int, str, str], ...]


@dataclass(frozen=True, slots=True)
class EncodingRow:
    """One way to run in one cell; rates are those of a burst along the route with the best sustained rate.

    Attributes:
        stages: first block, end, device and codec of each stage.
        measured_ms: median latency.
        best_ms: shortest latency.
    """

    speed: float
    bandwidth_mbps: float
    jpeg: bool
    way: str
    stages: Stages
    predicted_ms: float
    measured_ms: float
    best_ms: float
    predicted_hz: float | None = None
    measured_hz: float | None = None


class SplitFleet:
    """Two executors, and the harness that acts as their planner and application."""

    def __init__(self, harness: FleetHarness, manifest: Manifest) -> None:
        self.harness = harness
        self.manifest = manifest

    async def emulate(self, speed: float, bandwidth_mbps: float) -> None:
        """Emulate the speed of the source and the bandwidth of the link, in both directions."""
        for device, other, slowdown in ((SOURCE, SERVER, 1 / speed), (SERVER, SOURCE, 1.0)):
            link = EmulatedLink(target=other, bandwidth_mbps=bandwidth_mbps, latency_ms=LATENCY_MS)
            emulation = Emulation(device=device, slowdown=slowdown, links=(link,))
            await self.harness.connection.publish(topics.emulation(device), emulation.encode(), retain=True)

    async def commit(self, stages: Stages, payload: bytes) -> None:
        """Put a route in force, and wait until the source uses it."""
        planned = tuple(PlanStage(start=a, stop=b, device=device, codec=codec) for a, b, device, codec in stages)
        routes = (PlanRoute(stages=planned),)
        epoch = await self.harness.commit(self.manifest, SOURCE, routes, max_in_flight=IN_FLIGHT)
        await self.harness.reach(payload, epoch)

    async def bus_ms(self, payload: bytes, count: int) -> float:
        """Return the median time of a transfer beyond that of its emulated link, in ms."""
        bandwidth_mbps = 200.0
        await self.emulate(1.0, bandwidth_mbps)
        await self.commit(((0, len(self.manifest.blocks), SERVER, "raw"),), payload)
        outcomes = [await self._answer(payload) for _ in range(count)]
        ideal_ms = transfer_ms(len(payload), LATENCY_MS, bandwidth_mbps)
        took_ms = [1000 * (outcome.trace[0].received_at_s - outcome.dispatched_at_s) for outcome in outcomes]
        return max(0.0, statistics.median(took_ms) - ideal_ms)

    async def latencies_ms(self, payload: bytes, count: int) -> list[float]:
        """Send requests one after the other; return their latencies."""
        outcomes = [await self._answer(payload) for _ in range(count)]
        return [1000 * (outcome.completed_at_s - outcome.dispatched_at_s) for outcome in outcomes]

    async def rate_hz(self, payload: bytes, count: int) -> float:
        """Send all requests as one burst; return their rate of completion."""
        request_ids = [await self.harness.submit(payload) for _ in range(count)]
        outcomes = [await self.harness.outcome(request_id) for request_id in request_ids]
        completed_s = sorted(outcome.completed_at_s for outcome in outcomes)
        return (count - 1) / (completed_s[-1] - completed_s[0])

    async def _answer(self, payload: bytes) -> Outcome:
        return await self.harness.outcome(await self.harness.submit(payload))


@asynccontextmanager
async def split_fleet(manifest: Manifest, file: Path, folder: Path) -> AsyncIterator[SplitFleet]:
    """Start the broker and two executor processes; they profile the model one after the other."""
    async with (
        EmbeddedBroker() as broker,
        Processes(folder, command_lines.environment(broker.settings.address)) as processes,
        FleetHarness.open(broker.settings, STREAM, {manifest.model: file}) as harness,
    ):
        for device in (SOURCE, SERVER):
            data = ("--data-dir", str(folder / "executors"))
            await processes.start(device, ("executor", "--device", device, *data, "--emulated"))
        await harness.begin(manifest, SOURCE, (SOURCE, SERVER))
        yield SplitFleet(harness, manifest)


def calibrate_encodings(file: Path, manifest: Manifest) -> Calibration:
    """Measure sizes, times and agreement of all encodings over the calibration set."""
    samples = read_samples(DATA / "calibration", manifest)
    settings = MeasureSettings(threads=os.cpu_count() or 1)
    return measure(load_model(file), samples, Coder(load_registry(), settings.engine), settings)


async def measure_cells(requests: int, burst: int) -> list[EncodingRow]:
    """Measure every way in every cell."""
    file = DATA / "squeezenet1.1.onnx"
    manifest = build_manifest(file, preprocessing=SQUEEZENET, output=OutputKind.CLASSIFICATION)
    calibration = calibrate_encodings(file, manifest)
    tensor, jpeg = _payloads(read_samples(DATA / "photos", manifest, variants=1), manifest)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        async with split_fleet(manifest, file, Path(folder)) as fleet:
            profile = fleet.harness.profiles(manifest)[SERVER]
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
                payload = jpeg if is_jpeg else tensor
                for way, strategy in WAYS:
                    bound = MIN_TOP1_AGREEMENT if way == "encoded" else None
                    problem = make_problem(measured, speed, bandwidth, is_jpeg, bound, LATENCY_MS + bus_ms)
                    stages, predicted_ms = _route(problem, strategy, Objective.LATENCY)
                    await fleet.commit(stages, payload)
                    took_ms = await fleet.latencies_ms(payload, requests)
                    row = EncodingRow(
                        speed, bandwidth, is_jpeg, way, stages, predicted_ms, statistics.median(took_ms), min(took_ms)
                    )
                    if strategy == "shortest_path":
                        stages, period_ms = _route(problem, strategy, Objective.THROUGHPUT)
                        await fleet.commit(stages, payload)
                        rate_hz = await fleet.rate_hz(payload, burst)
                        row = replace(row, predicted_hz=1000 / period_ms, measured_hz=rate_hz)
                    rows.append(row)
                    print(_line(row), flush=True)
    return rows


def _payloads(samples: SampleSet, manifest: Manifest) -> tuple[bytes, bytes]:
    (tensor,) = samples.inputs[0].values()
    return tensor.tobytes(), jpeg_of(samples, manifest.preprocessing)


def _route(problem: Problem, strategy: str, objective: Objective) -> tuple[Stages, float]:
    """Return the best route and its cost in ms: latency, or time per request in steady state."""
    plan = solve(with_strategy(replace(problem, policy=Policy(objective=objective)), strategy))
    if isinstance(plan, Infeasible):
        raise RuntimeError(f"{strategy}: {plan}")
    stages = plan.streams["s"].routes[0].stages
    route = tuple((stage.start, stage.stop, stage.device, stage.codec) for stage in stages)
    if objective is Objective.THROUGHPUT and plan.predicted.throughput_hz:
        return route, 1000 / plan.predicted.throughput_hz
    return route, plan.predicted.latency_ms


def _line(row: EncodingRow) -> str:
    route = " ".join(
        f"[{start},{stop}){device}" + (f" {codec} >" if codec != "raw" else "")
        for start, stop, device, codec in row.stages
    )
    return (
        f"{row.speed:5.0%} {row.bandwidth_mbps:5.0f} Mbps {'jpeg' if row.jpeg else 'tensor':6} {row.way:8}"
        f"{row.predicted_ms:9.1f}{row.measured_ms:9.1f}{row.measured_ms / row.predicted_ms:6.2f}"
        f"{_rates(row)}  {route}"
    )


def _rates(row: EncodingRow) -> str:
    if row.predicted_hz is None or row.measured_hz is None:
        return " " * 20
    return f"{row.predicted_hz:8.1f}{row.measured_hz:8.1f} Hz"


def print_winners(rows: Sequence[EncodingRow]) -> None:
    """Print for every cell the gain of the encoded split over the better of local and remote."""
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


def headline(rows: Sequence[EncodingRow]) -> str:
    """Summarise the gains of encoded splits and the errors of predictions in one line."""
    cells: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in rows:
        cells.setdefault((row.speed, row.bandwidth_mbps, row.jpeg), {})[row.way] = row.measured_ms
    gains = [min(cell["local"], cell["remote"]) / cell["encoded"] for cell in cells.values()]
    errors = [abs(row.measured_ms / row.predicted_ms - 1) for row in rows]
    return (
        f"encoded splits are more than 5 % faster than local and remote in {sum(gain > 1.05 for gain in gains)} of "
        f"{len(gains)} cells (best {max(gains):.2f} x); prediction off by {sum(errors) / len(errors):.1%} on average"
    )


def main() -> None:
    """Measure, print, write."""
    quick = f"{QUICK_REQUESTS} requests per route, bursts of {QUICK_BURST}"
    parser = argument_parser("encodings_measured", __doc__, quick=quick)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="per route (default: %(default)s)")
    parser.add_argument(
        "--burst", type=int, default=BURST, help="requests in a burst, per route (default: %(default)s)"
    )
    options = parser.parse_args()
    requests, burst = (QUICK_REQUESTS, QUICK_BURST) if options.quick else (options.requests, options.burst)
    rows = asyncio.run(measure_cells(requests, burst))
    print_winners(rows)
    print(headline(rows))
    write(options.out, {"headline": headline(rows), "rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    main()
