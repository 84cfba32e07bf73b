"""A hop between two executors by every transport, beside raw TCP, in one run.

    python -m benchmarks.datapath [--quick] [--out FILE] [--requests N]

Three pairs of executor processes share one broker (Mosquitto if it is installed). They differ in their transport: the
broker, direct TCP, and a Unix socket with shared memory. Nothing is emulated. A model of two cheap segments has a
boundary tensor of 50 kB or 3.2 MB, and one request is in flight. "Hop" is the time from the start of the first
executor's send to the decoded tensor in the second. "Total" is the time from the client's publication to the outcome at
the client; requests and outcomes travel through the broker in all three. Rounds of all ways and of raw TCP alternate,
so that other work on the machine disturbs them alike.
"""

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.table import Table

from benchmarks.bus_overhead import CUT, TcpYardstick, write_model
from benchmarks.fleet_harness import FleetHarness
from benchmarks.report import argument_parser, console, percentile, spread, write
from broker.embedded import EmbeddedBroker
from broker.mosquitto import MosquittoBroker, find_mosquitto
from broker.process import BrokerProcess
from services.cli.testbed import command_lines
from services.cli.testbed.processes import Processes
from shared.bus.settings import BusSettings
from shared.messages.models import Manifest
from shared.messages.requests import Outcome
from shared.messages.streams import PlanRoute, PlanStage
from shared.transport_mode import Carrier, TransportMode

MQTT, DIRECT, MEMFD = "mqtt", "direct", "memfd"
# Channels of the boundary tensor, each of 56 x 56 x 4 bytes, and the name of the size.
SIZES: Final = {"50kB": 4, "3200kB": 256}
REQUESTS, QUICK_REQUESTS = 200, 40
ROUNDS: Final = 4
WARM_UP: Final = 10


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
    harness: FleetHarness
    carrier: Carrier
    hop_ms: list[float] = field(default_factory=list)
    total_ms: list[float] = field(default_factory=list)

    @property
    def devices(self) -> tuple[str, str]:
        """Return the names of both executors, the source first."""
        return f"{self.way}-first", f"{self.way}-second"

    async def begin(self, manifest: Manifest, payload: bytes) -> None:
        """Put the route over both executors in force."""
        first, second = self.devices
        await self.harness.begin(manifest, first, self.devices)
        stages = (
            PlanStage(start=0, stop=CUT, device=first),
            PlanStage(start=CUT, stop=len(manifest.blocks), device=second),
        )
        epoch = await self.harness.commit(manifest, first, [PlanRoute(stages=stages)])
        await self.harness.reach(payload, epoch)

    async def measure(self, payload: bytes, count: int) -> None:
        """Submit requests one after the other."""
        for number in range(WARM_UP + count):
            started_s = time.monotonic()
            outcome = await self.harness.ask(payload)
            if number >= WARM_UP:
                self.total_ms.append(1000 * (time.monotonic() - started_s))
                self.hop_ms.append(self._hop_ms(outcome))

    def _hop_ms(self, outcome: Outcome) -> float:
        first, second = outcome.trace
        if first.transport is not self.carrier or first.sent_at_s is None:
            raise RuntimeError(f"{self.way}: a feature map was carried by {first.transport}")
        return 1000 * (second.received_at_s - first.sent_at_s)


async def measure_size(
    settings: BusSettings, manifest: Manifest, path: Path, payload: bytes, count: int
) -> tuple[list[Pair], list[float]]:
    """Measure every way and raw TCP with one size of the boundary; return the pairs and the times of TCP in ms."""
    async with AsyncExitStack() as stack:
        pairs = []
        for way in (MQTT, DIRECT, MEMFD):
            opening = FleetHarness.open(settings, f"{way}-{manifest.name}", {manifest.model: path})
            harness = await stack.enter_async_context(opening)
            pairs.append(Pair(way, harness, Carrier.MQTT if way == MQTT else Carrier.DIRECT))
            await pairs[-1].begin(manifest, payload)
        with ExitStack() as opened:
            yardstick = opened.enter_context(TcpYardstick.open(manifest.blocks[CUT - 1].output_bytes))
            for _ in range(ROUNDS):
                await asyncio.to_thread(yardstick.measure, count // ROUNDS)
                for pair in pairs:
                    await pair.measure(payload, count // ROUNDS)
        return pairs, yardstick.times_ms


async def measure(count: int) -> list[dict[str, Any]]:
    """Measure every size; return a row per size and way."""
    broker: BrokerProcess = EmbeddedBroker() if find_mosquitto() is None else MosquittoBroker()
    payload = np.random.default_rng(0).standard_normal((1, 1, 56, 56)).astype(np.float32).tobytes()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with broker, Processes(folder, command_lines.environment(broker.settings.address)) as processes:
            for way in (MQTT, DIRECT, MEMFD):
                for device in (f"{way}-first", f"{way}-second"):
                    data = ("executor", "--device", device, "--data-dir", str(folder))
                    await processes.start(device, (*data, *arguments(way, folder)))
            for size, channels in SIZES.items():
                manifest, path = write_model(channels, folder)
                pairs, tcp_ms = await measure_size(broker.settings, manifest, path, payload, count)
                rows += [row(size, pair, tcp_ms) for pair in pairs]
    return rows


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


def results_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the figures by name, medians."""
    results: dict[str, float] = {}
    for each in rows:
        results[f"hop_{each['size']}_{each['way']}_ms"] = each["hop_ms"]["p50"]
        results[f"total_{each['size']}_{each['way']}_ms"] = each["total_ms"]["p50"]
        results[f"hop_ratio_{each['size']}_{each['way']}"] = each["hop_over_raw_tcp"]
    return results


def table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the figures as a table."""
    made = Table(title="a hop between two executors, ms (p50 / p99)")
    for heading in ("boundary", "way", "hop", "total", "raw TCP", "hop / raw TCP"):
        made.add_column(heading, justify="left" if heading == "way" else "right", no_wrap=True)
    for each in rows:
        pairs = [
            " / ".join(f"{value:.2f}" for value in each[key].values()) for key in ("hop_ms", "total_ms", "raw_tcp_ms")
        ]
        made.add_row(each["size"], each["way"], *pairs, f"{each['hop_over_raw_tcp']:.1f}")
    return made


def headline(results: Mapping[str, float]) -> str:
    """Return the result in one line."""
    ways = ", ".join(f"{way} {results[f'hop_ratio_3200kB_{way}']:.1f}" for way in (MQTT, DIRECT, MEMFD))
    small = ", ".join(f"{way} {results[f'hop_50kB_{way}_ms']:.2f} ms" for way in (MQTT, DIRECT, MEMFD))
    return f"a hop of 3.2 MB over raw TCP: {ways}; of 50 kB: {small}"


def main() -> None:
    """Measure, print and write the result."""
    parser = argument_parser("datapath", __doc__, quick=f"{QUICK_REQUESTS} requests per size and way")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="per size and way (default: %(default)s)")
    options = parser.parse_args()
    rows = asyncio.run(measure(QUICK_REQUESTS if options.quick else options.requests))
    results = results_of(rows)
    console().print(table(rows))
    console().print(headline(results))
    write(options.out, {"rows": rows, "results": results, "headline": headline(results)})


if __name__ == "__main__":
    main()
