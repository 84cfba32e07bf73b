"""Options, percentiles and result files that all benchmarks share."""

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console

RESULTS: Final = Path(__file__).parent / "results"


def argument_parser(name: str, description: str | None, *, quick: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has: `--quick` and `--out`.

    Args:
        name: module of the benchmark, without its package.
        description: docstring of that module.
        quick: help text of `--quick`, which says how the quick form differs.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument(
        "--out", type=Path, default=RESULTS / f"{name}.json", help="file for the results (default: %(default)s)"
    )
    return parser


def percentile(values: Sequence[float], fraction: float) -> float:
    """Return the value at `fraction` (0 to 1) of the ordered values, interpolated linearly between two of them."""
    ordered = sorted(values)
    position = fraction * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def spread(values: Sequence[float], upper: float = 0.99) -> dict[str, float]:
    """Return the median and an upper percentile, by name, rounded to three decimals."""
    return {"p50": round(percentile(values, 0.5), 3), f"p{upper * 100:.0f}": round(percentile(values, upper), 3)}


def console() -> Console:
    """Return a console of at least 130 columns, so that tables keep their columns."""
    return Console(width=max(130, Console().width))


def machine() -> dict[str, Any]:
    """Return processor, cores, system, Python version and load average of this machine.

    The load is a measure of how reliable the times are, since a busy machine makes all of them longer.
    """
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
    }


def write(path: Path, results: Mapping[str, Any]) -> None:
    """Write results as JSON, with a description of this machine under `machine`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), **results}, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
