"""A chain of short stages on two executors, on the lane and in frames. Used by `benchmarks.tile_messages`."""

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.fleet_harness import FleetHarness
from benchmarks.report import percentile, spread
from broker.process import BrokerProcess
from services.cli.support.manifest import Preset, build_manifest
from services.cli.testbed import command_lines
from services.cli.testbed.processes import Processes
from shared.messages.models import Manifest
from shared.messages.requests import Outcome
from shared.messages.streams import PlanRoute, PlanStage
from shared.model.architectures.builder import GraphBuilder
from shared.model.onnx_file import write_onnx
from shared.transport_mode import TransportMode

STAGES: Final = 16
WARM_UP: Final = 10


def write_chain(folder: Path) -> tuple[Manifest, Path]:
    """Write a model of cheap layers with 12.5 kB between them."""
    b = GraphBuilder("chain", 1, (1, 1, 56, 56))
    last = b.input
    for number in range(STAGES):
        last = b.relu(b.conv(last, f"layer{number}", 1, 1))
    path = folder / "chain.onnx"
    write_onnx(b.finish(b.linear(b.flatten(b.global_pool(last, "pool")), "fc", 10)), path)
    return build_manifest(path, preprocessing=Preset.TENSOR), path


def alternating(manifest: Manifest, devices: Sequence[str]) -> tuple[PlanStage, ...]:
    """Return a route whose stages alternate between devices; the last one has the rest of the model."""
    bounds = [*range(STAGES), len(manifest.blocks)]
    return tuple(
        PlanStage(start=bounds[k], stop=bounds[k + 1], device=devices[k % len(devices)]) for k in range(STAGES)
    )


async def measure_chain(broker: BrokerProcess, folder: Path, mode: TransportMode, lane_kib: int, count: int) -> Any:
    """Measure a chain of `STAGES` stages, one request after the other.

    Returns:
        Milliseconds per hop without the computing of its stage, and processor time of both executors per hop.
    """
    devices = ("first", "second")
    options = ("--transport", mode.value, "--lane-kib", str(lane_kib), "--direct-host", "127.0.0.1")
    no_socket = ("--direct-folder", "/proc/no/folder")
    async with broker, Processes(folder, command_lines.environment(broker.settings.address)) as processes:
        for device in devices:
            data = ("executor", "--device", device, "--data-dir", str(folder))
            await processes.start(device, (*data, *options, *no_socket))
        manifest, path = await asyncio.to_thread(write_chain, folder)
        async with FleetHarness.open(broker.settings, "chain", {manifest.model: path}) as harness:
            await harness.begin(manifest, devices[0], devices)
            route = PlanRoute(stages=alternating(manifest, devices))
            payload = bytes(manifest.blocks[0].output_bytes)
            await harness.reach(payload, await harness.commit(manifest, devices[0], [route]))
            for _ in range(WARM_UP):
                await harness.ask(payload)
            watched = [psutil.Process(processes.pid(device)) for device in devices]
            before_s = sum(map(_cpu_s, watched))
            outcomes = [await harness.ask(payload) for _ in range(count)]
            cpu_ms = 1000 * (sum(map(_cpu_s, watched)) - before_s) / (count * (STAGES - 1))
    return {"hop_ms": spread([_hop_ms(outcome) for outcome in outcomes]), "cpu_per_hop_ms": round(cpu_ms, 3)}


def _hop_ms(outcome: Outcome) -> float:
    """Return the median time between two stages of a request, from the end of one to the start of the next."""
    hops = [
        1000 * (after.received_at_s - before.received_at_s) - before.queue_ms - before.compute_ms
        for before, after in itertools.pairwise(outcome.trace)
    ]
    return percentile(hops, 0.5)


def _cpu_s(process: psutil.Process) -> float:
    """Return the processor time of a process and its children."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))
