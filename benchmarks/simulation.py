"""Speed of the simulation in steps per second, by what it simulates.

    python -m benchmarks.simulation [--quick] [--out FILE]

A step is one computing or one sending of one request, from its arrival in a queue to its end: two events. Processor
time, the median of several runs.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.report import RESULTS, console, write
from planning.cost.cost_model import CostModel
from planning.files.plan_file import read_plan
from planning.files.problem_file import read_problem
from planning.problem.plan import StreamPlan, sequential_route
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.queueing.event_loop import Rules
from planning.simulation.arrivals import Poisson
from planning.simulation.scenario import LoadChange
from planning.simulation.simulation import simulate
from shared.policy import QueueDiscipline

TILES = Path(__file__).parent.parent / "examples" / "tiles"


def pipeline(devices: int, streams: int, jobs: int = 1) -> tuple[Problem, dict[str, StreamPlan]]:
    """Return streams that all pass through the same devices in a row, one block on each."""
    names = [f"d{index}" for index in range(devices)]
    times_ms = tuple(1.0 + 0.1 * index for index in range(devices))
    problem = Problem(
        {"m": Model(1e5, tuple(Block(name, 1e5) for name in names))},
        {name: Device({"m": times_ms}) for name in names},
        tuple(Link(sender, receiver, 100.0, 0.1) for sender, receiver in pairwise(names)),
        tuple(Stream(f"s{index}", "m", "d0", jobs=jobs) for index in range(streams)),
    )
    route = sequential_route([(index, index + 1, name, "raw") for index, name in enumerate(names)], jobs)
    return problem, {stream.name: StreamPlan((route,), tuple(range(jobs))) for stream in problem.streams}


def steps_per_s(run: Callable[[], int], repeats: int) -> float:
    """Return the median number of steps per second of processor time; ``run`` returns how many it took."""
    found = []
    for _ in range(repeats):
        started_s = time.process_time()
        steps = run()
        found.append(steps / (time.process_time() - started_s))
    return statistics.median(found)


def measure(requests: int, repeats: int) -> list[dict[str, Any]]:
    """Return steps per second of every case."""
    rows: list[dict[str, Any]] = []

    def add(case: str, run: Callable[[], int]) -> None:
        rows.append({"case": case, "steps_per_s": round(steps_per_s(run, repeats))})

    for devices in (2, 8):
        problem, plans = pipeline(devices, 4)
        for discipline in (QueueDiscipline.FIFO, QueueDiscipline.ROUND_ROBIN):
            rules = Rules({"d1": discipline})

            def timeline(problem: Problem = problem, plans: Any = plans, rules: Rules = rules) -> int:
                found = simulate(problem, plans, requests=requests, arrivals=Poisson(20.0), rules=rules)
                return len(found.activities)

            add(f"4 Poisson streams through {devices} devices, the server {discipline.value}", timeline)
    changes = [LoadChange(10.0 * index, f"d{index % 8}", 1.0 + index % 3) for index in range(1000)]
    problem, plans = pipeline(8, 4)
    add(
        "the same through 8 devices, with 1000 changes of load",
        lambda: len(simulate(problem, plans, requests=requests, arrivals=Poisson(20.0), changes=changes).activities),
    )
    tiled = read_problem((TILES / "problem.json").read_bytes())
    plan = read_plan((TILES / "plan.json").read_bytes())
    add(
        "VGG16 in three volumes of four tiles (31 steps a request)",
        lambda: len(simulate(tiled, plan, requests=requests, arrivals=Poisson(4.0)).activities),
    )
    burst, whole = pipeline(8, 1, requests)
    costs = CostModel(burst)
    add("predicted burst through 8 devices (only when each request ends)", lambda: 15 * len(costs.delays_ms(whole)))
    return rows


def main() -> None:
    """Run the benchmark, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / "simulation.json")
    options = parser.parse_args()
    rows = measure(500, 3) if options.quick else measure(2500, 9)
    table = Table("simulated", "steps per second", title="The event-driven simulation")
    for row in rows:
        table.add_row(row["case"], f"{row['steps_per_s']:,}")
    console().print(table)
    slowest, fastest = (pick(row["steps_per_s"] for row in rows) for pick in (min, max))
    headline = f"the simulation takes {slowest:,} to {fastest:,} steps per second of one core"
    console().print(headline)
    write(options.out, {"rows": rows, "headline": headline})


if __name__ == "__main__":
    main()
