"""Sustained rate (requests per second) of pipelines, against the bottleneck's bound and the best single device.

    python -m benchmarks.throughput [--quick] [--out FILE] [--requests N]

Emulated devices run SqueezeNet 1.1 behind the embedded broker. Slow ones sleep, so that two cores carry a fleet. The
benchmark acts as the planner. It solves the problem (measured profiles, emulated conditions, objective throughput) with
`auto` and commits the answer. Then it does the same with every device alone. All photographs are submitted as one
burst. The rate is between two completions in the middle of the run.

The bound is 1000 / the longest busy time (ms) per request of any device's computing or sending, by the cost model. The
additional time of the bus is measured first and counts as latency of the links, as a monitor would report it.
"""

import asyncio
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.emulated_fleet import demo_fleet
from benchmarks.fleet_harness import BenchmarkFailed, FleetHarness, problem_of, true_links
from benchmarks.report import argument_parser, console, write
from broker.embedded import EmbeddedBroker
from planning.problem.plan import Infeasible
from planning.problem.problem import Problem
from planning.strategies import solve
from services.cli.testbed import command_lines
from services.cli.testbed.conditions import emulations, usual_conditions
from services.cli.testbed.fleet_description import DeviceDescription, Fleet, LinkDescription
from services.cli.testbed.processes import Processes
from services.cli.testbed.workload import Workload, read_workload
from services.planner.decisions.committed_routes import describe_routes, to_message
from shared.bus import topics
from shared.link_time import transfer_ms
from shared.messages.streams import PlanRoute, PlanStage
from shared.policy import DeviceRule, Objective, Policy

REQUESTS, QUICK_REQUESTS = 150, 50
IN_FLIGHT: Final = 16
SINGLE_REQUESTS: Final = 20
AUTO: Final = "auto"
PAIRS: Final = (("camera", "helper"), ("camera", "server"), ("helper", "server"))


@dataclass(frozen=True, slots=True)
class ThroughputRow:
    """One way to run in one fleet: rates in requests per second, and the number of retried requests."""

    fleet: str
    way: str
    route: str
    bound_hz: float
    measured_hz: float
    retried: int


def fleets() -> tuple[tuple[str, Fleet], ...]:
    """Return the demo's fleet, and one of three equal devices with fast and with slow links."""
    demo, _ = demo_fleet()
    equal = {name: DeviceDescription(slowdown=16.0) for name in demo.devices}
    fast = tuple(LinkDescription(pair, 200.0, 1.0) for pair in PAIRS)
    slow = tuple(LinkDescription(pair, 20.0, 5.0) for pair in PAIRS)
    return (
        ("the demo's", demo),
        ("three equal devices, 200 Mbps", replace(demo, devices=equal, links=fast)),
        ("three equal devices, 20 Mbps", replace(demo, devices=equal, links=slow)),
    )


def best_routes(problem: Problem, allow: tuple[str, ...] | None) -> tuple[tuple[PlanRoute, ...], float] | None:
    """Return the routes with the best sustained rate on the allowed devices, and that rate; none without a route."""
    policy = Policy(objective=Objective.THROUGHPUT, devices=DeviceRule(allow=allow))
    problem = replace(problem, policy=policy)
    plan = solve(problem)
    if isinstance(plan, Infeasible) or plan.predicted.throughput_hz is None:
        return None
    return to_message(problem, plan.streams["stream"]), plan.predicted.throughput_hz


