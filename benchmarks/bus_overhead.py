"""Overhead of the bus: a route over two executors, against its two segments in one process and against raw TCP.

    python -m benchmarks.bus_overhead [--requests N] [--quick] [--out FILE]

Nothing is emulated. A model of two cheap segments has a boundary tensor of 50 kB, 0.8 MB or 3.2 MB. It runs in this
process with the executor's own engine. Then it runs over two executor processes, behind the embedded broker and behind
Mosquitto, with one request in flight. "Added" is the latency from dispatch to completion less the median of the one
process. "Hop" is the time from the start of the first executor's send to the decoded tensor in the second. It is
compared with the same bytes over a TCP connection between two processes, half of them before and half of them after.
"""

import argparse
import asyncio
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.fleet_harness import FleetHarness
from benchmarks.report import RESULTS, console, percentile, spread, write
from broker.embedded import EmbeddedBroker
from broker.mosquitto import MosquittoBroker, find_mosquitto
from broker.process import BrokerProcess
from services.cli.support.manifest import Preset, build_manifest
from services.cli.testbed import command_lines
from services.cli.testbed.processes import Processes
from services.executor.segments.engine import EngineSettings
from services.executor.segments.segment import REQUEST_TENSOR, build_segments
from services.executor.segments.segment_events import SegmentKey
from shared.messages.models import Manifest
from shared.messages.requests import Outcome
from shared.messages.streams import PlanRoute, PlanStage
from shared.model.architectures.builder import GraphBuilder
from shared.model.onnx_file import write_onnx

OUT = RESULTS / "bus_overhead.json"
# Channels of the boundary tensor, each of 56 x 56 x 4 bytes: 50 kB, 0.8 MB, 3.2 MB.
CHANNELS = (4, 64, 256)
CUT = 2
FIRST, SECOND = "first", "second"
REQUESTS, QUICK_REQUESTS = 200, 60
WARM_UP = 10

_TCP_RECEIVER = """
import socket, struct, sys, time
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
view = memoryview(bytearray(int(sys.argv[2])))
while True:
    got = 0
    while got < len(view):
        count = connection.recv_into(view[got:])
        if not count:
            sys.exit()
        got += count
    connection.sendall(struct.pack("d", time.monotonic()))
"""


def write_model(channels: int, folder: Path) -> tuple[Manifest, Path]:
    """Write a model that expands a small tensor to 56 x 56 x `channels`, and reduces it again."""
    b = GraphBuilder(f"boundary{channels}", 1, (1, 1, 56, 56))
    pooled = b.global_pool(b.relu(b.conv(b.input, "expand", channels, 1)), "pool")
    path = folder / f"boundary{channels}.onnx"
    write_onnx(b.finish(b.linear(b.flatten(pooled), "fc", 10)), path)
    return build_manifest(path, preprocessing=Preset.TENSOR), path


def one_process_ms(manifest: Manifest, path: Path, payload: bytes, count: int) -> list[float]:
    """Run both segments one after the other in this process, and return the times in ms."""
    keys = tuple(SegmentKey(manifest.model, *bounds) for bounds in ((0, CUT), (CUT, len(manifest.blocks))))
    segments = build_segments(path, manifest, keys, EngineSettings())
    request = {REQUEST_TENSOR: np.frombuffer(payload, np.uint8)}
    times_ms = []
    for _ in range(WARM_UP + count):
        started_s = time.monotonic()
        segments[keys[1]].run(segments[keys[0]].run(request))
        times_ms.append(1000 * (time.monotonic() - started_s))
    return times_ms[WARM_UP:]


