"""Predicted against measured latency (ms) of routes on the demo's fleet.

    python -m benchmarks.prediction [--quick] [--out FILE] [--requests N]

The fleet of `segue demo` runs whole: a broker, a planner, and three emulated devices with a monitor and an executor
each. First, policies make the planner choose routes (allowed devices, strategy, objective, raw input stays on the
source). Then the planner is stopped, and the benchmark commits further routes, cut in the middle of the model and over
two and three devices. One request is in flight at a time, and each is one of the demo's photographs.

The median latency, from acceptance at the source to the result, is compared with two predictions from the executors'
idle profiles. The prediction `true` uses the emulated conditions, and `estimated` the monitors' links and loads at the
start of the measurement.
"""

import asyncio
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.emulated_fleet import RunningFleet, demo_fleet, running_fleet
from benchmarks.fleet_harness import problem_of
from benchmarks.report import argument_parser, console, percentile, write
from planning.cost.cost_model import CostModel
from planning.problem.problem import Link, Problem
from planning.queueing.operations import Work
from services.cli.testbed import command_lines
from services.planner.decisions.committed_routes import to_route
from shared.messages.requests import Outcome
from shared.messages.streams import PlanRoute, PlanStage, route_text

REQUESTS, QUICK_REQUESTS = 25, 10
# Time in which monitors observe the transfers of a new route before their estimates are read.
SETTLE_S: Final = 4.0

# Name and document. Policies that lead to a route measured before are skipped.
POLICIES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("none", {}),
    ("local_only", {"strategy": "local_only"}),
    ("remote_only", {"strategy": "remote_only"}),
    ("only helper", {"devices": {"allow": ["helper"]}}),
    ("only camera and helper, throughput", {"devices": {"allow": ["camera", "helper"]}, "objective": "throughput"}),
    ("throughput, 2 devices", {"objective": "throughput", "max_devices": 2}),
    ("throughput, stays on source", {"objective": "throughput", "raw_input_stays_on_source": True}),
    ("stays on source", {"raw_input_stays_on_source": True}),
    ("stays on source, not server", {"raw_input_stays_on_source": True, "devices": {"deny": ["server"]}}),
    ("neurosurgeon, not camera", {"strategy": "neurosurgeon", "devices": {"deny": ["camera"]}}),
    ("not server", {"devices": {"deny": ["server"]}}),
)
# Routes that the benchmark commits in place of the planner: first block, end and device of each stage.
COMMITTED: tuple[tuple[tuple[int, int, str], ...], ...] = (
    ((0, 3, "camera"), (3, 24, "server")),
    ((0, 8, "camera"), (8, 24, "server")),
    ((0, 13, "camera"), (13, 24, "helper")),
    ((0, 12, "helper"), (12, 24, "server")),
    ((0, 5, "camera"), (5, 13, "helper"), (13, 24, "server")),
    ((0, 1, "camera"), (1, 8, "helper"), (8, 17, "server"), (17, 24, "camera")),
)


@dataclass(frozen=True, slots=True)
class PredictionRow:
    """Predicted and measured latencies of one route, in ms.

    The excesses are medians of measured less predicted (true) time: of computing, of transfers, before the dispatch at
    the source, and of everything else.
    """

    forced_by: str
    route: str
    requests: int
    true_ms: float
    estimated_ms: float
    measured_ms: float
    measured_p95_ms: float
    compute_excess_ms: float
    transfer_excess_ms: float
    source_excess_ms: float
    other_excess_ms: float

    @property
    def error(self) -> float:
        """Return the relative error of the prediction under true conditions."""
        return abs(self.true_ms - self.measured_ms) / self.measured_ms

    @property
    def estimated_error(self) -> float:
        """Return the relative error of the prediction from the monitors' estimates."""
        return abs(self.estimated_ms - self.measured_ms) / self.measured_ms


def true_problem(running: RunningFleet, input_bytes: float) -> Problem:
    """Return the planning problem under the emulated conditions."""
    profiles = running.harness.profiles(running.workload.manifest)
    conditions = running.conditions
    links = [Link(*pair, link.bandwidth_mbps, link.latency_ms) for pair, link in conditions.links.items()]
    source = running.fleet.stream.source
    return problem_of(running.workload.manifest, profiles, links, conditions.load, source, input_bytes)


