"""A burst on the running fleet: what every strategy promises, and how long the burst takes.

    python -m benchmarks.live_bursts [--jobs N] [--repeats N] [--out FILE]

The fleet of `segue demo` runs whole: broker, planner, three emulated devices with monitor and executor each. Its stream
is declared to have bursts of `jobs` photographs, the objective is the makespan, and one strategy after the other is put
in force by policy, once freely and once with the raw photographs bound to stay on the camera. Every burst is submitted
at once. Predicted is the makespan that the planner gives as its reason for the plan, from what monitors and executors
report, and the same under the conditions as they are emulated; measured is from the first request's acceptance at the
source to the last result, the median of the bursts.
"""

import argparse
import asyncio
import statistics
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.emulated_fleet import RunningFleet, demo_fleet, running_fleet
from benchmarks.fleet_harness import BenchmarkFailed, problem_of, true_links
from benchmarks.report import RESULTS, console, write
from planning.problem.problem import Problem
from services.planner.decisions.committed_routes import joint_cost
from shared.bus import topics
from shared.messages.streams import PlanRoute, StreamDeclaration, route_text
from shared.policy import Objective, Policy

OUT = RESULTS / "live_bursts.json"
STRATEGIES = ("auto", "jps", "burst", "dads", "hu_mishra", "local_only", "remote_only")
CASES: Mapping[str, Mapping[str, Any]] = {"free": {}, "photographs stay": {"raw_input_stays_on_source": True}}


@dataclass(frozen=True, slots=True)
class Row:
    """A strategy's bursts, ms; the numbers are None where the policy was refused, and `reason` says why.

    `routes` are runs of jobs in the order in which they start.
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


def true_problem(running: RunningFleet, jobs: int) -> Problem:
    """Return the problem under the conditions as they are emulated."""
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
    """Submit a burst and return its makespan."""
    harness, payloads = running.harness, running.workload.payloads
    request_ids = [await harness.submit(payloads[number % len(payloads)]) for number in range(jobs)]
    outcomes = [await harness.outcome(request_id) for request_id in request_ids]
    began_s = min(outcome.accepted_at_s for outcome in outcomes)
    return 1000 * (max(outcome.completed_at_s for outcome in outcomes) - began_s)


async def measure(running: RunningFleet, case: str, strategy: str, jobs: int, repeats: int) -> Row:
    """Put a strategy in force and time its bursts."""
    harness = running.harness
    # Noise must not change the routes while they are measured.
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
        return Row(case, strategy, (), reason=str(failure).partition("}: ")[2])
    plan = running.plan
    await harness.until(lambda: plan.epoch in harness.reroutes, "the reason for the plan")
    await harness.reach(running.workload.payloads[0], plan.epoch)
    took_ms = [await burst_ms(running, jobs) for _ in range(repeats)]
    problem = true_problem(running, jobs)
    return Row(
        case,
        strategy,
        tuple(f"{route.weight} x {route_text(route)}" for route in plan.routes),
        harness.reroutes[plan.epoch].predicted_after,
        joint_cost(problem, {problem.streams[0].name: _named(plan.routes)}),
        statistics.median(took_ms),
        min(took_ms),
        max(took_ms),
    )


def _named(routes: Sequence[PlanRoute]) -> tuple[PlanRoute, ...]:
    """Return routes without encodings, which the problem under true conditions does not have."""
    return tuple(
        route.model_copy(update={"stages": tuple(s.model_copy(update={"codec": "raw"}) for s in route.stages)})
        for route in routes
    )


async def measure_all(jobs: int, repeats: int) -> list[Row]:
    """Measure every strategy in every case."""
    fleet, folder = demo_fleet()
    rows: list[Row] = []
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


def table(rows: Sequence[Row]) -> Table:
    """Return the rows as people read them."""
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
    """Return how many jobs take every route, without the order: `20 x server[0,24)`."""
    jobs: Counter[str] = Counter()
    for route in routes:
        number, _, path = route.partition(" x ")
        jobs[path] += int(number)
    return [f"{number} x {path}" for path, number in jobs.items()]


def headline(jobs: int, rows: Sequence[Row]) -> str:
    """Sum up what bursts took, and how far off the planner's predictions were."""
    seen = {row.strategy: row.measured_ms for row in rows if row.case == "free" and row.measured_ms is not None}
    errors = [abs(row.predicted_ms / row.measured_ms - 1) for row in rows if row.predicted_ms and row.measured_ms]
    took = ", ".join(f"{strategy} {measured_ms:.0f}" for strategy, measured_ms in seen.items())
    return f"a burst of {jobs} photographs, ms: {took}; predictions off by {statistics.mean(errors):.1%} on average"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=24, help="photographs in a burst")
    parser.add_argument("--repeats", type=int, default=3, help="bursts per strategy")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    rows = asyncio.run(measure_all(options.jobs, options.repeats))
    console().print(table(rows))
    summary = headline(options.jobs, rows)
    console().print(summary)
    results = {"jobs": options.jobs, "repeats": options.repeats, "rows": [asdict(row) for row in rows]}
    write(options.out, {"headline": summary, **results})


if __name__ == "__main__":
    main()
