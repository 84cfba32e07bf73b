"""Makespan (ms) of bursts on a running fleet, by strategy; predicted and measured.

    python -m benchmarks.live_bursts [--quick] [--out FILE] [--jobs N] [--repeats N]

The complete fleet of `segue demo` runs: a broker, a planner, and three emulated devices with a monitor and an executor
each. Its stream declares bursts of `jobs` photographs and the objective makespan. A policy puts one strategy after the
other in force: once without restrictions, and once with raw photographs bound to the camera. One prediction is the
planner's, from the reports of monitors and executors. Another is computed under the emulated conditions. The measured
value is the time from the first acceptance at the source to the last result. The table shows the median of the bursts.
"""

import asyncio
import statistics
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.emulated_fleet import RunningFleet, demo_fleet, running_fleet
from benchmarks.fleet_harness import BenchmarkFailed, problem_of, true_links
from benchmarks.report import argument_parser, console, write
from planning.problem.problem import Problem
from services.planner.decisions.committed_routes import joint_cost
from shared.bus import topics
from shared.messages.streams import PlanRoute, StreamDeclaration, route_text
from shared.policy import Objective, Policy

STRATEGIES: Final = ("auto", "jps", "burst", "dads", "hu_mishra", "local_only", "remote_only")
CASES: Mapping[str, Mapping[str, Any]] = {"free": {}, "photographs stay": {"raw_input_stays_on_source": True}}


@dataclass(frozen=True, slots=True)
class BurstRow:
    """Bursts of one strategy, in ms; the numbers are none where the planner refused the policy.

    Attributes:
        routes: runs of jobs with one route, in the order of their start.
        predicted_ms: makespan by the planner.
        true_ms: makespan by the cost model under the emulated conditions.
        measured_ms: median makespan.
        reason: of the refusal.
    """

    case: str
    strategy: str
    routes: tuple[str, ...]
    predicted_ms: float | None = None
    true_ms: float | None = None
    measured_ms: float | None = None
    best_ms: float | None = None
    worst_ms: float | None = None
    reason: str = ""


def burst_problem(running: RunningFleet, jobs: int) -> Problem:
    """Return the planning problem under the emulated conditions."""
    workload, harness = running.workload, running.harness
    problem = problem_of(
        workload.manifest,
        harness.profiles(workload.manifest),
        true_links(running.conditions),
        running.conditions.load,
        running.fleet.stream.source,
        statistics.median(map(len, workload.payloads)),
    )
    streams = tuple(replace(stream, jobs=jobs) for stream in problem.streams)
    return replace(problem, streams=streams, policy=Policy(objective=Objective.MAKESPAN))


async def burst_ms(running: RunningFleet, jobs: int) -> float:
    """Submit a burst; return its makespan."""
    harness, payloads = running.harness, running.workload.payloads
    request_ids = [await harness.submit(payloads[number % len(payloads)]) for number in range(jobs)]
    outcomes = [await harness.outcome(request_id) for request_id in request_ids]
    began_s = min(outcome.accepted_at_s for outcome in outcomes)
    return 1000 * (max(outcome.completed_at_s for outcome in outcomes) - began_s)


async def measure(running: RunningFleet, case: str, strategy: str, jobs: int, repeats: int) -> BurstRow:
    """Put a strategy in force and measure its bursts."""
    harness = running.harness
    # A large gain and a long cooldown keep the routes while they are measured.
    document = {
        "objective": "makespan",
        "strategy": strategy,
        "max_in_flight": jobs,
        "codec": "lossless",
        **CASES[case],
    }
    try:
        await running.force({**document, "min_gain": 1.0, "cooldown_ms": 600_000.0})
    except BenchmarkFailed as failure:
        return BurstRow(case, strategy, (), reason=str(failure).partition("}: ")[2])
    plan = running.plan
    await harness.until(lambda: plan.epoch in harness.reroutes, "the reason for the plan")
    await harness.reach(running.workload.payloads[0], plan.epoch)
    took_ms = [await burst_ms(running, jobs) for _ in range(repeats)]
    problem = burst_problem(running, jobs)
    return BurstRow(
        case,
        strategy,
        tuple(f"{route.weight} x {route_text(route)}" for route in plan.routes),
        harness.reroutes[plan.epoch].predicted_after,
        joint_cost(problem, {problem.streams[0].name: _raw_routes(plan.routes)}),
        statistics.median(took_ms),
        min(took_ms),
        max(took_ms),
    )


