"""Latency (ms) and rate (1/s) of one model in two segments in two processes: Segue beside gRPC, ZeroMQ and raw TCP.

    python -m benchmarks.peers [--quick] [--out FILE] [--requests N]

SqueezeNet is cut at 746 kB. Every way runs the same two segments with the executor's own engine. For gRPC (a stream in
each direction), ZeroMQ and TCP, this process runs the first segment and another one the second, which returns the
result. Latency is from the start of the first segment to the result, with one request under way; the rate is with eight
under way. For Segue two executors run the segments: latency is from dispatch to completion, and the rate is that of a
client, whose requests of 618 kB are stored at the source. The others store nothing, retry nothing and trace nothing.
"segue" sends the feature maps from device to device, as the others do (`--transport auto`), "segue mqtt" through the
broker. Ratios without a suffix are those of the former.

The peers come with `pip install 'segue[peers]'`. Those that are not installed are left out.
"""

import argparse
import asyncio
import importlib.util
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.table import Table

from benchmarks.bus_overhead import FIRST, SECOND
from benchmarks.datapath_load import StreamClient, serve_route
from benchmarks.fleet_harness import FleetHarness
from benchmarks.peer_processes import PEERS, Peer, two_segments
from benchmarks.report import argument_parser, console, spread, write
from broker.mosquitto import MosquittoBroker
from services.cli.support.manifest import Preset, build_manifest
from services.cli.testbed import command_lines
from services.cli.testbed.processes import Processes
from services.executor.segments.segment import REQUEST_TENSOR, Segment
from shared.messages.models import Manifest
from shared.messages.requests import Outcome
from shared.model.architectures import build
from shared.model.onnx_file import write_onnx
from shared.transport_mode import TransportMode

BOUNDARY_BYTES: Final = 746_496
REQUESTS, QUICK_REQUESTS = 300, 60
WARM_UP: Final = 10
IN_FLIGHT: Final = 8
SEGUE: Final = {"segue": TransportMode.AUTO, "segue mqtt": TransportMode.MQTT}


def measure_peer(peer: Peer, first: Segment, request: bytes, count: int) -> tuple[list[float], float]:
    """Return the latencies of single requests in ms, and the rate in 1/s with eight of them under way."""
    tensors = {REQUEST_TENSOR: np.frombuffer(request, np.uint8)}

    def submit(number: int) -> None:
        (tensor,) = first.run(tensors).values()
        peer.send(number, np.ascontiguousarray(tensor).data.cast("B"))

    times_ms = []
    for number in range(WARM_UP + count):
        started_s = time.monotonic()
        submit(number)
        peer.receive()
        times_ms.append(1000 * (time.monotonic() - started_s))
    room = threading.Semaphore(IN_FLIGHT)

    def collect() -> None:
        for _ in range(count):
            peer.receive()
            room.release()

    collector = threading.Thread(target=collect)
    started_s = time.monotonic()
    collector.start()
    for number in range(count):
        room.acquire()
        submit(number)
    collector.join()
    return times_ms[WARM_UP:], count / (time.monotonic() - started_s)


async def measure_segue(
    path: Path, manifest: Manifest, cut: int, request: bytes, count: int, folder: Path, mode: TransportMode
) -> tuple[list[float], float]:
    """Return the latencies from dispatch to completion in ms, and the rate of a client in 1/s."""
    async with (
        MosquittoBroker() as broker,
        Processes(folder, command_lines.environment(broker.settings.address)) as processes,
    ):
        for device in (FIRST, SECOND):
            sockets = ("--direct-folder", str(folder / "sockets"), "--transport", mode.value)
            await processes.start(device, ("executor", "--device", device, "--data-dir", str(folder), *sockets))
        async with FleetHarness.open(broker.settings, "peers", {manifest.model: path}) as harness:
            await serve_route(harness, manifest, (FIRST, SECOND), (cut,), request)
        async with StreamClient.open(broker.settings, "peers") as client:
            answers = [await client.ask(request) for _ in range(WARM_UP + count)][WARM_UP:]
            room = asyncio.Semaphore(IN_FLIGHT)

            async def one() -> None:
                async with room:
                    await client.ask(request)

            started_s = time.monotonic()
            await asyncio.gather(*(one() for _ in range(count)))
            rate_hz = count / (time.monotonic() - started_s)
    outcomes = [Outcome.decode(answer.outcome) for answer in answers]
    return [1000 * (outcome.completed_at_s - outcome.dispatched_at_s) for outcome in outcomes], rate_hz


