"""Stages of tiles on a fleet of emulated executors: latency by number of tiles and bandwidth; a soak under kills.

SqueezeNet runs in volumes of one to four tiles, and its tail on the source. The benchmark plays the planner. The part
of a stage that is neither its longest computing nor its transfers is what the runtime adds.
"""

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.fleet_harness import BenchmarkFailed, FleetHarness, problem_of
from benchmarks.prediction import predicted_latency_ms
from benchmarks.report import argument_parser, console, write
from broker.embedded import EmbeddedBroker
from planning.problem.problem import Link
from services.cli.support.manifest import Preset, build_manifest
from services.cli.testbed import command_lines
from services.cli.testbed.processes import Processes
from shared import link_time
from shared.bus import topics
from shared.messages.devices import EmulatedLink, Emulation, Presence
from shared.messages.models import Manifest
from shared.messages.requests import MSGPACK_CONTENT, Outcome
from shared.messages.streams import PlanRoute, PlanStage, PlanTile
from shared.row_ranges import equal_ranges

DEVICES: Final = ("one", "two", "three", "four")
# Equal devices that take about as long for SqueezeNet as a Raspberry Pi 4.
SLOWDOWN: Final = 10.0
SOAK_SLOWDOWN: Final = 1.5
BANDWIDTHS_MBPS: Final = (50.0, 200.0, 1000.0)
LATENCY_MS: Final = 0.5
# Blocks at which volumes of tiles begin, and at which the tail begins, which runs in one piece.
VOLUMES: Final = (1, 3, 8, 13)
REQUESTS: Final = 20
QUICK_REQUESTS: Final = 3
WARM_UP: Final = 3
IN_FLIGHT: Final = 4
MODEL_FILE: Final = Path("services/cli/data/squeezenet1.1.onnx")


def tiled_route(manifest: Manifest, devices: Sequence[str]) -> PlanRoute:
    """Return the route in which these devices have equal tiles of every volume; all in one piece for a single one."""
    first, end = devices[0], len(manifest.blocks)
    if len(devices) == 1:
        return PlanRoute(stages=(PlanStage(start=0, stop=end, device=first),))
    stages = [PlanStage(start=0, stop=VOLUMES[0], device=first)]
    for start, stop in itertools.pairwise(VOLUMES):
        described = manifest.blocks[stop - 1].rows
        rows = equal_ranges(0 if described is None else described.output_rows, len(devices))
        tiles = tuple(PlanTile(device=device, rows=own) for device, own in zip(devices, rows, strict=True))
        stages.append(PlanStage(start=start, stop=stop, device=first, tiles=tiles))
    return PlanRoute(stages=(*stages, PlanStage(start=VOLUMES[-1], stop=end, device=first)))


@asynccontextmanager
async def fleet(folder: Path, transport: str) -> AsyncIterator[tuple[FleetHarness, Processes, Manifest]]:
    """Start a broker and the executors, and have them measure the model."""
    manifest = build_manifest(MODEL_FILE, preprocessing=Preset.TENSOR)
    async with (
        EmbeddedBroker() as broker,
        Processes(folder, command_lines.environment(broker.settings.address)) as processes,
        FleetHarness.open(broker.settings, "tiles", {manifest.model: MODEL_FILE}, accept=MSGPACK_CONTENT) as harness,
    ):
        for device in DEVICES:
            options = ("--data-dir", str(folder), "--emulated", "--transport", transport)
            await processes.start(device, ("executor", "--device", device, *options))
        await harness.begin(manifest, DEVICES[0], DEVICES)
        yield harness, processes, manifest


async def shape(harness: FleetHarness, mbps: float, slowdown: float = SLOWDOWN) -> None:
    """Give every device a slowdown, and every link a bandwidth."""
    for device in DEVICES:
        links = tuple(
            EmulatedLink(target=other, bandwidth_mbps=mbps, latency_ms=LATENCY_MS)
            for other in DEVICES
            if other != device
        )
        emulation = Emulation(device=device, slowdown=slowdown, links=links)
        await harness.connection.publish(topics.emulation(device), emulation.encode(), retain=True)


def predicted_ms(harness: FleetHarness, manifest: Manifest, route: PlanRoute, mbps: float, size_bytes: int) -> float:
    """Return the latency by the cost model, from the profiles that the devices publish."""
    links = [Link(one, other, mbps, LATENCY_MS) for one, other in itertools.permutations(DEVICES, 2)]
    problem = problem_of(manifest, harness.profiles(manifest), links, {}, DEVICES[0], size_bytes)
    return predicted_latency_ms(problem, route)


def overhead_ms(outcome: Outcome, mbps: float) -> list[float]:
    """Return of each volume but the last what it takes beside its longest computing and its largest transfer."""
    starts = [start for start in VOLUMES if any(entry.start == start for entry in outcome.trace)]
    added: list[float] = []
    for start, following in itertools.pairwise(starts):
        own = [entry for entry in outcome.trace if entry.start == start]
        after = [entry for entry in outcome.trace if entry.start == following]
        began_s = max(entry.received_at_s + entry.wait_ms / 1000 for entry in own)
        ended_s = max(entry.received_at_s + entry.wait_ms / 1000 for entry in after)
        sent_ms = link_time.transfer_ms(max(entry.output_bytes for entry in own), LATENCY_MS, mbps)
        added.append(1000 * (ended_s - began_s) - max(entry.compute_ms for entry in own) - sent_ms)
    return added


