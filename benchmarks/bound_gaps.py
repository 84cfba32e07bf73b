"""Benchmark of the proofs of ``auto``: gaps between cost and proved bound for several streams and bursts."""

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.random_problem_files import OBJECTIVES, random_document
from planning.files.problem_file import read_problem
from planning.problem.plan import Plan
from planning.strategies.registry import solve

# Problems per objective; the second number is for ``--quick``.
FULL, QUICK = 20, 3


@dataclass(frozen=True, slots=True)
class Gaps:
    """The proofs of one objective.

    Attributes:
        objective: its name.
        problems: number of problems with several streams or jobs.
        proved: plans that are proved optimal.
        without: plans without a proved bound above 0.
        mean: mean of (cost - bound) / cost over all problems; a plan without a bound counts as 1.
        median: its median.
        slowest_ms: longest time of a solve.
    """

    objective: str
    problems: int
    proved: int
    without: int
    mean: float
    median: float
    slowest_ms: float


def measure(objective: str, problems: int, time_budget_s: float, first: int = 0) -> tuple[Gaps, list[dict[str, Any]]]:
    """Return the gaps of ``auto`` on the problems of ``benchmarks.random_problem_files`` with several jobs."""
    rows: list[dict[str, Any]] = []
    seed = first * len(OBJECTIVES) + OBJECTIVES.index(objective)
    while len(rows) < problems:
        document = random_document(seed)
        if sum(stream["jobs"] for stream in document["streams"]) > 1:
            problem = read_problem(json.dumps(document))
            began_s = time.perf_counter()
            answer = solve(problem, time_budget_s=time_budget_s)
            took_ms = (time.perf_counter() - began_s) * 1000
            if isinstance(answer, Plan):
                row = {"seed": seed, "cost": answer.cost, "bound": answer.lower_bound, "optimal": answer.optimal}
                rows.append({**row, "strategy": answer.strategy, "took_ms": took_ms})
        seed += len(OBJECTIVES)
    gaps = [_gap(row) for row in rows]
    return Gaps(
        objective,
        len(rows),
        sum(row["optimal"] for row in rows),
        sum(not row["optimal"] and not row["bound"] for row in rows),
        statistics.fmean(gaps),
        statistics.median(gaps),
        max(row["took_ms"] for row in rows),
    ), rows


def _gap(row: dict[str, Any]) -> float:
    if row["optimal"] or row["cost"] <= 0:
        return 0.0
    return 1.0 - max(0.0, row["bound"] or 0.0) / float(row["cost"])


def main() -> None:
    """Run the benchmark, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few problems")
    parser.add_argument("--problems", type=int, help="problems per objective")
    parser.add_argument("--objective", choices=OBJECTIVES, action="append", help="this one only; may be repeated")
    parser.add_argument("--time-budget-s", type=float, default=1.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    problems = options.problems or (QUICK if options.quick else FULL)
    print(f"{'objective':16} problems  proved  no bound  mean gap  median gap  slowest ms")
    documents = {}
    for objective in options.objective or OBJECTIVES:
        gaps, rows = measure(objective, problems, options.time_budget_s)
        shares = f"{gaps.mean:9.1%} {gaps.median:11.1%}"
        print(
            f"{objective:16} {gaps.problems:8} {gaps.proved:7} {gaps.without:9} {shares} {gaps.slowest_ms:11.0f}",
            flush=True,
        )
        documents[objective] = {**asdict(gaps), "rows": rows}
    if options.out:
        options.out.write_text(json.dumps(documents, indent=1))


if __name__ == "__main__":
    main()
