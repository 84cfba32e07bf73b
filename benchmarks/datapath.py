"""The data path: hops by every transport beside raw TCP, rates, latency and processor time under load, and peers.

    python -m benchmarks.datapath [--quick] [--out FILE] [--requests N]

Three pairs of executor processes share one broker (Mosquitto if it is installed). They differ in their transport: the
broker, direct TCP, and a Unix socket with shared memory. Nothing is emulated. A model of two cheap segments has a
boundary tensor of 50 kB or 3.2 MB, and one request is in flight. "Hop" is the time from the start of the first
executor's send to the decoded tensor in the second. "Total" is the time from the client's publication to the outcome at
the client; requests and outcomes travel through the broker in all three. Rounds of all ways and of raw TCP alternate,
so that other work on the machine disturbs them alike.

The same executors then run a tiny model on one device and on two, with 16 requests in flight, for the largest rate of a
stream, and the 50 kB model at 100 requests per second, for the latencies' upper end. A fleet of three devices with
monitors and a collector runs three stages at 100 requests per second: "CPU" is the processor time of all its processes
and of the broker per request, beyond that of the idle fleet. `benchmarks.tile_messages` measures the lane for small
feature maps. `benchmarks.peers` runs last, with the peers that are
installed. "Timers late" is how late sleeps of a millisecond end before and after: the noise of the machine.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.table import Table

from benchmarks import peers, tile_messages
from benchmarks.bus_overhead import CUT, TcpYardstick, write_model
from benchmarks.datapath_load import (
    RATE_HZ,
    StreamClient,
    measure_fleet,
    measure_rates,
    serve_route,
    steady_ms,
    steady_row,
    timer_lateness_ms,
)
from benchmarks.fleet_harness import FleetHarness
from benchmarks.report import argument_parser, console, percentile, spread, write
from broker.embedded import EmbeddedBroker
from broker.mosquitto import MosquittoBroker, find_mosquitto
from broker.process import BrokerProcess
from services.cli.testbed import command_lines
from services.cli.testbed.processes import Processes
from shared.bus.settings import BusSettings
from shared.messages.models import Manifest
from shared.messages.requests import Outcome, OutcomeStatus
from shared.transport_mode import Carrier, TransportMode

MQTT, DIRECT, MEMFD = WAYS = "mqtt", "direct", "memfd"
# Channels of the boundary tensor, each of 56 x 56 x 4 bytes, and the name of the size.
SIZES: Final = {"50kB": 4, "3200kB": 256}
STEADY_SIZE: Final = "50kB"
REQUESTS, QUICK_REQUESTS = 200, 40
ROUNDS: Final = 4
WARM_UP: Final = 10
# Requests after which a source dispatches first attempts beside its journal.
FIRST: Final = 128
# Length of a measurement under load.
LOAD_S, QUICK_LOAD_S = 20.0, 5.0


def devices_of(way: str) -> tuple[str, str]:
    """Return the names of both executors of one way, the source first."""
    return f"{way}-first", f"{way}-second"


def arguments(way: str, folder: Path) -> tuple[str, ...]:
    """Return the options of the executors of one way."""
    if way == MQTT:
        return ("--transport", TransportMode.MQTT.value)
    # Without a usable folder there is no Unix socket, and TCP is left.
    sockets = folder / "sockets" if way == MEMFD else Path("/proc/no/folder")
    options = ("--transport", TransportMode.DIRECT.value, "--direct-host", "127.0.0.1")
    return (*options, "--direct-folder", str(sockets))


@dataclass(slots=True)
class Pair:
    """Two executors, a stream over both, and what was measured on it.

    Attributes:
        way: how feature maps travel.
        hop_ms: from the start of the send to the decoded tensor.
        total_ms: from the client's publication to the outcome at the client.
    """

    way: str
    client: StreamClient
    hop_ms: list[float] = field(default_factory=list)
    total_ms: list[float] = field(default_factory=list)

    async def warm_up(self, payload: bytes) -> None:
        """Submit requests until the source dispatches first attempts beside its journal."""
        for _ in range(FIRST):
            await self.client.ask(payload)

    async def measure(self, payload: bytes, count: int) -> None:
        """Submit requests one after the other, and decode their outcomes when all are there."""
        answers = [await self.client.ask(payload) for _ in range(WARM_UP + count)][WARM_UP:]
        self.total_ms += [answer.total_ms for answer in answers]
        self.hop_ms += [self._hop_ms(Outcome.decode(answer.outcome)) for answer in answers]

    def _hop_ms(self, outcome: Outcome) -> float:
        if outcome.status is not OutcomeStatus.OK:
            raise RuntimeError(f"{self.way}: {outcome.error}")
        first, second = outcome.trace
        carrier = Carrier.MQTT if self.way == MQTT else Carrier.DIRECT
        if first.transport is not carrier or first.sent_at_s is None:
            raise RuntimeError(f"{self.way}: a feature map was carried by {first.transport}")
        return 1000 * (second.received_at_s - first.sent_at_s)


@asynccontextmanager
async def opened_pairs(
    settings: BusSettings, manifest: Manifest, path: Path, payload: bytes
) -> AsyncIterator[list[Pair]]:
    """Put a route of every way in force, and open an application for each."""
    for way in WAYS:
        async with FleetHarness.open(settings, f"{way}-{manifest.name}", {manifest.model: path}) as harness:
            await serve_route(harness, manifest, devices_of(way), (CUT,), payload)
    # The harness decodes every message of the fleet: it is gone when applications measure.
    async with AsyncExitStack() as stack:
        pairs = []
        for way in WAYS:
            client = await stack.enter_async_context(StreamClient.open(settings, f"{way}-{manifest.name}"))
            pairs.append(Pair(way, client))
            await pairs[-1].warm_up(payload)
        yield pairs


async def measure_hops(pairs: Sequence[Pair], manifest: Manifest, payload: bytes, count: int) -> list[float]:
    """Measure every way and raw TCP with one size of the boundary; return the times of TCP in ms."""
    with TcpYardstick.open(manifest.blocks[CUT - 1].output_bytes) as yardstick:
        for _ in range(ROUNDS):
            await asyncio.to_thread(yardstick.measure, count // ROUNDS)
            for pair in pairs:
                await pair.measure(payload, count // ROUNDS)
        return yardstick.times_ms


async def measure_steady(pairs: Sequence[Pair], payload: bytes, duration_s: float) -> list[dict[str, Any]]:
    """Measure the latencies of every way at a fixed rate."""
    return [steady_row(pair.way, await steady_ms(pair.client, payload, RATE_HZ, duration_s)) for pair in pairs]


def new_broker() -> BrokerProcess:
    """Return Mosquitto if it is installed, else the embedded broker."""
    return EmbeddedBroker() if find_mosquitto() is None else MosquittoBroker()


async def measure(count: int, load_s: float) -> dict[str, Any]:
    """Measure everything but the peers; return the rows of each table by name."""
    payload = np.random.default_rng(0).standard_normal((1, 1, 56, 56)).astype(np.float32).tobytes()
    document: dict[str, Any] = {"rows": [], "noise": {"before": await timer_lateness_ms()}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = new_broker()
        async with broker, Processes(folder, command_lines.environment(broker.settings.address)) as processes:
            for way in WAYS:
                for device in devices_of(way):
                    data = ("executor", "--device", device, "--data-dir", str(folder))
                    await processes.start(device, (*data, *arguments(way, folder)))
            for size, channels in SIZES.items():
                manifest, path = write_model(channels, folder)
                async with opened_pairs(broker.settings, manifest, path, payload) as pairs:
                    tcp_ms = await measure_hops(pairs, manifest, payload, count)
                    document["rows"] += [row(size, pair, tcp_ms) for pair in pairs]
                    if size == STEADY_SIZE:
                        document["steady"] = await measure_steady(pairs, payload, load_s)
            devices = {way: devices_of(way) for way in WAYS}
            document["rates_hz"] = await measure_rates(broker.settings, folder, devices, load_s)
        document["fleet"] = await measure_fleet(new_broker(), folder / "fleet", payload, load_s)
    document["noise"]["after"] = await timer_lateness_ms()
    return document


def row(size: str, pair: Pair, tcp_ms: Sequence[float]) -> dict[str, Any]:
    """Return the figures of one size and way."""
    return {
        "size": size,
        "way": pair.way,
        "requests": len(pair.hop_ms),
        "hop_ms": spread(pair.hop_ms),
        "total_ms": spread(pair.total_ms),
        "raw_tcp_ms": spread(tcp_ms),
        "hop_over_raw_tcp": round(percentile(pair.hop_ms, 0.5) / percentile(tcp_ms, 0.5), 2),
    }


def results_of(document: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures by name, medians if the name says nothing else."""
    results: dict[str, float] = {}
    for each in document["rows"]:
        results[f"hop_{each['size']}_{each['way']}_ms"] = each["hop_ms"]["p50"]
        results[f"total_{each['size']}_{each['way']}_ms"] = each["total_ms"]["p50"]
        results[f"hop_ratio_{each['size']}_{each['way']}"] = each["hop_over_raw_tcp"]
    for each in document["steady"]:
        results[f"steady_{each['way']}_p99_ms"] = each["total_ms"]["p99"]
        results[f"steady_{each['way']}_worst_ms"] = each["worst_ms"]
    results |= {f"rate_{name}_hz": rate_hz for name, rate_hz in document["rates_hz"].items()}
    # Through the broker, as is the default.
    results["rate_two_devices_hz"] = document["rates_hz"][f"two_devices_{MQTT}"]
    results["cpu_per_request_ms"] = document["fleet"]["sum_ms"]
    return results | tile_messages.results_of(document["tiles"]) | peers.ratios(document["peers"])