async def measure(folder: Path, requests: int, transport: str) -> list[dict[str, Any]]:
    """Measure every number of tiles at every bandwidth."""
    rows: list[dict[str, Any]] = []
    async with fleet(folder, transport) as (harness, _, manifest):
        payload = np.random.default_rng(0).standard_normal(manifest.inputs[0].shape, np.float32).tobytes()
        for mbps in BANDWIDTHS_MBPS:
            await shape(harness, mbps)
            for count in range(1, len(DEVICES) + 1):
                route = tiled_route(manifest, DEVICES[:count])
                await harness.reach(payload, await harness.commit(manifest, DEVICES[0], [route]))
                for _ in range(WARM_UP):
                    await harness.ask(payload)
                outcomes = [await harness.ask(payload) for _ in range(requests)]
                took_ms = [1000 * (each.completed_at_s - each.dispatched_at_s) for each in outcomes]
                added_ms = [ms for each in outcomes for ms in overhead_ms(each, mbps)]
                row = {
                    "mbps": mbps,
                    "tiles": count,
                    "measured_ms": statistics.median(took_ms),
                    "predicted_ms": predicted_ms(harness, manifest, route, mbps, len(payload)),
                    "overhead_ms_per_stage": statistics.median(added_ms) if added_ms else None,
                }
                rows.append(row)
                console().print(row)
    return rows


async def soak(folder: Path, requests: int, kill_every_s: float, transport: str) -> dict[str, int]:
    """Run requests while one device after the other is killed and restarted; count what becomes of them.

    A request is lost without an outcome, wrong with an error or with other scores than on one device.
    """
    counts = {"requests": requests, "lost": 0, "wrong": 0, "retried": 0, "kills": 0}
    async with fleet(folder, transport) as (harness, processes, manifest):
        payload = np.random.default_rng(0).standard_normal(manifest.inputs[0].shape, np.float32).tobytes()
        await shape(harness, 200.0, SOAK_SLOWDOWN)
        whole = tiled_route(manifest, DEVICES[:1])
        await harness.reach(payload, await harness.commit(manifest, DEVICES[0], [whole]))
        expected = (await harness.ask(payload)).outputs
        everyone = tiled_route(manifest, DEVICES)
        await harness.reach(payload, await harness.commit(manifest, DEVICES[0], [everyone], max_in_flight=IN_FLIGHT))
        killer = asyncio.create_task(_kill_in_turn(harness, processes, manifest, kill_every_s, counts))
        window = asyncio.Semaphore(2 * IN_FLIGHT)

        async def one() -> None:
            async with window:
                try:
                    outcome = await harness.outcome(await harness.submit(payload))
                except BenchmarkFailed:
                    counts["lost"] += 1
                    return
                counts["wrong"] += not _is_like(outcome, expected)
                counts["retried"] += outcome.attempt > 1

        await asyncio.gather(*(one() for _ in range(requests)))
        killer.cancel()
    return counts


async def _kill_in_turn(
    harness: FleetHarness, processes: Processes, manifest: Manifest, every_s: float, counts: dict[str, int]
) -> None:
    """Kill one device after the other but the source; route around it, and back when it has come again."""
    source = DEVICES[0]
    for victim in itertools.cycle(DEVICES[1:]):
        began_s, before = time.monotonic(), harness.view.devices[victim].presence
        await processes.kill(victim)
        counts["kills"] += 1
        rest = [device for device in DEVICES if device != victim]
        await harness.commit(manifest, source, [tiled_route(manifest, rest)], max_in_flight=IN_FLIGHT)
        await processes.restart(victim)
        await harness.until(partial(_is_back, harness, victim, before), f"{victim} is back")
        await harness.commit(manifest, source, [tiled_route(manifest, DEVICES)], max_in_flight=IN_FLIGHT)
        await asyncio.sleep(max(0.0, every_s - (time.monotonic() - began_s)))


def _is_back(harness: FleetHarness, device: str, before: Presence | None) -> bool:
    now = harness.view.devices[device].presence
    return harness.is_online(device) and now is not None and before is not None and now.boot_id != before.boot_id


def _is_like(outcome: Outcome, expected: Sequence[Any]) -> bool:
    made = [np.frombuffer(each.data, each.dtype) for each in outcome.outputs]
    right = [np.frombuffer(each.data, each.dtype) for each in expected]
    return len(made) == len(right) > 0 and all(
        np.allclose(one, other, rtol=1e-4, atol=1e-6) for one, other in zip(made, right, strict=True)
    )


def main() -> None:
    """Measure, or soak, print, write."""
    parser = argument_parser("tiled_stages", __doc__, quick=f"{QUICK_REQUESTS} requests per row")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="per row, or of the soak (default: %(default)s)")
    parser.add_argument("--transport", default="mqtt", help="of the executors (default: %(default)s)")
    parser.add_argument("--kill-every-s", type=float, help="soak: kill a device after this time, and the next one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.kill_every_s is None:
            requests = QUICK_REQUESTS if options.quick else options.requests
            results: dict[str, Any] = {"rows": asyncio.run(measure(Path(folder), requests, options.transport))}
        else:
            results = asyncio.run(soak(Path(folder), options.requests, options.kill_every_s, options.transport))
            console().print(results)
    write(options.out, results)


if __name__ == "__main__":
    main()
