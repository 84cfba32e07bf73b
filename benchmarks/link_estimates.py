"""Estimates of links against the truth for kinds of links, and the traffic of probes per day and link.

    python -m benchmarks.link_estimates [--quick] [--out FILE] [--seconds S] [--busy N]

Two real monitors on a real broker probe each other. One reaches the broker through a proxy (`shaped_proxy`) that limits
both directions. The estimates that the monitors publish are compared with the limits. "proxy late" is the 95th
percentile of the delay that the proxy itself adds when this machine is busy: a long one means that the link was not the
one described. `--busy N` runs N busy loops beside it. Traffic per day is that of the prober in simulated time, with a
settled link of exactly known rate.
"""

import asyncio
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from rich.table import Table

from benchmarks.report import argument_parser, console, machine, percentile, write
from benchmarks.shaped_proxy import LinkShape, Shaper, shaped
from broker.embedded import EmbeddedBroker
from services.monitor.link_prober import LinkProber
from services.monitor.probe_budget import DAY_S, OVERHEAD_BYTES
from services.monitor.probe_settings import ProbeSettings, SendProbe
from shared.bus import topics
from shared.bus.connection import Connection
from shared.link_time import bandwidth_of_mbps, bytes_within, transmission_ms
from shared.messages.devices import LinkEstimate, Links, Presence, State
from shared.messages.streams import StreamDeclaration

SECONDS, QUICK_SECONDS = 40.0, 12.0
# The first estimates are made while processes start.
WARM_UP_S: Final = 8.0
NEAR, FAR = "near", "far"

_MONITOR = (
    "import asyncio, sys; from services.monitor.config import MonitorConfig; "
    "from services.monitor.service import serve; from shared.bus.settings import BusSettings; "
    "asyncio.run(serve(MonitorConfig(sys.argv[1], BusSettings.from_address(sys.argv[2]))))"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of link: the two directions of the far device's connection."""

    name: str
    up: LinkShape
    down: LinkShape


def _same(name: str, shape: LinkShape) -> Kind:
    return Kind(name, shape, shape)


KINDS: Final = (
    _same("slow", LinkShape(1.0, 5.0)),
    _same("fast", LinkShape(200.0, 1.0)),
    _same("token bucket, 16 kB", LinkShape(20.0, 5.0, burst_bytes=16 * 1024)),
    _same("token bucket, 256 kB", LinkShape(20.0, 5.0, burst_bytes=256 * 1024)),
    _same("long delay", LinkShape(50.0, 100.0)),
    _same("lossy, jittery", LinkShape(20.0, 10.0, jitter_ms=3.0, lost=0.002)),
    Kind("asymmetric", LinkShape(100.0, 20.0), LinkShape(5.0, 20.0)),
)


async def measure(kind: Kind, duration_s: float) -> dict[str, Any]:
    """Run two monitors over a kind of link, and compare their estimates with it."""
    up, down = Shaper(kind.up), Shaper(kind.down)
    seen: dict[str, list[LinkEstimate]] = {NEAR: [], FAR: []}
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(EmbeddedBroker())
        connection = await stack.enter_async_context(Connection.open(broker.settings))
        port = await stack.enter_async_context(shaped(broker.settings.port, up, down))
        await connection.subscribe(topics.links.any)
        for name in (NEAR, FAR):
            presence = Presence(device=name, state=State.ONLINE, boot_id="benchmark")
            await connection.publish(topics.presence(name), presence.encode(), retain=True)
        declaration = StreamDeclaration(stream="s", model="m", source=FAR)
        await connection.publish(topics.stream("s"), declaration.encode(), retain=True)
        addresses = {NEAR: broker.settings.address, FAR: f"mqtt://127.0.0.1:{port}"}
        processes = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", _MONITOR, name, address)
            for name, address in addresses.items()
        ]
        stack.push_async_callback(_stop, processes)
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + WARM_UP_S + duration_s
        before_bytes = 0
        while (left_s := ends_s - loop.time()) > 0:
            if left_s > duration_s:
                before_bytes = up.passed_bytes
            try:
                async with asyncio.timeout(min(left_s, 0.5)):
                    received = await anext(connection)
            except TimeoutError:
                continue
            if left_s <= duration_s and received.payload:
                links = Links.decode(received.payload)
                seen[links.device] += links.links
        share = bandwidth_of_mbps(up.passed_bytes - before_bytes, 1000 * duration_s) / kind.up.bandwidth_mbps
    return {
        "kind": kind.name,
        "up": _compared(seen[FAR], kind.up, kind),
        "down": _compared(seen[NEAR], kind.down, kind),
        "share_of_the_link": round(share, 4),
        "proxy_late_ms": round(percentile([*up.late_ms, *down.late_ms], 0.95), 1),
        "load_average": machine()["load_average"],
    }


