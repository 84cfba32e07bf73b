"""Benchmark of the learned partitioner: its gap to the best placement, and the time of a decision.

    python -m benchmarks.masud_gap [--quick]

The problems are random chains outside its training set, and published split profiles. These are of a Raspberry Pi 4
with another one and with a GPU. The best placement has the same shape: first block at the source, no device twice.
"""

import argparse
import statistics
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks import masud_profiles
from benchmarks.planning import random_problem
from benchmarks.report import RESULTS, console, percentile, write
from benchmarks.train_masud import HELD_OUT_SEED, training_problems
from planning.problem.plan import Plan
from planning.problem.problem import Problem
from planning.search.cost_tables import build_tables
from planning.strategies.masud_learned import MasudLearned
from planning.strategies.registry import strategies
from shared.policy import Objective

# Splits whose rates differ by less than this share are equally good: profiles have blocks that take no time.
TIE = 0.01


def best_ms(problem: Problem) -> float:
    """Return the least bottleneck of a placement with the first block at the source and no device twice, in ms.

    By dynamic programming over (block, devices used, device), O(B^2 2^D D^2). Encodings and memory do not count.
    """
    tables = build_tables(problem, problem.streams[0])
    count, blocks = tables.run_ms.shape
    run = np.where(np.isfinite(tables.run_ms), tables.run_ms, 1e12)
    total = np.concatenate([np.zeros((count, 1)), run.cumsum(axis=1)], axis=1)
    sends = tables.transfer_ms[:, 0]

    @cache
    def rest_ms(start: int, used: int, node: int) -> float:
        """Return the least bottleneck if blocks from ``start`` on run on ``node`` and then on devices not ``used``."""
        bottlenecks_ms = []
        for stop in range(start + 1, blocks + 1):
            segment_ms = float(tables.start_ms[node] + total[node, stop] - total[node, start])
            if stop == blocks:
                leaves = tables.sink is not None and tables.sink != node
                bottlenecks_ms.append(max(segment_ms, float(sends[stop, node, tables.sink]) if leaves else 0.0))
                continue
            for other in range(count):
                if not used >> other & 1:
                    piece_ms = max(segment_ms, float(sends[stop, node, other]))
                    # The bottleneck is at least this piece, so a slower one than the best so far cannot improve it.
                    if not bottlenecks_ms or piece_ms < min(bottlenecks_ms):
                        bottlenecks_ms.append(max(piece_ms, rest_ms(stop, used | 1 << other, other)))
        return min(bottlenecks_ms)

    return rest_ms(0, 1 << tables.source, tables.source)


def gaps(problems: list[Problem]) -> dict[str, Any]:
    """Return the learned partitioner's gaps to the best placement of its shape and to the best plan of ``auto``."""
    own, over_all = [], []
    for problem in problems:
        answer = MasudLearned().solve(problem, seed=0, time_budget_s=1.0)
        best = strategies()["auto"].solve(problem, seed=0, time_budget_s=0.3)
        if isinstance(answer, Plan) and isinstance(best, Plan):
            own.append(answer.cost / best_ms(problem) - 1)
            over_all.append(answer.cost / best.cost - 1)
    return {
        "problems": len(problems),
        "plans": len(own),
        "within_5_percent": sum(gap <= 0.05 for gap in own),
        "mean": statistics.fmean(own),
        "median": statistics.median(own),
        "p90": percentile(own, 0.9),
        "worst": max(own),
        "mean_over_auto": statistics.fmean(over_all),
        "worst_over_auto": max(over_all),
    }


