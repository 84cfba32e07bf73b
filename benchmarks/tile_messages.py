"""Messages of a tiled model without its computing: 14 volumes of VGG16 on four devices, on the lane and in frames.

    python -m benchmarks.tile_messages [--quick] [--out FILE]

Four processes exchange the messages of a request: scatter, one row of 57 kB to each neighbour between two volumes, and
gather, 84 in all. They use an executor's own transports, lane, compute thread, admission, sender and receipts; nothing
is computed. The requests run one after the other, through the broker (Mosquitto if it is installed) and over direct TCP
connections. "CPU" is the processor time of all four processes and the broker per message. "Latency" is the time from
the start of a send until its receiver has the whole input, at messages that complete one.

Two real executors then run a chain of short stages that alternates between them (`short_stages`).
"""

import asyncio
import json
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
from rich.table import Table

from benchmarks.report import argument_parser, console, spread, write
from benchmarks.short_stages import STAGES, measure_chain
from benchmarks.tile_worker import DEVICES, messages_of_request
from broker.embedded import EmbeddedBroker
from broker.mosquitto import MosquittoBroker, find_mosquitto
from broker.process import BrokerProcess
from shared.transport_mode import TransportMode

LANE, FRAMES = "lane", "frames"
WAYS: Final = [(mode, form) for mode in (TransportMode.MQTT, TransportMode.DIRECT) for form in (LANE, FRAMES)]
REQUESTS, QUICK_REQUESTS = 100, 30
_START_S: Final = 60.0
_RUN_S: Final = 120.0


