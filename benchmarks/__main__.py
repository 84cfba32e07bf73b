"""Most benchmarks in their quick form, one after the other, with a headline each: `make bench`.

    python -m benchmarks [NAME...]

Each runs in a process of its own and prints its tables; its results go to benchmarks/results/quick/NAME.json, so that
those of full runs stay. At the end all headlines appear side by side, in benchmarks/results/quick/headlines.json too.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.report import RESULTS, console, write

QUICK = RESULTS / "quick"
LONGEST_S = 600.0


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark.

    Attributes:
        arguments: of its quick form.
        headline: what its results say, in one line.
        prints_json: it prints its results instead of writing them.
    """

    name: str
    arguments: tuple[str, ...]
    headline: Callable[[Any], str]
    prints_json: bool = False


def own_headline(results: Any) -> str:
    """Return the headline that a benchmark has written itself."""
    return str(results["headline"])


def cutting(results: Any) -> str:
    """Sum up exactness."""
    cuts = [cut for model in results["models"] for cut in model["cuts"]]
    worst = max(cut["max_rel_error"] for cut in cuts)
    exact = sum(cut["bit_exact"] for cut in cuts)
    return (
        f"{exact} of {len(cuts)} cuts of {len(results['models'])} models bit-exact, largest relative error {worst:.0e}"
    )


def planning(results: Any) -> str:
    """Sum up planning time and quality."""
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


def encodings(results: Any) -> str:
    """Sum up what encoded splits gain."""
    cells: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in results:
        cell = cells.setdefault((row["speed"], row["bandwidth_mbps"], row["jpeg"]), {})
        cell[row["way"]] = row["measured_ms"]
    gains = [min(cell["local"], cell["remote"]) / cell["encoded"] for cell in cells.values()]
    errors = [abs(row["measured_ms"] / row["predicted_ms"] - 1) for row in results]
    return (
        f"encoded splits are more than 5 % faster than local and remote in {sum(gain > 1.05 for gain in gains)} of "
        f"{len(gains)} cells (best {max(gains):.2f} x); prediction off by {sum(errors) / len(errors):.1%} on average"
    )


def monitor_footprint(results: Any) -> str:
    """Sum up what a monitor takes."""
    return (
        f"an idle monitor holds {results['monitor_resident_mib']:.0f} MiB (a bare interpreter "
        f"{results['interpreter_resident_mib']:.0f} MiB) and takes {results['cpu_percent_of_one_core']:.1f} % of a core"
    )


BENCHMARKS = (
    Benchmark("cutting", ("--quick",), cutting),
    Benchmark("planning", ("--repeats", "1", "--time-budget-s", "0.05"), planning),
    Benchmark("simulation", ("--quick",), own_headline),
    Benchmark("claims", (), own_headline),
    Benchmark("branching", ("--quick",), own_headline),
    Benchmark("masud_gap", ("--quick",), own_headline),
    Benchmark("bus_overhead", ("--quick",), own_headline),
    Benchmark("prediction", ("--quick",), own_headline),
    Benchmark("reaction", ("--quick",), own_headline),
    Benchmark("switching", ("--quick",), own_headline),
    Benchmark("throughput", ("--quick",), own_headline),
    Benchmark("live_bursts", ("--repeats", "1"), own_headline),
    Benchmark("joint_streams", ("--rounds", "5"), own_headline),
    Benchmark("encodings_measured", ("--requests", "3", "--burst", "8"), encodings),
    Benchmark("monitor_footprint", ("--seconds", "10"), monitor_footprint, prints_json=True),
)


def run(benchmark: Benchmark, folder: Path) -> Any:
    """Run one benchmark and return its results.

    Raises:
        subprocess.SubprocessError: it failed, or took too long.
    """
    command = [sys.executable, "-m", f"benchmarks.{benchmark.name}", *benchmark.arguments]
    path = folder / f"{benchmark.name}.json"
    if benchmark.prints_json:
        found = subprocess.run(command, check=True, timeout=LONGEST_S, stdout=subprocess.PIPE, text=True)
        path.write_text(found.stdout, encoding="utf-8")
    else:
        subprocess.run([*command, "--out", str(path)], check=True, timeout=LONGEST_S)
    return json.loads(path.read_text(encoding="utf-8"))


def run_all(benchmarks: Sequence[Benchmark], folder: Path) -> list[tuple[str, str, float]]:
    """Run benchmarks one after the other; return names, headlines, and how many seconds each took."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for benchmark in benchmarks:
        console().rule(benchmark.name)
        started_s = time.monotonic()
        try:
            headline = benchmark.headline(run(benchmark, folder))
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            headline = f"FAILED: {error}"
        found.append((benchmark.name, headline, time.monotonic() - started_s))
        console().print(headline)
    return found


def main() -> None:
    """Run what is asked for, and print all headlines."""
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [each.name for each in BENCHMARKS]
    parser.add_argument("names", nargs="*", choices=[*names, []], default=[], help="all if none is given")
    options = parser.parse_args()
    chosen = [each for each in BENCHMARKS if not options.names or each.name in options.names]
    found = run_all(chosen, QUICK)
    table = Table("benchmark", "headline", "s", title="side by side", show_lines=True)
    for name, headline, elapsed_s in found:
        table.add_row(name, headline, f"{elapsed_s:.0f}")
    console().print(table)
    write(QUICK / "headlines.json", {"headlines": {name: headline for name, headline, _ in found}})
    if any(headline.startswith("FAILED") for _, headline, _ in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
