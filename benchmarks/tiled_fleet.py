"""Tiled routes on a running fleet of four emulated devices: chosen by the planner, predicted and measured.

    python -m benchmarks.tiled_fleet [--quick] [--out FILE] [--model FILE] [--slowdowns A,B,C,D] [--mbps A,B,...]

The fleet runs whole: a broker, a planner, and four emulated devices with a monitor and an executor each. Photographs
arise at the first device. Every pair of devices has a link. When the devices have measured their tiles, policies make
the planner choose the best single device, the best route without tiles, and what `auto` finds. One request is in flight
at a time. Latencies are medians, from acceptance at the source to the result, in ms. They stand beside the prediction
from the profiles and the emulated conditions.
"""

import asyncio
import statistics
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.table import Table

import services.cli.data as demo_data
from benchmarks.emulated_fleet import RunningFleet, running_fleet
from benchmarks.prediction import predicted_latency_ms, true_problem
from benchmarks.report import argument_parser, console, write
from services.cli.testbed.fleet_description import (
    DeviceDescription,
    Fleet,
    LinkDescription,
    ModelDescription,
    StreamSetup,
)
from shared.messages.streams import route_text
from shared.policy import Policy
from shared.transport_mode import Carrier, TransportMode

DEMO_DATA: Final = Path(demo_data.__file__).parent
NAMES: Final = ("d1", "d2", "d3", "d4")
LATENCY_MS: Final = 1.0
# Slowdowns against this machine, so that emulated times are long beside the noise of a busy machine.
SLOWDOWNS: Final = (30.0, 30.0, 30.0, 30.0)
BANDWIDTHS_MBPS: Final = (1000.0, 200.0, 50.0, 20.0)
REQUESTS, QUICK_REQUESTS = 10, 5
TILES_S: Final = 300.0
# Time in which monitors learn a new bandwidth, and how far their estimates may be off then.
LINKS_S: Final = 180.0
TOLERANCE: Final = 0.3
POLICIES: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("single", {"max_devices": 1}),
    ("sequential", {"strategy": "shortest_path"}),
    ("auto", {}),
)


@dataclass(frozen=True, slots=True)
class TiledRun:
    """Predicted and measured latency of a route, in ms.

    Attributes:
        way: which routes the planner could choose from.
    """

    bandwidth_mbps: float
    way: str
    strategy: str
    route: str
    predicted_ms: float
    measured_ms: float

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return self.predicted_ms / self.measured_ms - 1


def four_devices(model: Path, slowdowns: Sequence[float], bandwidth_mbps: float) -> Fleet:
    """Return the description of the fleet."""
    pairs = [(one, other) for place, one in enumerate(NAMES) for other in NAMES[place + 1 :]]
    return Fleet(
        model=ModelDescription(str(model)),
        stream=StreamSetup(source=NAMES[0], images=(str(DEMO_DATA / "photos" / "*.jpg"),), in_flight=1),
        devices={name: DeviceDescription(slowdown) for name, slowdown in zip(NAMES, slowdowns, strict=True)},
        links=tuple(LinkDescription(pair, bandwidth_mbps, LATENCY_MS) for pair in pairs),
        policy=Policy(),
        transport=TransportMode.AUTO,
    )


async def measure(
    model: Path, slowdowns: Sequence[float], bandwidths_mbps: Sequence[float], requests: int
) -> list[TiledRun]:
    """Run the fleet under every bandwidth and policy."""
    runs: list[TiledRun] = []
    with tempfile.TemporaryDirectory() as folder:
        fleet = four_devices(model, slowdowns, bandwidths_mbps[0])
        async with running_fleet(fleet, Path(folder), Path(folder) / "run") as running:
            await running.harness.until(lambda: has_tiles(running), "tiles are measured", TILES_S)
            for bandwidth_mbps in bandwidths_mbps:
                links = {
                    pair: replace(link, bandwidth_mbps=bandwidth_mbps)
                    for pair, link in running.conditions.links.items()
                }
                await running.emulate(replace(running.conditions, links=links))
                await running.harness.until(lambda: knows_links(running), "monitors know the links", LINKS_S)
                async for run in ways(running, bandwidth_mbps, requests):
                    runs.append(run)
                    console().print(line(run), soft_wrap=True)
    return runs


def has_tiles(running: RunningFleet) -> bool:
    """Return whether every device has measured tiles."""
    profiles = running.harness.profiles(running.workload.manifest)
    return len(profiles) == len(NAMES) and all(profile.row_times is not None for profile in profiles.values())


def knows_links(running: RunningFleet) -> bool:
    """Return whether every device's newest estimate of every link is near the emulated bandwidth."""
    true, newest = running.conditions.links, {}
    for device in running.harness.view.devices.values():
        for link in () if device.links is None else device.links.links:
            if link.transport is Carrier.DIRECT:
                newest[device.name, link.target] = link.bandwidth_mbps
    return all(
        pair in newest and abs(newest[pair] / link.bandwidth_mbps - 1) <= TOLERANCE for pair, link in true.items()
    )