def one_process_ms(first: Segment, second: Segment, request: bytes, count: int) -> list[float]:
    """Return the times of both segments one after the other in this process, in ms."""
    times_ms = []
    for _ in range(WARM_UP + count):
        started_s = time.monotonic()
        second.run(first.run({REQUEST_TENSOR: np.frombuffer(request, np.uint8)}))
        times_ms.append(1000 * (time.monotonic() - started_s))
    return times_ms[WARM_UP:]


def measure(count: int) -> dict[str, dict[str, Any]]:
    """Return latency and rate of every way, by name."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "squeezenet.onnx"
        write_onnx(build("squeezenet"), path)
        manifest = build_manifest(path, preprocessing=Preset.TENSOR)
        cut = 1 + [block.output_bytes for block in manifest.blocks].index(BOUNDARY_BYTES)
        first, second = two_segments(path, manifest, cut)
        values = np.random.default_rng(0).standard_normal(manifest.blocks[0].output_bytes // 4)
        request = values.astype(np.float32).tobytes()
        alone_ms = one_process_ms(first, second, request, count)
        rows: dict[str, dict[str, Any]] = {"one process": _row(alone_ms, 1000 * count / sum(alone_ms))}
        for peer, (module, connect) in PEERS.items():
            if module is None or importlib.util.find_spec(module) is not None:
                with connect(path, cut) as connected:
                    rows[peer] = _row(*measure_peer(connected, first, request, count))
        for name, mode in SEGUE.items():
            measured = asyncio.run(measure_segue(path, manifest, cut, request, count, folder / name, mode))
            rows[name] = _row(*measured)
    return rows


def _row(latencies_ms: Sequence[float], rate_hz: float) -> dict[str, Any]:
    return {"latency_ms": spread(latencies_ms), "rate_hz": round(rate_hz, 1)}


def ratios(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the latency and the rate of Segue over those of every peer that was measured."""
    found: dict[str, float] = {}
    for own in SEGUE:
        suffix = own.removeprefix("segue").replace(" ", "_")
        for peer in [peer for peer in PEERS if peer in rows]:
            latency = rows[own]["latency_ms"]["p50"] / rows[peer]["latency_ms"]["p50"]
            found[f"latency_over_{peer}{suffix}"] = round(latency, 3)
            found[f"rate_over_{peer}{suffix}"] = round(rows[own]["rate_hz"] / rows[peer]["rate_hz"], 3)
    return found


def table(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the figures as a table."""
    made = Table(title="SqueezeNet in two segments, 746 kB between two processes")
    for heading in ("way", "latency p50, ms", "p99, ms", f"1/s with {IN_FLIGHT} under way"):
        made.add_column(heading, justify="left" if heading == "way" else "right")
    for name, row in rows.items():
        latency = row["latency_ms"]
        made.add_row(name, f"{latency['p50']:.2f}", f"{latency['p99']:.2f}", f"{row['rate_hz']:.0f}")
    return made


def main() -> None:
    """Measure, print, write."""
    parser: argparse.ArgumentParser = argument_parser("peers", __doc__, quick=f"{QUICK_REQUESTS} requests")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="requests per way (default: %(default)s)")
    options = parser.parse_args()
    rows = measure(QUICK_REQUESTS if options.quick else options.requests)
    console().print(table(rows))
    found = ratios(rows)
    summary = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    console().print(summary)
    write(options.out, {"rows": rows, "results": found, "headline": summary})


if __name__ == "__main__":
    main()