@dataclass(slots=True)
class TileFleet:
    """Four running workers.

    Attributes:
        cpu_ms: processor time per message.
        total_ms: of each request.
        latency_ms: of the messages that completed an input.
    """

    workers: Sequence[Process]
    broker_pid: int | None
    count: int
    cpu_ms: float = 0.0
    total_ms: list[float] = field(default_factory=list)
    latency_ms: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Run the requests once, and measure their processor time."""
        before_s = self._cpu_s()
        for worker in self.workers[::-1]:
            _write(worker, "go")
        await _line(self.workers[0], "done", _RUN_S)
        self.cpu_ms = 1000 * (self._cpu_s() - before_s) / (self.count * messages_of_request())

    async def end(self) -> None:
        """End the workers and read their measurements."""
        for worker in self.workers:
            if worker.stdin is not None:
                worker.stdin.close()
        for worker in self.workers:
            async with asyncio.timeout(_START_S):
                output = (await worker.communicate())[0]
            found = json.loads(output.splitlines()[-1])
            self.total_ms += found["total_ms"]
            self.latency_ms += found["latency_ms"]

    def _cpu_s(self) -> float:
        pids = [worker.pid for worker in self.workers] + ([] if self.broker_pid is None else [self.broker_pid])
        times = [psutil.Process(pid).cpu_times() for pid in pids]
        return sum(each.user + each.system for each in times)


def new_broker() -> BrokerProcess:
    """Return Mosquitto if it is installed, else the embedded broker."""
    return EmbeddedBroker() if find_mosquitto() is None else MosquittoBroker()


@asynccontextmanager
async def tile_fleet(mode: TransportMode, form: str, count: int) -> AsyncIterator[TileFleet]:
    """Start a broker and four workers, which have met."""
    broker = new_broker()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(broker)
        workers = []
        for index in range(len(DEVICES)):
            arguments = (str(index), broker.settings.address, mode.value, form, str(count))
            command = (sys.executable, "-m", "benchmarks.tile_worker", *arguments)
            worker = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=2**26)
            stack.push_async_callback(_stop, worker)
            workers.append(worker)
        for worker in workers:
            await _line(worker, "ready", _START_S)
        yield TileFleet(workers, broker.pid, count)


async def measure(count: int) -> list[dict[str, Any]]:
    """Measure every way; return a row for each."""
    rows = []
    for mode, form in WAYS:
        async with tile_fleet(mode, form, count) as fleet:
            # The first round warms up.
            await fleet.run()
            await fleet.run()
            await fleet.end()
        with tempfile.TemporaryDirectory() as name:
            lane_kib = 128 if form == LANE else 0
            chain = await measure_chain(new_broker(), Path(name), mode, lane_kib, count)
        rows.append(
            {
                "transport": mode.value,
                "form": form,
                "requests": count,
                "cpu_per_message_ms": round(fleet.cpu_ms, 4),
                "latency_ms": spread(fleet.latency_ms),
                "request_ms": spread(fleet.total_ms),
                "chain": chain,
            }
        )
    return rows


def results_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the figures of the lane by name, medians."""
    results: dict[str, float] = {}
    for each in rows:
        if each["form"] == LANE:
            end = "" if each["transport"] == TransportMode.DIRECT.value else "_mqtt"
            results[f"tile_message_cpu{end}_ms"] = each["cpu_per_message_ms"]
            results[f"tile_message_latency{end}_ms"] = each["latency_ms"]["p50"]
            results[f"tiles_14x4_messages{end}_ms"] = each["request_ms"]["p50"]
            results[f"short_stage_hop{end}_ms"] = each["chain"]["hop_ms"]["p50"]
            results[f"short_stage_hop_cpu{end}_ms"] = each["chain"]["cpu_per_hop_ms"]
    return results


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the figures as a table."""
    title = f"14 volumes on 4 devices, {messages_of_request()} messages of 57 kB, nothing computed; a chain of {STAGES}"
    made = Table(title=f"{title} stages with 12.5 kB between them; ms (p50 / p99)")
    for heading in ("transport", "form"):
        made.add_column(heading)
    for heading in ("CPU / message", "latency", "request", "hop of the chain", "CPU / hop"):
        made.add_column(heading, justify="right", no_wrap=True)
    for each in rows:
        chain = each["chain"]
        pairs = [
            " / ".join(f"{value:.2f}" for value in values.values())
            for values in (each["latency_ms"], each["request_ms"], chain["hop_ms"])
        ]
        cpu_ms = f"{each['cpu_per_message_ms']:.3f}", f"{chain['cpu_per_hop_ms']:.3f}"
        made.add_row(each["transport"], each["form"], cpu_ms[0], *pairs, cpu_ms[1])
    return made


def headline(results: Mapping[str, float]) -> str:
    """Return the result in one line."""
    return (
        f"a message of the lane takes {results['tile_message_cpu_ms']:.2f} ms of CPU and "
        f"{results['tile_message_latency_ms']:.2f} ms directly, {results['tile_message_cpu_mqtt_ms']:.2f} and "
        f"{results['tile_message_latency_mqtt_ms']:.2f} ms through the broker; the messages of 14 volumes on 4 devices "
        f"{results['tiles_14x4_messages_ms']:.1f} and {results['tiles_14x4_messages_mqtt_ms']:.1f} ms"
    )


async def _stop(worker: Process) -> None:
    if worker.returncode is None:
        worker.kill()
        await worker.wait()


def _write(worker: Process, line: str) -> None:
    assert worker.stdin is not None
    worker.stdin.write(f"{line}\n".encode())


async def _line(worker: Process, expected: str, timeout_s: float) -> None:
    assert worker.stdout is not None
    async with asyncio.timeout(timeout_s):
        line = (await worker.stdout.readline()).decode().strip()
    if line != expected:
        raise RuntimeError(f"a worker of the tiles wrote {line!r} and not {expected!r}")


def main() -> None:
    """Measure, print and write the result."""
    options = argument_parser("tile_messages", __doc__, quick=f"{QUICK_REQUESTS} requests per way").parse_args()
    rows = asyncio.run(measure(QUICK_REQUESTS if options.quick else REQUESTS))
    results = results_of(rows)
    console().print(table(rows))
    console().print(headline(results))
    write(options.out, {"rows": rows, "results": results, "headline": headline(results)})


if __name__ == "__main__":
    main()
