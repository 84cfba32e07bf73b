"""How long a slow route lasts: a source that switches by itself against the planner's next plan.

    python -m benchmarks.switching [--repetitions N] [--quick] [--out FILE]

The fleet of `segue demo` runs whole, monitors included, and requests follow each other without a pause. Again and again
the link to the server sags, or, with links so slow that the camera computes itself, the camera gets busy. Counted from
the change are the source's own switch (it has measured two slow transfers or two slow segments, or one transfer is
overdue; its next request takes the other route), and the planner's plan (a monitor has noticed, the planner has
decided, devices are ready). Segments of two requests that wait for each other take long on a busy camera: it needs two
of them to be sure, as its monitor does. All times are wall clock, on one machine.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.emulated_fleet import RunningFleet, demo_fleet, running_fleet
from benchmarks.fleet_harness import BenchmarkFailed
from benchmarks.report import RESULTS, console, spread, write
from services.cli.testbed.conditions import Conditions, usual_conditions
from services.cli.testbed.fleet_description import LinkDescription

OUT = RESULTS / "switching.json"
REPETITIONS, QUICK_REPETITIONS = 8, 2
SAGGING_MBPS, SLOW_MBPS, BUSY = 1.5, 1.5, 6.0
REROUTE_S = 20.0
"""A plan that has not come by then does not come."""
CALM_S = 6.0
"""Before each change: the planner has told thresholds of its plan, and the cooldown is over."""
IN_FLIGHT = 2
REMOTE = "server"
"""The demo's fastest device: with usual links all is computed there."""
LINK_SAGS, SOURCE_BUSY = "link sags", "source gets busy"


@dataclass(frozen=True, slots=True)
class Escape:
    """What ended one slow route, ms from the change.

    Attributes:
        switched_ms: the source has told of its own decision; none if the plan was first.
        committed_ms: the planner's next plan; none if it keeps the old one.
    """

    change: str
    switched_ms: float | None
    committed_ms: float | None


class Requests:
    """As many requests as may be in flight, without a pause."""

    def __init__(self, running: RunningFleet) -> None:
        self._running = running

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Keep requests coming for the time of the block."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._ask_all(number), name=f"requests {number}") for number in range(IN_FLIGHT)]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    async def _ask_all(self, number: int) -> None:
        payloads = self._running.workload.payloads
        while True:
            await self._running.harness.ask(payloads[number % len(payloads)])
            number += IN_FLIGHT


async def escape(running: RunningFleet, change: str) -> Escape:
    """Change the fleet once it is calm, and follow what comes of it."""
    before, after = conditions(running, change)
    await running.emulate(before)
    requests = Requests(running)
    async with requests.flowing():
        await asyncio.sleep(CALM_S)
        plan, changed_at_s = running.plan, time.time()
        await running.emulate(after)
        try:
            await running.harness.until(lambda: running.epoch > plan.epoch, "a plan", REROUTE_S)
        except BenchmarkFailed:
            committed_ms = None
        else:
            committed_ms = 1000 * (running.plan.committed_at_s - changed_at_s)
        await asyncio.sleep(1.0)
    switched_ms = [1000 * (at_s - changed_at_s) for at_s in running.harness.switched_at_s if at_s > changed_at_s]
    is_first = bool(switched_ms) and (committed_ms is None or switched_ms[0] < committed_ms)
    return Escape(change, switched_ms[0] if is_first else None, committed_ms)


def conditions(running: RunningFleet, change: str) -> tuple[Conditions, Conditions]:
    """Return what is true before a change, and after it."""
    usual, source = usual_conditions(running.fleet), running.fleet.stream.source
    if change == LINK_SAGS:
        used = tuple(sorted((source, REMOTE)))
        return usual, Conditions({pair: _at(link, SAGGING_MBPS, pair == used) for pair, link in usual.links.items()})
    home = Conditions({pair: _at(link, SLOW_MBPS, source in pair) for pair, link in usual.links.items()})
    return home, replace(home, load={source: BUSY})


def _at(link: LinkDescription, mbps: float, is_changed: bool) -> LinkDescription:
    return replace(link, bandwidth_mbps=mbps) if is_changed else link


async def measure(repetitions: int) -> list[Escape]:
    """Go through all changes again and again."""
    fleet, folder = demo_fleet()
    # Damping doubles the gain that a return needs with each of them; here nothing but returns happens.
    policy = replace(fleet.policy, cooldown_ms=0.0, max_in_flight=IN_FLIGHT, min_gain=0.001)
    found: list[Escape] = []
    with tempfile.TemporaryDirectory() as run_dir:
        async with running_fleet(replace(fleet, policy=policy), folder, Path(run_dir)) as running:
            for _ in range(repetitions):
                for change in (LINK_SAGS, SOURCE_BUSY):
                    found.append(await escape(running, change))
                    print(found[-1], flush=True)
    return found


def summary(escapes: Sequence[Escape]) -> dict[str, dict[str, Any]]:
    """Sum up by kind of change."""
    found: dict[str, dict[str, Any]] = {}
    for kind in dict.fromkeys(each.change for each in escapes):
        chosen = [each for each in escapes if each.change == kind]
        switched = [each.switched_ms for each in chosen if each.switched_ms is not None]
        committed = [each.committed_ms for each in chosen if each.committed_ms is not None]
        found[kind] = {
            "count": len(chosen),
            "source_first": len(switched),
            "switched_ms": spread(switched, 0.95) if switched else None,
            "committed_ms": spread(committed, 0.95) if committed else None,
        }
    return found


def table(found: Mapping[str, Mapping[str, Any]]) -> Table:
    """Show the figures."""
    result = Table(title="from the change to the end of the slow route, ms (p50 / p95)")
    for heading in ("change", "count", "source first", "source switches", "planner commits"):
        result.add_column(heading, justify="left" if heading == "change" else "right")
    for kind, row in found.items():
        cells = [
            "-" if row[key] is None else " / ".join(f"{value:.0f}" for value in row[key].values())
            for key in ("switched_ms", "committed_ms")
        ]
        result.add_row(kind, str(row["count"]), str(row["source_first"]), *cells)
    return result


def headline(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Say it in one line."""
    parts = []
    for kind, row in found.items():
        own, planned = (None if row[key] is None else row[key]["p50"] for key in ("switched_ms", "committed_ms"))
        told = "never" if own is None else f"after {own:.0f} ms"
        parts.append(
            f"{kind}: the source switches {told} ({row['source_first']} of {row['count']}), "
            f"the plan comes {'never' if planned is None else f'after {planned:.0f} ms'}"
        )
    return "; ".join(parts)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="of all changes (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_REPETITIONS} repetitions")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    escapes = asyncio.run(measure(QUICK_REPETITIONS if options.quick else options.repetitions))
    found = summary(escapes)
    console().print(table(found))
    console().print(headline(found))
    write(options.out, {"escapes": [asdict(each) for each in escapes], "summary": found, "headline": headline(found)})


if __name__ == "__main__":
    main()
