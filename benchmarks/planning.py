"""Benchmark of all strategies: gaps to proved bounds, and planning times."""

import argparse
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.report import console, write
from planning.files.problem_file import read_problem
from planning.problem.plan import Plan
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.scheduling.shared_server import offloads
from planning.strategies.rank_assignment import assign
from planning.strategies.registry import strategies
from planning.strategies.strategy import Strategy
from planning.strategies.traits import Joint
from shared.policy import Objective, Policy

RESULTS = Path(__file__).parent / "results" / "planning.json"
INSTANCES = Path(__file__).parent.parent / "tests" / "instances"
# Blocks and devices of the chains whose planning is timed.
SIZES = ((10, 4), (20, 16), (30, 16), (100, 16))

# Numbers of streams that share a server.
SHARED = (50, 1000)

# Numbers of streams, and of jobs of each, that ``auto`` plans over LARGE_DEVICES devices and LARGE_BLOCKS blocks.
CROWDS = ((1, 1), (1, 30), (6, 5), (16, 1), (50, 2))

LARGE_BLOCKS, LARGE_DEVICES = 30, 16

# Blocks, devices and jobs of long chains and long bursts that ``auto`` plans, one stream each.
LONG = ((10_000, 2, 1), (10_000, 4, 1), (12, 4, 10_000), (12, 4, 100_000), (12, 4, 1_000_000))

# Time budget of `budget`.
BUDGET_S = 1.0

# Number of tasks beyond which plans are timed once.
MANY_TASKS = 100


def random_problem(seed: int, blocks: int, devices: int, objective: Objective, jobs: int = 1) -> Problem:
    """Return a chain whose tensors shrink on average, on devices of mixed speed that are all linked."""
    rng = random.Random(seed)
    names = [f"d{index}" for index in range(devices)]
    model = Model(
        602_112,
        tuple(Block(f"b{index}", int(3e6 * rng.random() * 0.5 ** (4 * index / blocks))) for index in range(blocks)),
    )
    work = [rng.uniform(0.2, 3.0) for _ in range(blocks)]
    profiles = {
        name: Device(
            {"m": tuple(speed * time_ms * rng.uniform(0.8, 1.2) for time_ms in work)},
            load_factor=rng.uniform(1, 2),
            segment_overhead_ms=rng.uniform(0, 2),
            power_active_w=rng.uniform(3, 30),
            power_tx_w=rng.uniform(0, 1),
        )
        for name, speed in ((name, rng.uniform(0.3, 20)) for name in names)
    }
    links = tuple(
        Link(a, b, rng.uniform(5, 500), rng.uniform(0.2, 5)) for i, a in enumerate(names) for b in names[i + 1 :]
    )
    stream = Stream("s", "m", names[0], jobs=jobs)
    return Problem({"m": model}, profiles, links, (stream,), Policy(objective=objective))


def instances() -> Iterator[tuple[str, Problem]]:
    """Yield the named instances and a few random ones for every objective that matters."""
    for path in sorted(INSTANCES.glob("*.json")):
        problem = read_problem(path.read_bytes())
        for objective in (Objective.LATENCY, Objective.THROUGHPUT, Objective.ENERGY):
            yield (
                f"{path.stem}/{objective.value}",
                replace(problem, policy=replace(problem.policy, objective=objective)),
            )
        streams = tuple(replace(stream, jobs=max(10, stream.jobs)) for stream in problem.streams)
        for objective in (Objective.MAKESPAN, Objective.TOTAL_DELAY):
            policy = replace(problem.policy, objective=objective)
            yield f"{path.stem}/{objective.value}", replace(problem, streams=streams, policy=policy)
    for seed in range(3):
        for objective in (Objective.LATENCY, Objective.THROUGHPUT, Objective.MAKESPAN):
            jobs = 10 if objective is Objective.MAKESPAN else 1
            yield f"random{seed}/{objective.value}", random_problem(seed, 10, 4, objective, jobs)


def timed(strategy: Strategy, problem: Problem, repeats: int, time_budget_s: float) -> tuple[Any, list[float]]:
    """Return a strategy's answer and its planning times in ms of processor time, which other work disturbs least."""
    times_ms = []
    answer = None
    for _ in range(repeats):
        started_s = time.process_time()
        answer = strategy.solve(problem, seed=0, time_budget_s=time_budget_s)
        times_ms.append((time.process_time() - started_s) * 1000)
    return answer, times_ms


