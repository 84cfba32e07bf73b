"""Reroutes and latency under square waves of load and bandwidth, against the better fixed plan.

    python -m benchmarks.square_waves [--quick] [--out FILE] [--seconds S] [--period S ...]

The fleet of `segue demo` runs whole, and requests come at a steady rate. The load of the server, or the bandwidth of
its link to the camera, changes between two values with a fixed period. The same wave runs three times: with everything
on the server, with everything on the helper, and with the planner's choice. Latencies are from the publication of a
request to its result, by the clock of the application.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.emulated_fleet import RunningFleet, demo_fleet, running_fleet
from benchmarks.fleet_harness import BenchmarkFailed
from benchmarks.report import argument_parser, console, machine, percentile, write
from services.cli.testbed.conditions import Conditions, usual_conditions
from shared.policy import DeviceRule, policy_document

PERIODS_S, QUICK_PERIODS_S = (1.0, 2.0, 5.0, 10.0, 20.0), (4.0,)
SECONDS, QUICK_SECONDS = 60.0, 16.0
RATE_HZ: Final = 2.0
LOAD: Final = 6.0
SLOW_MBPS: Final = 1.5
SERVER, HELPER = "server", "helper"
BUSY_SERVER, SLOW_LINK = "load of the server", "link to the server"
_SETTLE_S: Final = 4.0


@dataclass(frozen=True, slots=True)
class WaveResult:
    """One run under a wave.

    Attributes:
        wave: what changes.
        plan: devices that may compute, or `planner` for a free choice.
        reroutes: of the planner, during the run.
        switches: of the source alone.
        unanswered: requests without a result within a minute.
    """

    wave: str
    period_s: float
    plan: str
    mean_ms: float
    median_ms: float
    p95_ms: float
    requests: int
    reroutes: int
    switches: int
    unanswered: int


def disturbed(running: RunningFleet, wave: str) -> Conditions:
    """Return the conditions of the worse half of a wave."""
    usual = usual_conditions(running.fleet)
    if wave == BUSY_SERVER:
        return replace(usual, load={SERVER: LOAD})
    pair = tuple(sorted((running.fleet.stream.source, SERVER)))
    links = {
        each: replace(link, bandwidth_mbps=SLOW_MBPS) if each == pair else link for each, link in usual.links.items()
    }
    return replace(usual, links=links)


async def under_wave(running: RunningFleet, wave: str, period_s: float, seconds: float) -> tuple[list[float], int]:
    """Send requests at a steady rate under a wave; return their latencies in ms, and the number without an answer."""
    usual, worse = usual_conditions(running.fleet), disturbed(running, wave)
    latencies_ms: list[float] = []

    async def ask(payload: bytes) -> None:
        began_s = time.monotonic()
        try:
            await running.harness.outcome(await running.harness.submit(payload))
        except BenchmarkFailed:
            # It counts among the requests without an answer.
            return
        latencies_ms.append(1000 * (time.monotonic() - began_s))

    began_s, is_worse = time.monotonic(), False
    payloads = running.workload.payloads
    async with asyncio.TaskGroup() as group:
        number = 0
        while (passed_s := time.monotonic() - began_s) < seconds:
            if is_worse != (passed_s % period_s >= period_s / 2):
                is_worse = not is_worse
                await running.emulate(worse if is_worse else usual)
            if passed_s >= number / RATE_HZ:
                group.create_task(ask(payloads[number % len(payloads)]))
                number += 1
            await asyncio.sleep(0.01)
    await running.emulate(usual)
    return latencies_ms, number - len(latencies_ms)


async def measure(periods_s: Sequence[float], seconds: float) -> list[WaveResult]:
    """Run every wave with both fixed plans and with the planner's choice."""
    fleet, folder = demo_fleet()
    results: list[WaveResult] = []
    with tempfile.TemporaryDirectory() as run_dir:
        async with running_fleet(fleet, folder, Path(run_dir)) as running:
            for wave in (BUSY_SERVER, SLOW_LINK):
                for period_s in periods_s:
                    for plan in (SERVER, HELPER, "planner"):
                        rule = DeviceRule() if plan == "planner" else DeviceRule(allow=(plan,))
                        await running.force(policy_document(replace(fleet.policy, devices=rule)))
                        await asyncio.sleep(_SETTLE_S)
                        before = len(running.harness.reroutes), len(running.harness.switched_at_s)
                        found, unanswered = await under_wave(running, wave, period_s, seconds)
                        results.append(
                            WaveResult(
                                wave,
                                period_s,
                                plan,
                                round(statistics.mean(found), 1),
                                round(statistics.median(found), 1),
                                round(percentile(found, 0.95), 1),
                                len(found),
                                len(running.harness.reroutes) - before[0],
                                len(running.harness.switched_at_s) - before[1],
                                unanswered,
                            )
                        )
                        print(results[-1], f"load {machine()['load_average']}", flush=True)
    return results


def compared(results: Sequence[WaveResult]) -> list[dict[str, Any]]:
    """Return the planner's mean latency over that of the better fixed plan, by wave and period."""
    rows: list[dict[str, Any]] = []
    for wave, period_s in dict.fromkeys((each.wave, each.period_s) for each in results):
        same = {each.plan: each for each in results if (each.wave, each.period_s) == (wave, period_s)}
        planner = same.pop("planner")
        better = min(same.values(), key=lambda each: each.mean_ms)
        rows.append(
            {
                "wave": wave,
                "period_s": period_s,
                "planner_ms": planner.mean_ms,
                "better": better.plan,
                "better_ms": better.mean_ms,
                "worse_ms": max(each.mean_ms for each in same.values()),
                "ratio": round(planner.mean_ms / better.mean_ms, 3),
                "p95_ms": planner.p95_ms,
                "reroutes": planner.reroutes,
                "switches": planner.switches,
            }
        )
    return rows


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the comparison."""
    table = Table(
        "wave", "period, s", "planner, ms", "better fixed, ms", "other, ms", "ratio", "p95, ms", "reroutes", "switches"
    )
    for row in rows:
        better = f"{row['better_ms']:g} ({row['better']})"
        cells = (
            row["planner_ms"],
            better,
            row["worse_ms"],
            row["ratio"],
            row["p95_ms"],
            row["reroutes"],
            row["switches"],
        )
        table.add_row(row["wave"], f"{row['period_s']:g}", *map(str, cells))
    console().print(table)


def headline(rows: Sequence[Mapping[str, Any]]) -> str:
    """Summarise the results in one line."""
    ratios = [row["ratio"] for row in rows]
    return (
        f"under {len(rows)} square waves the planner's mean latency is {min(ratios):.2f} to {max(ratios):.2f} of the "
        f"better fixed plan's, with {sum(row['reroutes'] for row in rows)} reroutes"
    )


def main() -> None:
    """Measure, print, write."""
    parser = argument_parser("square_waves", __doc__, quick="one period, and shorter runs")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="per run (default: %(default)s)")
    parser.add_argument("--period", type=float, action="append", help="period in seconds, repeatable")
    options = parser.parse_args()
    periods_s = options.period or (QUICK_PERIODS_S if options.quick else PERIODS_S)
    results = asyncio.run(measure(periods_s, QUICK_SECONDS if options.quick else options.seconds))
    rows = compared(results)
    show(rows)
    console().print(headline(rows))
    write(options.out, {"headline": headline(rows), "waves": rows, "runs": [asdict(each) for each in results]})


if __name__ == "__main__":
    main()
