"""What every benchmark of the running system shares: percentiles, and results with the machine they were seen on."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

RESULTS = Path(__file__).parent / "results"


def percentile(values: Sequence[float], fraction: float) -> float:
    """Return the value at `fraction` of the ordered values, between two of them linearly."""
    ordered = sorted(values)
    position = fraction * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def spread(values: Sequence[float], upper: float = 0.99) -> dict[str, float]:
    """Return the median and an upper percentile, by name, rounded to the microsecond if they are milliseconds."""
    return {"p50": round(percentile(values, 0.5), 3), f"p{upper * 100:.0f}": round(percentile(values, upper), 3)}


def console() -> Console:
    """Return a console on which tables are not squeezed."""
    return Console(width=max(130, Console().width))


def machine() -> dict[str, Any]:
    """Return what is to be known of this machine, its present load included: on a busy one all times are longer."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
    }


def write(path: Path, results: Mapping[str, Any]) -> None:
    """Write results as JSON, with the machine they were seen on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), **results}, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