async def ways(running: RunningFleet, bandwidth_mbps: float, requests: int) -> AsyncIterator[TiledRun]:
    """Yield the result of every policy."""
    payloads = running.workload.payloads
    for way, policy in POLICIES:
        # A large gain and a long cooldown keep the route while it is measured.
        await running.force({**policy, "codec": "lossless", "min_gain": 1.0, "cooldown_ms": 600_000.0})
        plan = running.plan
        await running.harness.reach(payloads[0], plan.epoch)
        outcomes = [await running.harness.ask(payloads[number % len(payloads)]) for number in range(requests)]
        own = [each for each in outcomes if each.epoch == plan.epoch]
        if not own:
            raise RuntimeError(f"{way}: no request ran on {route_text(plan.routes[0])}")
        problem = true_problem(running, statistics.median(map(len, payloads)))
        yield TiledRun(
            bandwidth_mbps,
            way,
            plan.strategy,
            route_text(plan.routes[0]),
            predicted_latency_ms(problem, plan.routes[0]),
            statistics.median(1000 * (each.completed_at_s - each.accepted_at_s) for each in own),
        )


def line(run: TiledRun) -> str:
    """Return a result as a line of text."""
    return (
        f"{run.bandwidth_mbps:6g} Mbps {run.way:11}{run.predicted_ms:9.1f}{run.measured_ms:9.1f}{run.error:+8.1%}  "
        f"{run.strategy}  {run.route}"
    )


def summary(runs: Sequence[TiledRun]) -> dict[str, Any]:
    """Return the mean error of predictions, and where tiles were chosen and what they gained."""
    chosen = {}
    for bandwidth_mbps in dict.fromkeys(run.bandwidth_mbps for run in runs):
        own = {run.way: run for run in runs if run.bandwidth_mbps == bandwidth_mbps}
        whole, auto = min(own["single"].measured_ms, own["sequential"].measured_ms), own["auto"]
        chosen[f"{bandwidth_mbps:g}"] = {"tiles": ":" in auto.route, "measured_gain": whole / auto.measured_ms}
    return {"mean_error": statistics.fmean(abs(run.error) for run in runs), "chosen": chosen}


def headline(results: dict[str, Any]) -> str:
    """Summarise the results in one line."""
    parts = (
        f"{mbps} Mbps: {'tiles' if found['tiles'] else 'no tiles'}, {found['measured_gain']:.2f} x"
        for mbps, found in results["chosen"].items()
    )
    return f"auto against the best route without tiles, measured: {'; '.join(parts)}; predictions off by " + (
        f"{results['mean_error']:.1%} on average"
    )


def table(runs: Sequence[TiledRun]) -> Table:
    """Return the results as a table."""
    result = Table(title="latency of one request alone, ms")
    for heading in ("Mbps", "way", "predicted", "measured", "error", "route"):
        result.add_column(heading, justify="left" if heading in ("way", "route") else "right", overflow="fold")
    for run in runs:
        times = (f"{run.predicted_ms:.1f}", f"{run.measured_ms:.1f}", f"{run.error:+.1%}")
        result.add_row(f"{run.bandwidth_mbps:g}", run.way, *times, run.route)
    return result


def main() -> None:
    """Measure, print, write."""
    parser = argument_parser("tiled_fleet", __doc__, quick=f"two bandwidths, {QUICK_REQUESTS} requests each")
    parser.add_argument("--model", type=Path, default=DEMO_DATA / "squeezenet1.1.onnx", help="ONNX file")
    parser.add_argument("--slowdowns", type=numbers, default=SLOWDOWNS, help="of the four devices: 80,40,20,10")
    parser.add_argument("--mbps", type=numbers, default=BANDWIDTHS_MBPS, help="bandwidths of the links: 1000,20")
    options = parser.parse_args()
    bandwidths, requests = options.mbps, REQUESTS
    if options.quick:
        bandwidths, requests = (bandwidths[0], bandwidths[-1]), QUICK_REQUESTS
    runs = asyncio.run(measure(options.model.absolute(), options.slowdowns, bandwidths, requests))
    results = summary(runs)
    console().print(table(runs))
    console().print(headline(results))
    document = {"slowdowns": options.slowdowns, "runs": [asdict(run) for run in runs], **results}
    write(options.out, {**document, "headline": headline(results)})


def numbers(text: str) -> tuple[float, ...]:
    """Return numbers that commas separate.

    Raises:
        ValueError: one is no number.
    """
    return tuple(map(float, text.split(",")))


if __name__ == "__main__":
    main()
