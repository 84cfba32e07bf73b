"""Time (ms) until a slow route is left: by its source alone, and by the planner's next plan.

    python -m benchmarks.switching [--quick] [--out FILE] [--repetitions N]

The fleet of `segue demo` runs whole, monitors included, and requests follow each other without a pause. Repeatedly the
link to the server loses bandwidth, or, with links so slow that the camera computes alone, the camera becomes busy.
Two times are measured from the change. The source switches after two slow transfers, two slow segments or one overdue
transfer, with its next request. The planner commits a plan after a monitor has noticed, the planner has decided, and
devices are ready. Two requests wait for each other on a busy camera, whose segments then take long; source and monitor
both need two of them. All times are wall clock of one machine.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.emulated_fleet import RunningFleet, demo_fleet, running_fleet
from benchmarks.fleet_harness import BenchmarkFailed
from benchmarks.report import argument_parser, console, spread, write
from services.cli.testbed.conditions import Conditions, usual_conditions
from services.cli.testbed.fleet_description import LinkDescription

REPETITIONS, QUICK_REPETITIONS = 8, 2
SAGGING_MBPS, SLOW_MBPS, BUSY = 1.5, 1.5, 6.0
# Longest wait for a plan.
REROUTE_S: Final = 20.0
# Pause before each change, in which the planner publishes the thresholds of its plan and the cooldown ends.
CALM_S: Final = 6.0
IN_FLIGHT: Final = 2
# The demo's fastest device. With usual links it computes everything.
REMOTE: Final = "server"
LINK_SAGS, SOURCE_BUSY = "link sags", "source gets busy"


@dataclass(frozen=True, slots=True)
class Escape:
    """End of one slow route, in ms after the change.

    Attributes:
        change: of the fleet.
        switched_ms: report of the source's own switch; none if the plan was first.
        committed_ms: commit of the planner's next plan; none if it keeps the old one.
    """

    change: str
    switched_ms: float | None
    committed_ms: float | None


class SteadyRequests:
    """SteadyRequests without a pause, as many in flight as the policy allows."""

    def __init__(self, running: RunningFleet) -> None:
        self._running = running

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Submit requests while the context lasts."""
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
    """Change the fleet after a pause; return how its slow route ends."""
    before, after = conditions(running, change)
    await running.emulate(before)
    requests = SteadyRequests(running)
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
    """Return the conditions before and after a change."""
    usual, source = usual_conditions(running.fleet), running.fleet.stream.source
    if change == LINK_SAGS:
        used = tuple(sorted((source, REMOTE)))
        return usual, Conditions({pair: _at(link, SAGGING_MBPS, pair == used) for pair, link in usual.links.items()})
    home = Conditions({pair: _at(link, SLOW_MBPS, source in pair) for pair, link in usual.links.items()})
    return home, replace(home, load={source: BUSY})


def _at(link: LinkDescription, mbps: float, is_changed: bool) -> LinkDescription:
    return replace(link, bandwidth_mbps=mbps) if is_changed else link


async def measure(repetitions: int) -> list[Escape]:
    """Repeat all changes."""
    fleet, folder = demo_fleet()
    # Damping doubles the gain that each return to an earlier route needs, and here every second change is a return.
    policy = replace(fleet.policy, cooldown_ms=0.0, max_in_flight=IN_FLIGHT, min_gain=0.001)
    escapes: list[Escape] = []
    with tempfile.TemporaryDirectory() as run_dir:
        async with running_fleet(replace(fleet, policy=policy), folder, Path(run_dir)) as running:
            for _ in range(repetitions):
                for change in (LINK_SAGS, SOURCE_BUSY):
                    escapes.append(await escape(running, change))
                    print(escapes[-1], flush=True)
    return escapes


def summary(escapes: Sequence[Escape]) -> dict[str, dict[str, Any]]:
    """Return numbers and percentiles by kind of change."""
    results: dict[str, dict[str, Any]] = {}
    for kind in dict.fromkeys(one.change for one in escapes):
        chosen = [one for one in escapes if one.change == kind]
        switched = [one.switched_ms for one in chosen if one.switched_ms is not None]
        committed = [one.committed_ms for one in chosen if one.committed_ms is not None]
        results[kind] = {
            "count": len(chosen),
            "source_first": len(switched),
            "switched_ms": spread(switched, 0.95) if switched else None,
            "committed_ms": spread(committed, 0.95) if committed else None,
        }
    return results


def table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the summary as a table."""
    result = Table(title="from the change to the end of the slow route, ms (p50 / p95)")
    for heading in ("change", "count", "source first", "source switches", "planner commits"):
        result.add_column(heading, justify="left" if heading == "change" else "right")
    for kind, row in results.items():
        cells = [
            "-" if row[key] is None else " / ".join(f"{value:.0f}" for value in row[key].values())
            for key in ("switched_ms", "committed_ms")
        ]
        result.add_row(kind, str(row["count"]), str(row["source_first"]), *cells)
    return result


def headline(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Summarise the times in one line."""
    parts = []
    for kind, row in results.items():
        own, planned = (None if row[key] is None else row[key]["p50"] for key in ("switched_ms", "committed_ms"))
        when = "never" if own is None else f"after {own:.0f} ms"
        parts.append(
            f"{kind}: the source switches {when} ({row['source_first']} of {row['count']}), "
            f"the plan comes {'never' if planned is None else f'after {planned:.0f} ms'}"
        )
    return "; ".join(parts)


def main() -> None:
    """Measure, print, write."""
    parser = argument_parser("switching", __doc__, quick=f"{QUICK_REPETITIONS} repetitions")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="of all changes (default: %(default)s)")
    options = parser.parse_args()
    escapes = asyncio.run(measure(QUICK_REPETITIONS if options.quick else options.repetitions))
    results = summary(escapes)
    console().print(table(results))
    console().print(headline(results))
    write(options.out, {"escapes": [asdict(one) for one in escapes], "summary": results, "headline": headline(results)})


if __name__ == "__main__":
    main()