def estimated_problem(running: RunningFleet, input_bytes: float) -> Problem:
    """Return the planning problem with the monitors' links and loads."""
    devices = running.harness.view.devices.values()
    links = [
        Link(device.name, link.target, link.bandwidth_mbps, link.latency_ms)
        for device in devices
        if device.links is not None
        for link in device.links.links
        if link.bandwidth_mbps > 0
    ]
    load = {device.name: device.load_factor for device in devices}
    profiles = running.harness.profiles(running.workload.manifest)
    return problem_of(running.workload.manifest, profiles, links, load, running.fleet.stream.source, input_bytes)


def predicted_latency_ms(problem: Problem, route: PlanRoute) -> float:
    """Return the predicted latency of a route."""
    return CostModel(problem).latency_ms(problem.streams[0], to_route(route))


def parts_ms(problem: Problem, route: PlanRoute) -> tuple[float, float]:
    """Return the predicted computing time and sending time of a route."""
    operations = CostModel(problem).operations(problem.streams[0], to_route(route))
    compute_ms = sum(operation.duration_ms for operation in operations if operation.work is Work.COMPUTE)
    return compute_ms, sum(operation.duration_ms for operation in operations) - compute_ms


def transfers_ms(outcome: Outcome, source: str) -> float:
    """Return the total time between the end of a stage and the arrival at another device, in ms."""
    total_s = 0.0
    if outcome.trace[0].device != source:
        total_s += outcome.trace[0].received_at_s - outcome.dispatched_at_s
    for before, after in pairwise(outcome.trace):
        if before.device != after.device:
            left_s = before.received_at_s + (before.queue_ms + before.compute_ms) / 1000
            total_s += after.received_at_s - left_s
    return 1000 * total_s


async def measure_route(
    running: RunningFleet, forced_by: str, route: PlanRoute, epoch: int, requests: int
) -> PredictionRow:
    """Send requests along a route, one at a time.

    Raises:
        RouteChanged: the planner changes the route meanwhile.
    """
    harness, payloads = running.harness, running.workload.payloads
    await harness.reach(payloads[0], epoch)
    end_s = asyncio.get_running_loop().time() + SETTLE_S
    while asyncio.get_running_loop().time() < end_s:
        await harness.ask(payloads[0])
    input_bytes = statistics.median(map(len, payloads))
    true, estimated = true_problem(running, input_bytes), estimated_problem(running, input_bytes)
    outcomes = [await harness.ask(payloads[number % len(payloads)]) for number in range(requests)]
    if {outcome.epoch for outcome in outcomes} != {epoch}:
        raise RouteChanged(forced_by)
    took_ms = [1000 * (outcome.completed_at_s - outcome.accepted_at_s) for outcome in outcomes]
    compute_ms, sending_ms = parts_ms(true, route)
    computed_ms = [sum(stage.compute_ms for stage in outcome.trace) for outcome in outcomes]
    sent_ms = [transfers_ms(outcome, running.fleet.stream.source) for outcome in outcomes]
    waited_ms = [1000 * (outcome.dispatched_at_s - outcome.accepted_at_s) for outcome in outcomes]
    parts = zip(took_ms, computed_ms, sent_ms, waited_ms, strict=True)
    return PredictionRow(
        forced_by=forced_by,
        route=route_text(route),
        requests=requests,
        true_ms=predicted_latency_ms(true, route),
        estimated_ms=predicted_latency_ms(estimated, route),
        measured_ms=statistics.median(took_ms),
        measured_p95_ms=percentile(took_ms, 0.95),
        compute_excess_ms=statistics.median(computed_ms) - compute_ms,
        transfer_excess_ms=statistics.median(sent_ms) - sending_ms,
        source_excess_ms=statistics.median(waited_ms),
        other_excess_ms=statistics.median(whole - sum(rest) for whole, *rest in parts),
    )


class RouteChanged(RuntimeError):
    """The planner has changed the route during its measurement."""


async def measure_policies(running: RunningFleet, requests: int) -> list[PredictionRow]:
    """Measure the routes that the planner chooses under the policies, each route once."""
    rows: list[PredictionRow] = []
    for name, document in POLICIES:
        # A large gain and a long cooldown keep the route while it is measured.
        await running.force({**document, "codec": "lossless", "min_gain": 1.0, "cooldown_ms": 600_000.0})
        plan = running.plan
        if len(plan.routes) > 1 or route_text(plan.routes[0]) in {row.route for row in rows}:
            continue
        rows.append(await measure_route(running, f"policy: {name}", plan.routes[0], plan.epoch, requests))
        print(line(rows[-1]), flush=True)
    return rows