def _compared(estimates: Sequence[LinkEstimate], shape: LinkShape, kind: Kind) -> dict[str, float]:
    """Return median and extremes of the estimates over the truth."""
    ratios = [each.bandwidth_mbps / shape.bandwidth_mbps for each in estimates]
    # A monitor takes half of the round trip for the latency of both ways.
    delay_ms = (kind.up.delay_ms + kind.down.delay_ms) / 2
    if not ratios:
        return {"bandwidth_mbps": shape.bandwidth_mbps, "count": 0}
    return {
        "bandwidth_mbps": shape.bandwidth_mbps,
        "count": len(ratios),
        "median": round(statistics.median(ratios), 2),
        "p5": round(percentile(ratios, 0.05), 2),
        "p95": round(percentile(ratios, 0.95), 2),
        "latency_excess_ms": round(statistics.median(each.latency_ms for each in estimates) - delay_ms, 1),
    }


async def _stop(processes: Sequence[asyncio.subprocess.Process]) -> None:
    for process in processes:
        if process.returncode is None:
            process.kill()
    await asyncio.gather(*(process.wait() for process in processes))


def bytes_per_day(bandwidth_mbps: float, *, is_used: bool, is_metered: bool = False, for_s: float = DAY_S) -> float:
    """Return the bytes per day that a monitor sends on one idle link, overhead included, in simulated time."""
    prober = LinkProber(NEAR, ProbeSettings(is_metered=is_metered))
    prober.device_online(FAR, "1", 0.0)
    prober.monitor_online(FAR, 0.0)
    if is_used:
        prober.stream_seen("s", 0.0, is_declared=True)
    now_s, sent_bytes = 0.0, 0.0
    while now_s < for_s:
        probe: SendProbe | None = prober.tick(now_s)
        while probe is not None:
            sent_bytes += probe.padding_bytes + OVERHEAD_BYTES
            now_s += 0.01 + transmission_ms(probe.padding_bytes, bandwidth_mbps) / 1000
            probe = prober.echoed(probe.target, probe.probe_id, now_s)
        now_s = prober.next_tick_s(now_s)
    return sent_bytes * DAY_S / for_s


def traffic() -> list[dict[str, Any]]:
    """Return the traffic of probes per day for links of several rates."""
    return [
        {
            "bandwidth_mbps": mbps,
            "no_stream_mb": round(bytes_per_day(mbps, is_used=False) / 1e6, 1),
            "stream_mb": round(bytes_per_day(mbps, is_used=True, for_s=DAY_S / 24) / 1e6, 1),
            "metered_mb": round(bytes_per_day(mbps, is_used=True, is_metered=True, for_s=DAY_S / 24) / 1e6, 1),
            "link_mb": round(bytes_within(1000 * DAY_S, mbps) / 1e6),
        }
        for mbps in (1.0, 20.0, 200.0, 1000.0)
    ]


async def run(kinds: Sequence[Kind], duration_s: float, busy: int) -> dict[str, Any]:
    """Measure every kind, beside busy loops."""
    hogs = [await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass") for _ in range(busy)]
    try:
        return {"busy_loops": busy, "kinds": [await measure(kind, duration_s) for kind in kinds]}
    finally:
        await _stop(hogs)


def show(results: Mapping[str, Any]) -> None:
    """Print both tables."""
    table = Table("kind", "way", "Mbps", "median", "5 %", "95 %", "latency", "probes' share", "proxy late", "load")
    for row in results["kinds"]:
        for way in ("up", "down"):
            found = row[way]
            cells = [str(found.get(key, "-")) for key in ("median", "p5", "p95", "latency_excess_ms")]
            share = f"{row['share_of_the_link']:.2%}" if way == "up" else ""
            about = (share, f"{row['proxy_late_ms']:g} ms", f"{row['load_average']:g}")
            table.add_row(row["kind"], way, f"{found['bandwidth_mbps']:g}", *cells, *about)
    console().print(table)
    day = Table("Mbps", "no stream, MB/day", "a stream, MB/day", "metered, MB/day", "link's capacity, MB/day")
    for row in results["traffic"]:
        day.add_row(*(f"{value:g}" for value in row.values()))
    console().print(day)


def headline(results: Mapping[str, Any]) -> str:
    """Summarise the results in one line."""
    medians = [row[way]["median"] for row in results["kinds"] for way in ("up", "down") if "median" in row[way]]
    idle_mb = max(row["no_stream_mb"] for row in results["traffic"])
    return (
        f"estimates of {len(results['kinds'])} kinds of links are {min(medians):.2f} to {max(medians):.2f} of the "
        f"truth (medians); an unused link costs at most {idle_mb:.0f} MB per day"
    )


def main() -> None:
    """Measure, print, write."""
    parser = argument_parser("link_estimates", __doc__, quick=f"{QUICK_SECONDS:g} seconds per kind")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="per kind (default: %(default)s)")
    parser.add_argument("--busy", type=int, default=0, help="busy loops beside it (default: %(default)s)")
    parser.add_argument("--kind", action="append", help="only kinds whose name begins like this")
    options = parser.parse_args()
    kinds = [kind for kind in KINDS if not options.kind or kind.name.startswith(tuple(options.kind))]
    results = asyncio.run(run(kinds, QUICK_SECONDS if options.quick else options.seconds, options.busy))
    results |= {"traffic": traffic()}
    show(results)
    console().print(headline(results))
    write(options.out, {"headline": headline(results), **results})


if __name__ == "__main__":
    main()
