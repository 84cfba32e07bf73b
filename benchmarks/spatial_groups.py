"""DistrEdge's groups of devices and networks: images per second of every strategy with tiles, and their planning time.

    python -m benchmarks.spatial_groups [--quick] [--models] [--episodes N] [--jobs N] [--out FILE]

Images follow each other one at a time, so that images per second are 1 / latency. The paper's ratios of DistrEdge to
AOFL stand beside those found here. `tiled` takes part where it is registered.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from rich.table import Table

from benchmarks.network_traces import TraceSettings, latencies_ms
from benchmarks.report import argument_parser, console, write
from benchmarks.spatial_cases import Case, cases, model_cases
from planning.learned.split_search import EPISODES
from planning.problem.plan import Plan
from planning.search.device_network import DeviceNetwork
from planning.search.spatial_group import spatial_group
from planning.strategies.registry import known_strategies
from planning.strategies.spatial.distredge import BASELINES, SPLITS_PER_SECOND, Distredge

QUICK_CASES: Final = ("DA@50", "DB@50", "DC@50", "NA nano", "ND nano")
# Ratios of DistrEdge to AOFL that the paper states (section V.D).
PUBLISHED: Final[Mapping[str, tuple[float, float]]] = {
    "DA": (1.2, 1.5),
    "DB": (1.5, 3.0),
    "DC": (1.5, 3.0),
    "NA": (1.2, 1.7),
    "NB": (1.1, 1.3),
    "NC": (1.1, 1.3),
    "ND": (1.2, 1.7),
    "LA": (1.3, 3.0),
    "LB": (1.3, 3.0),
    "LC": (1.3, 3.0),
    "LD": (1.3, 3.0),
}


@dataclass(frozen=True, slots=True)
class Rate:
    """Images per second of one strategy, and the seconds that it planned."""

    images_per_s: float
    plan_s: float
    devices: tuple[str, ...]


def compare(case: Case, episodes: int, seed: int = 0) -> dict[str, Rate]:
    """Return the rate of every strategy in one experiment.

    Args:
        case: the experiment.
        episodes: of DistrEdge's training.
        seed: of its training.
    """
    problem, found = case.problem(), {}
    group = spatial_group(DeviceNetwork(problem), problem.streams[0])
    assert group is not None
    volumes = len(Distredge().partition(group, seed))
    budget_s = (episodes * volumes + 0.5) / SPLITS_PER_SECOND
    names = [*(each.name for each in BASELINES), "distredge", "tiled"]
    for name in names:
        if name not in known_strategies():
            continue
        strategy = known_strategies()[name]
        started_s = time.perf_counter()
        answer = strategy.solve(problem, seed=seed, time_budget_s=budget_s if name == "distredge" else 1.0)
        assert isinstance(answer, Plan), name
        (route,) = answer.streams["camera"].routes
        found[name] = Rate(1000 / answer.cost, time.perf_counter() - started_s, route.devices)
    return found


def _compared(job: tuple[Case, int]) -> dict[str, Rate]:
    return compare(*job)


def rates_table(results: Mapping[str, Mapping[str, Rate]]) -> Table:
    """Return images per second by experiment and strategy, with the ratios to AOFL."""
    names = list(next(iter(results.values())))
    table = Table("group", *names, "distredge / aofl", "published", title="images per second")
    for case, rates in results.items():
        low, high = PUBLISHED.get(case[:2], (1.1, 2.6))
        ratio = rates["distredge"].images_per_s / rates["aofl"].images_per_s
        shown = [f"{rates[name].images_per_s:.1f}" for name in names]
        table.add_row(case, *shown, f"{ratio:.2f}", f"{low:g} to {high:g}")
    return table


def plan_time_table(results: Mapping[str, Mapping[str, Rate]]) -> Table:
    """Return the median and the longest planning time of every strategy."""
    table = Table("strategy", "median, ms", "longest, ms", title="time to plan")
    for name in next(iter(results.values())):
        times = [rates[name].plan_s * 1000 for rates in results.values()]
        table.add_row(name, f"{np.median(times):.0f}", f"{max(times):.0f}")
    return table


def traces_table(latencies: Mapping[str, Sequence[float]]) -> Table:
    """Return the mean latency of every method over an hour, and over its thirds."""
    table = Table("method", "mean, ms", "0 to 20 min", "20 to 40 min", "40 to 60 min", title="changing network")
    for name, values in latencies.items():
        thirds = [f"{float(np.mean(part)):.0f}" for part in np.array_split(np.array(values), 3)]
        table.add_row(name, f"{float(np.mean(values)):.0f}", *thirds)
    return table


def main() -> None:
    """Run from the command line."""
    parser = argument_parser(
        "spatial_groups", __doc__, quick="five groups, 60 episodes, an image per minute of the traces"
    )
    parser.add_argument("--episodes", type=int, default=EPISODES, help="of DistrEdge's training (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="experiments at a time (default: %(default)s)")
    parser.add_argument("--models", action="store_true", help="also ResNet50, InceptionV3 and YOLOv2")
    options = parser.parse_args()
    episodes = 60 if options.quick else options.episodes
    chosen = [case for case in cases() if not options.quick or case.name in QUICK_CASES]
    chosen += model_cases() if options.models else []
    with ProcessPoolExecutor(options.jobs) as pool:
        results = {}
        for case, rates in zip(chosen, pool.map(_compared, [(case, episodes) for case in chosen]), strict=True):
            results[case.name] = rates
            ratio = rates["distredge"].images_per_s / rates["aofl"].images_per_s
            console().print(f"{case.name}: distredge {ratio:.2f} x aofl")
    settings = TraceSettings(60.0, episodes, 20) if options.quick else TraceSettings(episodes=episodes)
    latencies = latencies_ms(settings)
    console().print(rates_table(results), plan_time_table(results), traces_table(latencies))
    write(options.out, report(results, latencies, episodes))


def report(
    results: Mapping[str, Mapping[str, Rate]], latencies: Mapping[str, Sequence[float]], episodes: int
) -> dict[str, Any]:
    """Return the results as JSON values, with a headline."""
    ratios = [rates["distredge"].images_per_s / rates["aofl"].images_per_s for rates in results.values()]
    best = sum(
        rates["distredge"].images_per_s >= max(each.images_per_s for name, each in rates.items() if name != "tiled")
        for rates in results.values()
    )
    means = ", ".join(f"{name} {float(np.mean(values)):.0f}" for name, values in latencies.items())
    headline = (
        f"DistrEdge after {episodes} episodes {min(ratios):.2f} to {max(ratios):.2f} times AOFL, best of the nine in "
        f"{best} of {len(ratios)} groups; changing network, mean ms: {means}"
    )
    return {
        "headline": headline,
        "episodes": episodes,
        "groups": {
            case: {name: [rate.images_per_s, rate.plan_s, list(rate.devices)] for name, rate in rates.items()}
            for case, rates in results.items()
        },
        "traces_ms": {name: list(values) for name, values in latencies.items()},
    }


if __name__ == "__main__":
    main()