async def measure_committed(
    running: RunningFleet, requests: int, known: Sequence[PredictionRow]
) -> list[PredictionRow]:
    """Stop the planner and measure routes that the benchmark commits."""
    await running.processes.kill(command_lines.PLANNER)
    rows: list[PredictionRow] = []
    source, manifest = running.fleet.stream.source, running.workload.manifest
    for stages in COMMITTED:
        route = PlanRoute(stages=tuple(PlanStage(start=a, stop=b, device=device) for a, b, device in stages))
        if route_text(route) in {row.route for row in known}:
            continue
        epoch = await running.harness.commit(manifest, source, [route])
        rows.append(await measure_route(running, "committed", route, epoch, requests))
        print(line(rows[-1]), flush=True)
    return rows


def line(row: PredictionRow) -> str:
    """Return the results of one route as a line of text."""
    return (
        f"{row.forced_by:45.45}{row.true_ms:8.1f}{row.estimated_ms:8.1f}{row.measured_ms:8.1f}{row.error:7.1%}"
        f"{row.estimated_error:7.1%}  {row.compute_excess_ms:+.1f} {row.transfer_excess_ms:+.1f} "
        f"{row.source_excess_ms:+.1f} {row.other_excess_ms:+.1f}  {row.route}"
    )


async def measure(requests: int) -> list[PredictionRow]:
    """Measure every route."""
    fleet, folder = demo_fleet()
    with tempfile.TemporaryDirectory() as run_dir:
        async with running_fleet(fleet, folder, Path(run_dir)) as running:
            rows = await measure_policies(running, requests)
            return rows + await measure_committed(running, requests, rows)


def table(rows: Sequence[PredictionRow]) -> Table:
    """Return the rows as a table."""
    result = Table(
        title="latency of one request alone, ms: predicted and measured",
        caption="excess: median of measured less predicted of computing, transfers, before the dispatch, and elsewhere",
    )
    headings = (
        "route",
        "true",
        "monitors",
        "measured",
        "error",
        "error (m.)",
        "excess: compute",
        "transfer",
        "source",
        "other",
    )
    for heading in headings:
        result.add_column(heading, justify="left" if heading == "route" else "right")
    for row in rows:
        times = (row.true_ms, row.estimated_ms, row.measured_ms)
        excess = (row.compute_excess_ms, row.transfer_excess_ms, row.source_excess_ms, row.other_excess_ms)
        result.add_row(
            row.route,
            *(f"{value:.1f}" for value in times),
            f"{row.error:.1%}",
            f"{row.estimated_error:.1%}",
            *(f"{value:+.1f}" for value in excess),
        )
    return result


def summary(rows: Sequence[PredictionRow]) -> dict[str, Any]:
    """Return numbers of routes, mean errors and worst errors."""
    return {
        "routes": len(rows),
        "forced_by_policy": sum(row.forced_by != "committed" for row in rows),
        "mape_true": statistics.fmean(row.error for row in rows),
        "mape_estimated": statistics.fmean(row.estimated_error for row in rows),
        "worst_true": max(row.error for row in rows),
        "worst_estimated": max(row.estimated_error for row in rows),
    }


def headline(results: dict[str, Any]) -> str:
    """Summarise the errors in one line."""
    return (
        f"{results['routes']} routes ({results['forced_by_policy']} by policy): mean absolute error "
        f"{results['mape_true']:.1%} under the true conditions, "
        f"{results['mape_estimated']:.1%} from monitors' estimates"
    )


def main() -> None:
    """Measure, print, write."""
    parser = argument_parser("prediction", __doc__, quick=f"{QUICK_REQUESTS} requests per route")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="per route (default: %(default)s)")
    options = parser.parse_args()
    rows = asyncio.run(measure(QUICK_REQUESTS if options.quick else options.requests))
    results = summary(rows)
    console().print(table(rows))
    console().print(headline(results))
    write(options.out, {"rows": [asdict(row) for row in rows], **results, "headline": headline(results)})


if __name__ == "__main__":
    main()