class TcpYardstick:
    """A process at the other end of a TCP connection that returns the time at which it has received everything."""

    def __init__(self, connection: socket.socket, size_bytes: int) -> None:
        self._connection = connection
        self._data = bytes(size_bytes)
        self.times_ms: list[float] = []

    @classmethod
    @contextmanager
    def open(cls, size_bytes: int) -> Iterator["TcpYardstick"]:
        """Start the process."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            arguments = (str(server.getsockname()[1]), str(size_bytes))
            with subprocess.Popen([sys.executable, "-c", _TCP_RECEIVER, *arguments]) as receiver:
                server.settimeout(10)
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(10)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    yield cls(connection, size_bytes)
                receiver.wait(10)

    def measure(self, count: int) -> None:
        """Send the bytes `count` times, and note the times in ms from the first byte to the arrival of the last."""
        for number in range(WARM_UP + count):
            started_s = time.monotonic()
            self._connection.sendall(self._data)
            (received_s,) = struct.unpack("d", self._connection.recv(8, socket.MSG_WAITALL))
            if number >= WARM_UP:
                self.times_ms.append(1000 * (received_s - started_s))


def route_of(manifest: Manifest) -> PlanRoute:
    """Return the route over both executors."""
    stop = len(manifest.blocks)
    return PlanRoute(
        stages=(PlanStage(start=0, stop=CUT, device=FIRST), PlanStage(start=CUT, stop=stop, device=SECOND))
    )


async def measure_broker(
    broker: BrokerProcess, models: Sequence[tuple[Manifest, Path, bytes]], count: int, folder: Path
) -> list[tuple[list[Outcome], list[float]]]:
    """Send requests along the route of every model, and return their outcomes and the times of raw TCP in ms."""
    found = []
    files = {manifest.model: path for manifest, path, _ in models}
    async with (
        broker,
        Processes(folder, command_lines.environment(broker.settings.address)) as processes,
    ):
        for device in (FIRST, SECOND):
            await processes.start(device, ("executor", "--device", device, "--data-dir", str(folder)))
        for manifest, _, payload in models:
            async with FleetHarness.open(broker.settings, f"s-{manifest.name}", files) as harness:
                await harness.begin(manifest, FIRST, (FIRST, SECOND))
                epoch = await harness.commit(manifest, FIRST, [route_of(manifest)])
                await harness.reach(payload, epoch)
                with TcpYardstick.open(manifest.blocks[CUT - 1].output_bytes) as yardstick:
                    await asyncio.to_thread(yardstick.measure, count // 2)
                    for _ in range(WARM_UP):
                        await harness.ask(payload)
                    outcomes = [await harness.ask(payload) for _ in range(count)]
                    await asyncio.to_thread(yardstick.measure, count - count // 2)
            found.append((outcomes, yardstick.times_ms))
    return found


def row(broker: str, manifest: Manifest, alone_ms: list[float], outcomes: list[Outcome], tcp_ms: list[float]) -> Any:
    """Return the figures of one size and broker."""
    base_ms = percentile(alone_ms, 0.5)
    added_ms = [1000 * (each.completed_at_s - each.dispatched_at_s) - base_ms for each in outcomes]
    hop_ms = [1000 * (each.trace[1].received_at_s - (each.trace[0].sent_at_s or 0.0)) for each in outcomes]
    return {
        "broker": broker,
        "boundary_bytes": manifest.blocks[CUT - 1].output_bytes,
        "requests": len(outcomes),
        "one_process_ms": spread(alone_ms),
        "added_ms": spread(added_ms),
        "hop_ms": spread(hop_ms),
        "compute_ms": spread([sum(stage.compute_ms for stage in each.trace) for each in outcomes]),
        "raw_tcp_ms": spread(tcp_ms),
        "hop_over_raw_tcp": round(percentile(hop_ms, 0.5) / percentile(tcp_ms, 0.5), 2),
    }


async def measure(count: int) -> list[dict[str, Any]]:
    """Measure every size over every broker that is installed."""
    brokers: list[tuple[str, Callable[[], BrokerProcess]]] = [("embedded", EmbeddedBroker)]
    if find_mosquitto() is not None:
        brokers.append(("mosquitto", MosquittoBroker))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        payload = np.random.default_rng(0).standard_normal((1, 1, 56, 56)).astype(np.float32).tobytes()
        models = [(*write_model(channels, folder), payload) for channels in CHANNELS]
        alone = [one_process_ms(manifest, path, payload, count) for manifest, path, _ in models]
        rows = []
        for broker_name, broker in brokers:
            measured = await measure_broker(broker(), models, count, folder / broker_name)
            for (manifest, _, _), alone_ms, (outcomes, tcp_ms) in zip(models, alone, measured, strict=True):
                rows.append(row(broker_name, manifest, alone_ms, outcomes, tcp_ms))
        return rows


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the figures as a table."""
    result = Table(title="a hop through the bus, ms (p50 / p99)")
    for heading in ("broker", "boundary", "one process", "added", "hop", "raw TCP", "hop / TCP"):
        result.add_column(heading, justify="left" if heading == "broker" else "right", no_wrap=True)
    for each in rows:
        pairs = [
            " / ".join(f"{value:.2f}" for value in each[key].values())
            for key in ("one_process_ms", "added_ms", "hop_ms", "raw_tcp_ms")
        ]
        result.add_row(each["broker"], f"{each['boundary_bytes']:,} B", *pairs, f"{each['hop_over_raw_tcp']:.1f}")
    return result


def headline(rows: Sequence[dict[str, Any]]) -> str:
    """Return the result in one line."""
    largest = max(each["boundary_bytes"] for each in rows)
    parts = [
        f"{each['broker']} {each['added_ms']['p50']:.1f} ms ({each['hop_over_raw_tcp']:.1f} x raw TCP)"
        for each in rows
        if each["boundary_bytes"] == largest
    ]
    return f"a boundary of {largest / 1e6:.1f} MB adds: " + ", ".join(parts)


def main() -> None:
    """Measure, print and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="per size and broker (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_REQUESTS} requests")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    rows = asyncio.run(measure(QUICK_REQUESTS if options.quick else options.requests))
    console().print(table(rows))
    console().print(headline(rows))
    write(options.out, {"rows": rows, "headline": headline(rows)})


if __name__ == "__main__":
    main()