async def rate_hz(harness: FleetHarness, workload: Workload, epoch: int, requests: int) -> tuple[float, int]:
    """Submit all requests as one burst.

    Returns:
        The rate of completions, without those at the start and the end of the run, and the number of retried requests.
    """
    await harness.reach(workload.payloads[0], epoch)
    payloads = workload.payloads
    submitted = [await harness.submit(payloads[number % len(payloads)]) for number in range(requests)]
    outcomes = [await harness.outcome(request_id) for request_id in submitted]
    completed_s = sorted(outcome.completed_at_s for outcome in outcomes)
    aside = min(IN_FLIGHT, requests // 5)
    rate = (requests - 2 * aside - 1) / (completed_s[-aside - 1] - completed_s[aside])
    return rate, sum(outcome.attempt > 1 for outcome in outcomes)


async def bus_ms(harness: FleetHarness, workload: Workload, fleet: Fleet) -> float:
    """Return the median time of a feature map's transfer beyond that of its emulated link, in ms."""
    manifest, source = workload.manifest, fleet.stream.source
    link = next(link for link in true_links(usual_conditions(fleet)) if link.source == source)
    middle = len(manifest.blocks) // 2
    stages = ((0, middle, source), (middle, len(manifest.blocks), link.target))
    route = PlanRoute(stages=tuple(PlanStage(start=a, stop=b, device=device) for a, b, device in stages))
    await harness.reach(workload.payloads[0], await harness.commit(manifest, source, (route,)))
    added_ms = []
    for number in range(SINGLE_REQUESTS):
        sender, receiver = (await harness.ask(workload.payloads[number % len(workload.payloads)])).trace
        if sender.sent_at_s is None:
            raise BenchmarkFailed(f"no transfer from {source} to {link.target}")
        sending_ms = transfer_ms(sender.output_bytes, link.latency_ms, link.bandwidth_mbps)
        added_ms.append(1000 * (receiver.received_at_s - sender.sent_at_s) - sending_ms)
    return max(0.0, statistics.median(added_ms))


async def measure_fleet(
    harness: FleetHarness, workload: Workload, name: str, fleet: Fleet, requests: int
) -> list[ThroughputRow]:
    """Measure every device alone, and the routes of `auto` over all of them."""
    conditions = usual_conditions(fleet)
    for emulation in emulations(fleet, conditions):
        await harness.connection.publish(topics.emulation(emulation.device), emulation.encode(), retain=True)
    source, manifest = fleet.stream.source, workload.manifest
    await harness.until(lambda: slowdowns_are_seen(harness, workload, fleet), "profiles of the emulated devices")
    input_bytes = statistics.fmean(map(len, workload.payloads))
    added_ms = await bus_ms(harness, workload, fleet)
    print(f"{name}: the bus adds {added_ms:.1f} ms to a transfer", flush=True)
    links = [replace(link, latency_ms=link.latency_ms + added_ms) for link in true_links(conditions)]
    problem = problem_of(manifest, harness.profiles(manifest), links, conditions.load, source, input_bytes)
    rows = []
    for way, allow in (*((f"{device} alone", (device,)) for device in fleet.devices), (AUTO, None)):
        best = best_routes(problem, allow)
        if best is None:
            continue
        routes, bound_hz = best
        epoch = await harness.commit(manifest, source, routes, max_in_flight=IN_FLIGHT)
        measured_hz, retried = await rate_hz(harness, workload, epoch, requests)
        rows.append(ThroughputRow(name, way, describe_routes(routes), bound_hz, measured_hz, retried))
        print(line(rows[-1]), flush=True)
    return rows


def slowdowns_are_seen(harness: FleetHarness, workload: Workload, fleet: Fleet) -> bool:
    """Return whether the received profiles are in proportion to the slowdowns of the devices."""
    profiles = harness.profiles(workload.manifest)
    own_ms = [sum(profiles[name].block_ms) / device.slowdown for name, device in fleet.devices.items()]
    return max(own_ms) <= 1.001 * min(own_ms)


async def measure(requests: int) -> list[ThroughputRow]:
    """Measure every fleet on the same three executors."""
    demo, folder = demo_fleet()
    workload = await asyncio.to_thread(read_workload, demo, folder, folder)
    rows: list[ThroughputRow] = []
    with tempfile.TemporaryDirectory() as run_dir:
        async with (
            EmbeddedBroker() as broker,
            Processes(Path(run_dir), command_lines.environment(broker.settings.address)) as processes,
            FleetHarness.open(
                broker.settings, demo.stream.name, {workload.manifest.model: workload.model_file}
            ) as harness,
        ):
            for device in demo.devices:
                data = ("--data-dir", str(Path(run_dir) / "executors"))
                await processes.start(device, ("executor", "--device", device, *data, "--emulated"))
            await harness.begin(workload.manifest, demo.stream.source, tuple(demo.devices))
            for name, fleet in fleets():
                rows += await measure_fleet(harness, workload, name, fleet, requests)
    return rows


def line(row: ThroughputRow) -> str:
    """Return the results of one way as a line of text."""
    rates = f"{row.measured_hz:7.1f} of {row.bound_hz:6.1f} Hz {row.measured_hz / row.bound_hz:5.0%}"
    return f"{row.fleet:32}{row.way:14}{rates}  {row.route} ({row.retried} retried)"


def summary(rows: Sequence[ThroughputRow]) -> list[dict[str, Any]]:
    """Compare `auto` with the best single device, fleet by fleet."""
    results = []
    for fleet in dict.fromkeys(row.fleet for row in rows):
        chosen = [row for row in rows if row.fleet == fleet]
        (auto,) = (row for row in chosen if row.way == AUTO)
        single = max((row for row in chosen if row.way != AUTO), key=lambda row: row.measured_hz)
        results.append(
            {
                "fleet": fleet,
                "measured_hz": auto.measured_hz,
                "bound_hz": auto.bound_hz,
                "of_bound": auto.measured_hz / auto.bound_hz,
                "best_single": single.way,
                "best_single_hz": single.measured_hz,
                "over_best_single": auto.measured_hz / single.measured_hz,
            }
        )
    return results


def table(rows: Sequence[ThroughputRow], results: Sequence[dict[str, Any]]) -> Table:
    """Return the rows as a table."""
    over = {result["fleet"]: result["over_best_single"] for result in results}
    made = Table(title="sustained rate, requests per second", caption="single: over the best single device, measured")
    for heading in ("fleet", "way", "bound", "measured", "of bound", "single", "retried", "route"):
        made.add_column(heading, justify="left" if heading in ("fleet", "way", "route") else "right")
    for row in rows:
        ratio = f"{over[row.fleet]:.2f} x" if row.way == AUTO else ""
        rates = (f"{row.bound_hz:.1f}", f"{row.measured_hz:.1f}", f"{row.measured_hz / row.bound_hz:.0%}")
        made.add_row(row.fleet, row.way, *rates, ratio, str(row.retried), row.route)
    return made


def headline(results: Sequence[dict[str, Any]]) -> str:
    """Summarise the rates in one line."""
    parts = []
    for result in results:
        of_bound, over_single = result["of_bound"], result["over_best_single"]
        parts.append(f"{result['fleet']}: {of_bound:.0%} of the bound, {over_single:.2f} x the best single device")
    return "; ".join(parts)


def main() -> None:
    """Measure, print, write."""
    parser = argument_parser("throughput", __doc__, quick=f"{QUICK_REQUESTS} requests per route")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="per route (default: %(default)s)")
    options = parser.parse_args()
    rows = asyncio.run(measure(QUICK_REQUESTS if options.quick else options.requests))
    results = summary(rows)
    console().print(table(rows, results))
    console().print(headline(results))
    write(options.out, {"rows": [asdict(row) for row in rows], "fleets": results, "headline": headline(results)})


if __name__ == "__main__":
    main()