def quality(time_budget_s: float) -> dict[str, Any]:
    """Return how far each strategy is from the best plan and the best bound over all instances, and its times."""
    gaps: dict[str, list[float]] = {name: [] for name in strategies()}
    excess: dict[str, list[float]] = {name: [] for name in strategies()}
    times: dict[str, list[float]] = {name: [] for name in strategies()}
    best: dict[str, int] = dict.fromkeys(strategies(), 0)
    count = 0
    for _, problem in instances():
        answers = {}
        for name, strategy in strategies().items():
            answers[name], took = timed(strategy, problem, 1, time_budget_s)
            times[name] += took
        plans = {name: plan for name, plan in answers.items() if isinstance(plan, Plan)}
        if not plans:
            continue
        count += 1
        bound = max((plan.lower_bound for plan in plans.values() if plan.lower_bound is not None), default=None)
        least = min(plan.cost for plan in plans.values())
        for name, plan in plans.items():
            best[name] += plan.cost <= least * (1 + 1e-9)
            if least > 0:
                excess[name].append(plan.cost / least - 1)
            if bound:
                gaps[name].append(max(0.0, plan.cost / bound - 1))
    return {
        name: {
            "plans": len(gaps[name]),
            "best": best[name],
            "of": count,
            "mean_over_best": statistics.fmean(excess[name]) if excess[name] else None,
            "worst_over_best": max(excess[name], default=None),
            "mean_over_bound": statistics.fmean(gaps[name]) if gaps[name] else None,
            "worst_over_bound": max(gaps[name], default=None),
            "median_ms": statistics.median(times[name]),
            "worst_ms": max(times[name]),
        }
        for name in strategies()
    }


def speed(repeats: int) -> list[dict[str, Any]]:
    """Return median planning times of the exact strategy and of auto by problem size."""
    rows = []
    for blocks, devices in SIZES:
        for objective in (Objective.LATENCY, Objective.ENERGY):
            for name in ("shortest_path", "auto"):
                times_ms: list[float] = []
                for seed in range(10):
                    problem = random_problem(seed, blocks, devices, objective)
                    times_ms += timed(strategies()[name], problem, repeats, 1.0)[1]
                rows.append(
                    {
                        "strategy": name,
                        "objective": objective.value,
                        "blocks": blocks,
                        "devices": devices,
                        "median_ms": statistics.median(times_ms),
                        "worst_ms": max(times_ms),
                    }
                )
    return rows


def budget(seeds: int = 3) -> list[dict[str, Any]]:
    """Return the processor time that ``auto`` takes of its time budget for large problems."""
    rows = []
    for streams, jobs in CROWDS:
        for objective in (Objective.THROUGHPUT, Objective.MAKESPAN, Objective.TOTAL_DELAY):
            used_s = []
            for seed in range(seeds):
                problem = random_problem(seed, LARGE_BLOCKS, LARGE_DEVICES, objective, jobs)
                names = list(problem.devices)
                crowd = tuple(Stream(f"s{i}", "m", names[i % len(names)], jobs=jobs) for i in range(streams))
                started_s = time.process_time()
                strategies()["auto"].solve(replace(problem, streams=crowd), seed=0, time_budget_s=BUDGET_S)
                used_s.append(time.process_time() - started_s)
            row = {"streams": streams, "jobs": jobs, "objective": objective.value, "budget_s": BUDGET_S}
            rows.append({**row, "median_s": statistics.median(used_s), "worst_s": max(used_s)})
    return rows


def long_problems() -> list[dict[str, Any]]:
    """Return the processor time that ``auto`` takes for long chains and long bursts under BUDGET_S."""
    rows = []
    for blocks, devices, jobs in LONG:
        for objective in (Objective.THROUGHPUT, Objective.MAKESPAN):
            problem = random_problem(0, blocks, devices, objective, jobs)
            answer, times_ms = timed(strategies()["auto"], problem, 1, BUDGET_S)
            row = {"blocks": blocks, "devices": devices, "jobs": jobs, "objective": objective.value}
            left_out = len(answer.left_out) if isinstance(answer, Plan) else None
            rows.append({**row, "budget_s": BUDGET_S, "used_s": times_ms[0] / 1000, "left_out": left_out})
    return rows


def shared_server_problem(seed: int, tasks: int, blocks: int = 12) -> Problem:
    """Return many sources of mixed speed, one task each, around a server ten times as fast as the mean source."""
    rng = random.Random(seed)
    model = random_problem(seed, blocks, 2, Objective.TOTAL_DELAY).models["m"]
    work_ms = [rng.uniform(0.2, 3.0) for _ in range(blocks)]
    devices = {"server": Device({"m": tuple(time_ms * 0.1 for time_ms in work_ms)})}
    links, streams = [], []
    for name in (f"d{index}" for index in range(tasks)):
        slowness = rng.uniform(2, 20)
        devices[name] = Device({"m": tuple(time_ms * slowness for time_ms in work_ms)})
        links.append(Link(name, "server", rng.uniform(5, 100), rng.uniform(0.5, 5)))
        streams.append(Stream(f"stream of {name}", "m", name))
    policy = Policy(objective=Objective.TOTAL_DELAY)
    return Problem({"m": model}, devices, tuple(links), tuple(streams), policy)