def tables(document: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the figures as tables."""
    made = Table(title="a hop between two executors, ms (p50 / p99)")
    for heading in ("boundary", "way", "hop", "total", "raw TCP", "hop / raw TCP"):
        made.add_column(heading, justify="left" if heading == "way" else "right", no_wrap=True)
    for each in document["rows"]:
        pairs = [
            " / ".join(f"{value:.2f}" for value in each[key].values()) for key in ("hop_ms", "total_ms", "raw_tcp_ms")
        ]
        made.add_row(each["size"], each["way"], *pairs, f"{each['hop_over_raw_tcp']:.1f}")
    yield made
    made = Table(title=f"client to client at {RATE_HZ:g} requests/s of {STEADY_SIZE}, ms")
    for heading in ("way", "p50", "p99", "worst"):
        made.add_column(heading, justify="left" if heading == "way" else "right")
    for each in document["steady"]:
        made.add_row(each["way"], *(f"{value:.2f}" for value in (*each["total_ms"].values(), each["worst_ms"])))
    yield made
    made = Table(title="largest rate of a stream of the tiny model, requests/s")
    for name in document["rates_hz"]:
        made.add_column(name.replace("_", " "), justify="right")
    made.add_row(*(f"{rate_hz:.0f}" for rate_hz in document["rates_hz"].values()))
    yield made
    fleet = document["fleet"]
    made = Table(title=f"CPU per request at {RATE_HZ:g} requests/s, three devices, ms")
    for name in (*fleet["cpu_ms"], "sum", "client"):
        made.add_column(name, justify="right")
    made.add_row(*(f"{value:.2f}" for value in (*fleet["cpu_ms"].values(), fleet["sum_ms"], fleet["client_ms"])))
    yield made
    yield tile_messages.table(document["tiles"])
    yield peers.table(document["peers"])


def headline(results: Mapping[str, float]) -> str:
    """Return the result in one line."""
    ways = ", ".join(f"{way} {results[f'hop_ratio_3200kB_{way}']:.1f}" for way in WAYS)
    small = ", ".join(f"{way} {results[f'hop_50kB_{way}_ms']:.2f} ms" for way in WAYS)
    rates = f"{results['rate_one_device_hz']:.0f} and {results['rate_two_devices_hz']:.0f}"
    return (
        f"a hop of 3.2 MB over raw TCP: {ways}; of 50 kB: {small}; a tiny model on one device and on two: {rates} "
        f"requests/s; {results['cpu_per_request_ms']:.1f} ms of CPU per request on three devices"
    )


def noise_text(document: Mapping[str, Any]) -> str:
    """Return the noise of the machine in one line."""
    noise = document["noise"]
    parts = [f"{when} {each['p50']:.2f} / {each['p99']:.2f} / {each['worst']:.1f}" for when, each in noise.items()]
    return f"timers late, ms (p50 / p99 / worst): {', '.join(parts)}"


def main() -> None:
    """Measure, print and write the result."""
    quick = f"{QUICK_REQUESTS} requests per size and way, {QUICK_LOAD_S:g} s per load"
    parser = argument_parser("datapath", __doc__, quick=quick)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="per size and way (default: %(default)s)")
    options = parser.parse_args()
    count = QUICK_REQUESTS if options.quick else options.requests
    document = asyncio.run(measure(count, QUICK_LOAD_S if options.quick else LOAD_S))
    document["tiles"] = asyncio.run(tile_messages.measure(count))
    document["peers"] = peers.measure(peers.QUICK_REQUESTS if options.quick else peers.REQUESTS)
    results = results_of(document)
    for table in tables(document):
        console().print(table)
    console().print(noise_text(document))
    console().print(headline(results))
    console().print(tile_messages.headline(results))
    write(options.out, {**document, "results": results, "headline": headline(results)})


if __name__ == "__main__":
    main()