def _raw_routes(routes: Sequence[PlanRoute]) -> tuple[PlanRoute, ...]:
    """Return routes without encodings, which the problem under emulated conditions does not have."""
    return tuple(
        route.model_copy(update={"stages": tuple(s.model_copy(update={"codec": "raw"}) for s in route.stages)})
        for route in routes
    )


async def measure_bursts(jobs: int, repeats: int) -> list[BurstRow]:
    """Measure every strategy in every case."""
    fleet, folder = demo_fleet()
    rows: list[BurstRow] = []
    with tempfile.TemporaryDirectory() as run_dir:
        async with running_fleet(fleet, folder, Path(run_dir)) as running:
            declaration = StreamDeclaration(
                stream=fleet.stream.name, model=running.workload.manifest.model, source=fleet.stream.source, jobs=jobs
            )
            await running.harness.connection.publish(
                topics.stream(fleet.stream.name), declaration.encode(), retain=True
            )
            await running.harness.until(lambda: running.plan.jobs == jobs, "a plan for bursts")
            for case in CASES:
                for strategy in STRATEGIES:
                    rows.append(await measure(running, case, strategy, jobs, repeats))
                    console().print(table(rows[-1:]))
    return rows


def table(rows: Sequence[BurstRow]) -> Table:
    """Return the rows as a table."""
    made = Table()
    for heading in ("case", "strategy", "predicted ms", "under true conditions", "measured ms", "spread", "routes"):
        made.add_column(heading, overflow="fold", justify="right" if "ms" in heading or "true" in heading else "left")
    for row in rows:
        spread = "" if row.best_ms is None else f"{row.best_ms:.0f} to {row.worst_ms:.0f}"
        numbers = [
            "" if value is None else f"{value:.0f}" for value in (row.predicted_ms, row.true_ms, row.measured_ms)
        ]
        made.add_row(row.case, row.strategy, *numbers, spread, "\n".join(totals(row.routes)) or row.reason)
    return made


def totals(routes: Sequence[str]) -> list[str]:
    """Return the number of jobs on each route, whatever their order: `20 x server[0,24)`."""
    jobs: Counter[str] = Counter()
    for route in routes:
        number, _, path = route.partition(" x ")
        jobs[path] += int(number)
    return [f"{number} x {path}" for path, number in jobs.items()]


def headline(jobs: int, rows: Sequence[BurstRow]) -> str:
    """Summarise measured makespans and the planner's prediction errors in one line."""
    measured = {row.strategy: row.measured_ms for row in rows if row.case == "free" and row.measured_ms is not None}
    errors = [abs(row.predicted_ms / row.measured_ms - 1) for row in rows if row.predicted_ms and row.measured_ms]
    took = ", ".join(f"{strategy} {measured_ms:.0f}" for strategy, measured_ms in measured.items())
    return f"a burst of {jobs} photographs, ms: {took}; predictions off by {statistics.mean(errors):.1%} on average"


def main() -> None:
    """Measure, print, write."""
    parser = argument_parser("live_bursts", __doc__, quick="one burst per strategy")
    parser.add_argument("--jobs", type=int, default=24, help="photographs in a burst (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="bursts per strategy (default: %(default)s)")
    options = parser.parse_args()
    repeats = 1 if options.quick else options.repeats
    rows = asyncio.run(measure_bursts(options.jobs, repeats))
    console().print(table(rows))
    summary = headline(options.jobs, rows)
    console().print(summary)
    results = {"jobs": options.jobs, "repeats": repeats, "rows": [asdict(row) for row in rows]}
    write(options.out, {"headline": summary, **results})


if __name__ == "__main__":
    main()