def chains(quick: bool) -> dict[str, dict[str, Any]]:
    """Return gaps on chains of several sizes, without those of the training."""
    count = 8 if quick else 40

    def ours(blocks: int, devices: int, count: int = count) -> list[Problem]:
        return [random_problem(seed, blocks, devices, Objective.THROUGHPUT) for seed in range(count)]

    held_out = [
        each
        for each in training_problems(4 * count, HELD_OUT_SEED)
        if all(device.memory_bytes is None for device in each.devices.values())
    ]
    return {
        "as trained, others": gaps(held_out),
        "10 blocks, 2 devices": gaps(ours(10, 2)),
        "10 blocks, 4 devices": gaps(ours(10, 4)),
        "20 blocks, 4 devices": gaps(ours(20, 4)),
        "20 blocks, 8 devices": gaps(ours(20, 8, count // 4)),
        "40 blocks, 4 devices": gaps(ours(40, 4)),
    }


def split_profiles() -> list[dict[str, Any]]:
    """Return the learned and the best split of every published profile, in blocks on the Pi, and both rates."""
    rows = []
    for model, pair, problem in masud_profiles.problems():
        answer = MasudLearned().solve(problem, seed=0, time_budget_s=1.0)
        rates = [_rate_hz(problem, split) for split in range(1, len(problem.models[model].blocks) + 1)]
        if not isinstance(answer, Plan):
            raise SystemExit(f"{model} on {pair} has no plan")
        split = answer.streams["camera"].routes[0].stages[0].stop
        ties = [index + 1 for index, rate in enumerate(rates) if rate >= (1 - TIE) * max(rates)]
        rows.append(
            {
                "model": model,
                "pair": pair,
                "split": split,
                "best_split": rates.index(max(rates)) + 1,
                "blocks_off": min(abs(split - each) for each in ties),
                "rate_hz": 1000 / answer.cost,
                "best_rate_hz": max(rates),
            }
        )
    return rows


def _rate_hz(problem: Problem, split: int) -> float:
    tables = build_tables(problem, problem.streams[0])
    head_ms, tail_ms = tables.run_ms[0, :split].sum(), tables.run_ms[1, split:].sum()
    sent_ms = tables.transfer_ms[split, 0, 0, 1] if split < tables.blocks else 0.0
    return float(1000 / max(head_ms, tail_ms, sent_ms))


def decision_ms(repeats: int) -> list[float]:
    """Return the times of planning 20 blocks on 4 devices with the policy loaded, in ms."""
    problems = [random_problem(seed, 20, 4, Objective.THROUGHPUT) for seed in range(10)]
    strategy = MasudLearned()
    strategy.solve(problems[0], seed=0, time_budget_s=1.0)
    times_ms = []
    for problem in problems * repeats:
        started_s = time.perf_counter()
        strategy.solve(problem, seed=0, time_budget_s=1.0)
        times_ms.append((time.perf_counter() - started_s) * 1000)
    return times_ms


def _show(results: dict[str, Any]) -> None:
    table = Table("chains", "plans", "within 5 %", title="Bottleneck over the best placement of the same shape")
    columns = ("mean", "median", "p90", "worst", "mean_over_auto", "worst_over_auto")
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for name, row in results["chains"].items():
        counts = f"{row['plans']}/{row['problems']}", f"{row['within_5_percent']}/{row['plans']}"
        table.add_row(name, *counts, *(f"{row[column]:.1%}" for column in columns))
    console().print(table)
    table = Table("model", "devices", "split", "best split", "blocks off", "img/s", "best img/s")
    for row in results["profiles"]:
        whole = str(row["split"]), str(row["best_split"]), str(row["blocks_off"])
        table.add_row(row["model"], row["pair"], *whole, f"{row['rate_hz']:.2f}", f"{row['best_rate_hz']:.2f}")
    console().print(table)


def main() -> None:
    """Run the benchmark, print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS / "masud_gap.json")
    options = parser.parse_args()
    results: dict[str, Any] = {"chains": chains(options.quick), "profiles": split_profiles()}
    times_ms = decision_ms(3 if options.quick else 20)
    results["decision_ms"] = {"p50": percentile(times_ms, 0.5), "p90": percentile(times_ms, 0.9)}
    large = results["chains"]["20 blocks, 4 devices"]
    results["headline"] = (
        f"learned partitioner, 20 blocks on 4 devices: bottleneck {large['mean']:.1%} over the best of its shape on "
        f"average (worst {large['worst']:.0%}), decided in {results['decision_ms']['p50']:.1f} ms (published: 10 ms); "
        f"at most {max(row['blocks_off'] for row in results['profiles'])} blocks off on the published profiles"
    )
    _show(results)
    console().print(results["headline"])
    write(options.out, results)


if __name__ == "__main__":
    main()
