"""Benchmark of ``auto`` against simulated annealing that shares nothing with the strategies but the file format."""

import argparse
import json
import math
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.annealed_jobs import ProcessorTime, annealed
from benchmarks.own_simulation import OwnSimulation
from benchmarks.random_problem_files import OBJECTIVES, random_document

# The command that plans a problem file, as a user runs it.
PLAN = (sys.executable, "-m", "services.cli.main", "plan")

# Time budget of ``auto``.
BUDGET_S = 1.0

# Number of problems and seconds of annealing each; the second pair is for ``--quick``.
FULL, QUICK = (400, 10.0), (21, 2.0)


def planned(document: dict[str, Any]) -> dict[str, Any]:
    """Return the plan file of ``auto`` at BUDGET_S, by the command line, and its processor time as ``cpu_s``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.json"
        path.write_text(json.dumps(document))
        command = [*PLAN, str(path), "--json", "--time-budget-s", str(BUDGET_S)]
        before_s = _children_s()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise RuntimeError(done.stderr)
    plan: dict[str, Any] = json.loads(done.stdout)
    return {**plan, "cpu_s": _children_s() - before_s}


def _children_s() -> float:
    """Return the processor time of all processes that have been started and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Annealings:
    """The costs that annealing has found, kept in a file of JSON lines, so that a long run can be resumed."""

    def __init__(self, seconds: float, path: Path | None) -> None:
        self._seconds, self._path = seconds, path
        self._costs: dict[int, float | None] = {}
        if path is not None and path.exists():
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            self._costs = {row["seed"]: row["annealing"] for row in rows if row["seconds"] == seconds}

    def cost(self, seed: int, document: dict[str, Any]) -> float | None:
        """Return the cost of the best jobs, None if there are none; anneal if the file does not have it."""
        if seed not in self._costs:
            best = annealed(OwnSimulation(document), ProcessorTime(self._seconds), random.Random(seed))[0]
            self._costs[seed] = best if best < math.inf else None
            if self._path is not None:
                row = {"seed": seed, "seconds": self._seconds, "annealing": self._costs[seed]}
                with self._path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
        return self._costs[seed]


def compare(seeds: Sequence[int], annealings: Annealings, *, only_annealing: bool = False) -> list[dict[str, Any]]:
    """Return one row per problem: the costs of ``auto`` and of annealing, and whether the plan is proved."""
    rows = []
    for seed in seeds:
        document = random_document(seed)
        row = {"seed": seed, "objective": document["policy"]["objective"], "annealing": annealings.cost(seed, document)}
        if not only_annealing:
            plan = planned(document)
            cost = plan.get("cost") if plan["feasible"] else None
            rows.append({**row, "auto": cost, **{key: plan.get(key) for key in ("optimal", "solve_ms", "cpu_s")}})
    return rows


def ratio(row: dict[str, Any]) -> float | None:
    """Return the cost of ``auto`` over the best known; None where neither has a plan."""
    costs = [cost for cost in (row["auto"], row["annealing"]) if cost is not None]
    if not costs:
        return None
    if row["auto"] is None:
        return math.inf
    least = min(costs)
    if row["objective"] == "delay_variance":
        # Standard deviations, which have the unit of a delay.
        return math.sqrt(row["auto"] / least) if least > 0 else (1.0 if row["auto"] <= 1e-9 else math.inf)
    return row["auto"] / least if least > 0 else (1.0 if row["auto"] <= 1e-9 else math.inf)


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return mean, 90th percentile and largest ratio, and the number of proofs, per objective."""
    result: dict[str, dict[str, Any]] = {}
    for objective in OBJECTIVES:
        own = [row for row in rows if row["objective"] == objective]
        ratios = sorted(value for row in own if (value := ratio(row)) is not None)
        if ratios:
            result[objective] = {
                "problems": len(ratios),
                "mean": statistics.fmean(ratios),
                "p90": ratios[min(len(ratios) - 1, math.ceil(0.9 * len(ratios)) - 1)],
                "worst": ratios[-1],
                "proved": sum(bool(row["optimal"]) for row in own),
                "median_cpu_s": statistics.median(row["cpu_s"] for row in own),
                "slowest_cpu_s": max(row["cpu_s"] for row in own),
            }
    return result


def main() -> None:
    """Run the benchmark, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few problems, 2 s of annealing each")
    parser.add_argument("--problems", type=int)
    parser.add_argument("--first", type=int, default=0, help="seed of the first problem")
    parser.add_argument("--annealed", type=Path, help="file of annealing's costs: known ones are read, new ones added")
    parser.add_argument("--only-annealing", action="store_true", help="fill that file and end")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    problems, seconds = QUICK if options.quick else FULL
    seeds = range(options.first, options.first + (options.problems or problems))
    rows = compare(seeds, Annealings(seconds, options.annealed), only_annealing=options.only_annealing)
    if options.only_annealing:
        return
    table = summary(rows)
    print(f"{'objective':16} problems   mean    p90  worst  proved  processor s (median, most)")
    for objective, row in table.items():
        numbers = f"{row['mean']:6.3f} {row['p90']:6.3f} {row['worst']:6.3f}"
        times = f"{row['median_cpu_s']:7.2f} {row['slowest_cpu_s']:7.2f}"
        print(f"{objective:16} {row['problems']:8} {numbers} {row['proved']:7} {times}")
    if options.out:
        options.out.write_text(json.dumps({"summary": table, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