def weighed_for_a_server() -> dict[str, Strategy]:
    """Return the strategies that weigh streams for their total delay, beside ``auto`` and the plain baseline."""
    chosen = {}
    for name, strategy in strategies().items():
        traits = strategy.traits
        weighs = traits.joint is Joint.ON_A_FLEET and Objective.TOTAL_DELAY in traits.objectives
        if weighs or traits.picks_among_others or name == "local_only":
            chosen[name] = strategy
    return chosen


def shared_server(repeats: int) -> list[dict[str, Any]]:
    """Return the planning times for total delay on one server: the assignment alone, and whole plans."""
    rows: list[dict[str, Any]] = []
    for tasks in SHARED:
        problem = shared_server_problem(1, tasks)
        times_ms = []
        ready = offloads(problem, "server") or []
        for _ in range(repeats):
            started_s = time.process_time()
            assign(ready, problem.policy.queue)
            times_ms.append((time.process_time() - started_s) * 1000)
        rows.append({"tasks": tasks, "what": "exact assignment alone", "median_ms": statistics.median(times_ms)})
        for name, strategy in weighed_for_a_server().items():
            answer, times_ms = timed(strategy, problem, 1 if tasks > MANY_TASKS else repeats, 1.0)
            cost = answer.cost if isinstance(answer, Plan) else None
            rows.append({"tasks": tasks, "what": name, "median_ms": statistics.median(times_ms), "cost_ms": cost})
    return rows


def _show(results: dict[str, Any]) -> None:
    table = Table("strategy", "plans", "best", title="Quality: cost over the best plan found, and over the best bound")
    for column in ("mean", "worst", "mean (bound)", "worst (bound)", "median ms", "worst ms"):
        table.add_column(column, justify="right")
    for name, row in results["quality"].items():
        shares = row["mean_over_best"], row["worst_over_best"], row["mean_over_bound"], row["worst_over_bound"]
        gaps = ["-" if share is None else f"{share:.1%}" for share in shares]
        numbers = f"{row['median_ms']:.1f}", f"{row['worst_ms']:.0f}"
        table.add_row(name, str(row["plans"]), f"{row['best']}/{row['of']}", *gaps, *numbers)
    console().print(table)
    table = Table(
        "strategy", "objective", "blocks", "devices", "median ms", "worst ms", title="Planning time (processor)"
    )
    for row in results["speed"]:
        numbers = f"{row['median_ms']:.2f}", f"{row['worst_ms']:.2f}"
        table.add_row(row["strategy"], row["objective"], str(row["blocks"]), str(row["devices"]), *numbers)
    console().print(table)
    table = Table(
        "streams",
        "jobs",
        "objective",
        "median s",
        "worst s",
        title=f"auto within {BUDGET_S:g} s: processor time, {LARGE_BLOCKS} blocks, {LARGE_DEVICES} devices",
    )
    for row in results["budget"]:
        numbers = f"{row['median_s']:.2f}", f"{row['worst_s']:.2f}"
        table.add_row(str(row["streams"]), str(row["jobs"]), row["objective"], *numbers)
    console().print(table)
    table = Table("blocks", "devices", "jobs", "objective", "s", "left out", title=f"auto within {BUDGET_S:g} s")
    for row in results["long"]:
        sizes = str(row["blocks"]), str(row["devices"]), str(row["jobs"])
        table.add_row(*sizes, row["objective"], f"{row['used_s']:.2f}", str(row["left_out"]))
    console().print(table)
    table = Table("streams", "what", "median ms", "total delay ms", title="Total delay, one server")
    for row in results["shared_server"]:
        cost = row.get("cost_ms")
        table.add_row(str(row["tasks"]), row["what"], f"{row['median_ms']:.1f}", "-" if cost is None else f"{cost:.1f}")
    console().print(table)


def main() -> None:
    """Run the benchmark, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time-budget-s", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    results = {
        "quality": quality(options.time_budget_s),
        "speed": speed(options.repeats),
        "budget": budget(),
        "long": long_problems(),
        "shared_server": shared_server(options.repeats),
    }
    _show(results)
    write(options.out, results)


if __name__ == "__main__":
    main()
