"""Runs most benchmarks in their quick form, one after the other: `make bench`.

    python -m benchmarks [NAME...]

Each benchmark runs in a separate process and prints its tables. Results go to benchmarks/results/quick/NAME.json, which
leaves those of full runs alone. At the end all headlines are printed together and written to headlines.json there.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.report import RESULTS, console, write

QUICK: Final = RESULTS / "quick"
LONGEST_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark that runs as a module.

    Attributes:
        name: of the module, without the package.
        arguments: of its quick form.
        headline: from its results to one line; none if the results have a `headline`.
    """

    name: str
    arguments: tuple[str, ...] = ("--quick",)
    headline: Callable[[Any], str] | None = None

    def summarise(self, results: Any) -> str:
        """Return the results in one line."""
        return str(results["headline"]) if self.headline is None else self.headline(results)


def planning(results: Any) -> str:
    """Summarise planning time and quality."""
    (median_ms,) = (
        row["median_ms"]
        for row in results["speed"]
        if (row["strategy"], row["objective"], row["blocks"], row["devices"]) == ("shortest_path", "latency", 30, 16)
    )
    auto = results["quality"]["auto"]
    return (
        f"shortest_path plans 30 blocks on 16 devices in {median_ms:.1f} ms (budget 5 ms); auto is "
        f"{auto['mean_over_best']:.1%} over the best plan found on average"
    )


BENCHMARKS: Final = (
    Benchmark("cutting"),
    Benchmark("tiles_exact"),
    Benchmark("tiled_planning"),
    Benchmark("planning", ("--repeats", "1", "--time-budget-s", "0.05"), planning),
    Benchmark("simulation"),
    # Those of DistrEdge train: `make papers`.
    Benchmark("claims", ("--paper", "hu_mishra", "masud", "kafetzis", "duan_wu")),
    Benchmark("spatial_groups"),
    Benchmark("branching"),
    Benchmark("masud_gap"),
    Benchmark("bus_overhead"),
    Benchmark("datapath"),
    Benchmark("peers"),
    Benchmark("prediction"),
    Benchmark("reaction"),
    Benchmark("switching"),
    Benchmark("throughput"),
    Benchmark("live_bursts"),
    Benchmark("joint_streams"),
    Benchmark("encodings_measured"),
    Benchmark("monitor_footprint"),
    Benchmark("link_estimates"),
    Benchmark("square_waves"),
)


def run(benchmark: Benchmark, folder: Path) -> Any:
    """Run one benchmark and return its results.

    Raises:
        subprocess.SubprocessError: it fails, or takes longer than `LONGEST_S`.
    """
    path = folder / f"{benchmark.name}.json"
    command = [sys.executable, "-m", f"benchmarks.{benchmark.name}", *benchmark.arguments, "--out", str(path)]
    subprocess.run(command, check=True, timeout=LONGEST_S)
    return json.loads(path.read_text(encoding="utf-8"))


def run_all(benchmarks: Sequence[Benchmark], folder: Path) -> list[tuple[str, str, float]]:
    """Run benchmarks one after the other; return the name, headline and duration (s) of each."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = []
    for benchmark in benchmarks:
        console().rule(benchmark.name)
        started_s = time.monotonic()
        try:
            headline = benchmark.summarise(run(benchmark, folder))
        except (subprocess.SubprocessError, OSError, ValueError, KeyError) as error:
            headline = f"FAILED: {error}"
        runs.append((benchmark.name, headline, time.monotonic() - started_s))
        console().print(headline)
    return runs


def main() -> None:
    """Run the named benchmarks, or all, and print their headlines."""
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser.add_argument("names", nargs="*", choices=[*names, []], default=[], help="all if none is given")
    options = parser.parse_args()
    chosen = [benchmark for benchmark in BENCHMARKS if not options.names or benchmark.name in options.names]
    runs = run_all(chosen, QUICK)
    table = Table("benchmark", "headline", "s", title="side by side", show_lines=True)
    for name, headline, elapsed_s in runs:
        table.add_row(name, headline, f"{elapsed_s:.0f}")
    console().print(table)
    write(QUICK / "headlines.json", {"headlines": {name: headline for name, headline, _ in runs}})
    if any(headline.startswith("FAILED") for _, headline, _ in runs):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
