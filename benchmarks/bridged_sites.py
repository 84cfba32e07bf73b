"""A fleet on two bridged Mosquittos whose bridge is cut for a while: what became of requests, and what crossed.

    python -m benchmarks.bridged_sites [--quick] [--out FILE]

The camera, its stream and an application are at a site; planner, collector and two faster devices are at the first
broker. Requests go on through four phases: bridged, bridged at a low rate, cut, bridged again. TLS, accounts and rights
are those of `segue fleet`. A row has the results of a phase, their latency, the routes, and the bytes that crossed. The
exit status is 1 if a request was lost, ended twice or ended wrong, or if no route leads over the bridge in the end.
Needs Mosquitto.
"""

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.report import argument_parser, console, write
from broker.fleet_folder import FleetFolder
from broker.mosquitto import find_mosquitto
from services.cli.testbed.command_lines import device_processes
from services.cli.testbed.request_load import LoadSettings, RequestLoad
from services.cli.testbed.run_record import RequestRecord
from shared.bus.roles import Role
from shared.client import Client
from shared.link_time import bandwidth_of_mbps
from tests.support.bridged_sites import SITE, TwoSites, new_fleet, site_broker
from tests.support.fleet_broker import ClosedBroker
from tests.support.whole_fleet import CAMERA, FLEET, WholeFleet, open_fleet

_STREAM: Final = "door"
_APPLICATION: Final = "bell"
_RATE_HZ: Final = 4.0
# A request that waits for a bridge is answered on the site itself, so this is far more than enough.
_OUTCOME_S: Final = 120.0
_SLOW_BYTES_S: Final = 250_000.0


@dataclass(frozen=True, slots=True)
class Phase:
    """What was measured in a phase.

    Attributes:
        name: of the phase.
        begun_s: wall clock.
        ended_s: wall clock.
        crossed_bytes: over the bridge, both ways, with TLS.
        routes: devices of the plans in force, in the order in which they came.
    """

    name: str
    begun_s: float
    ended_s: float
    crossed_bytes: int
    routes: tuple[str, ...]

    def row(self, records: list[RequestRecord]) -> dict[str, Any]:
        """Return the values of the table."""
        own = [each for each in records if self.begun_s <= each.submitted_at_s < self.ended_s]
        latencies_ms = [1000 * (each.finished_at_s - each.submitted_at_s) for each in own if each.outcome is not None]
        return {
            "phase": self.name,
            "accepted": len(own),
            "results": len(latencies_ms),
            "median_ms": round(statistics.median(latencies_ms), 1) if latencies_ms else None,
            "worst_ms": round(max(latencies_ms), 1) if latencies_ms else None,
            "crossed_kB_s": round(self.crossed_bytes / 1e3 / (self.ended_s - self.begun_s), 1),
            "routes": ", then ".join(self.routes),
        }


class Routes:
    """The routes of the stream, noted as they come."""

    def __init__(self, fleet: WholeFleet) -> None:
        self._fleet = fleet
        self._seen: list[str] = []

    async def follow(self) -> None:
        """Note each new route until cancelled."""
        while True:
            now = "-".join(self._fleet.watcher.route(_STREAM))
            if not self._seen or self._seen[-1] != now:
                self._seen.append(now)
            await asyncio.sleep(0.1)

    def take(self) -> tuple[str, ...]:
        """Return the routes since the last call, the one in force then included."""
        seen, self._seen[:] = tuple(self._seen), self._seen[-1:]
        return seen


async def measure(folder: Path, phase_s: float, cut_s: float) -> dict[str, Any]:
    """Run the fleet through the phases; return the rows and the counts."""
    fleet = new_fleet(folder)
    accounts = {name: fleet.account_file(name) for name in ("planner", "collector")}
    with FleetFolder.changing(fleet.path) as opened:
        for device in FLEET.devices:
            path = opened.add(device, Role.DEVICE, site=SITE if device == CAMERA else None).write(opened.accounts)
            accounts |= dict.fromkeys(device_processes(device), path)
        opened.record = opened.record.with_stream(_STREAM, CAMERA)
        application = opened.add(_APPLICATION, Role.APPLICATION, (_STREAM,), site=SITE).write(opened.accounts)
    environments = {name: {"SEGUE_BROKER": str(path)} for name, path in accounts.items()}
    async with (
        site_broker(opened, folder, CAMERA) as sites,
        open_fleet(ClosedBroker(opened), folder, environments=environments) as running,
    ):
        await running.declare(_STREAM)
        async with Client.open(str(application)) as client, asyncio.TaskGroup() as group:
            routes = Routes(running)
            following = group.create_task(routes.follow())
            settings = LoadSettings(_STREAM, 8, rate_hz=_RATE_HZ, timeout_s=_OUTCOME_S)
            load = RequestLoad(client, running.workload.payloads, settings, running.workload.reference.differs)
            working = group.create_task(load.run())
            phases = [phase async for phase in _phases(sites, routes, phase_s, cut_s)]
            row = tuple(FLEET.devices)
            await running.watcher.until(lambda: running.watcher.route(_STREAM) == row, "a route over the bridge again")
            load.stop()
            await working
            following.cancel()
        tally = await running.tally(_STREAM, load.records)
    return {"rows": [phase.row(load.records) for phase in phases], "tally": asdict(tally), "faults": tally.faults}


async def _phases(sites: TwoSites, routes: Routes, phase_s: float, cut_s: float) -> AsyncIterator[Phase]:
    async def phase(name: str, duration_s: float) -> Phase:
        routes.take()
        before_bytes, begun_s = sites.way.passed_bytes, time.time()
        await asyncio.sleep(duration_s)
        return Phase(name, begun_s, time.time(), sites.way.passed_bytes - before_bytes, routes.take())

    yield await phase("bridged", phase_s)
    sites.way.limit_bytes_s = _SLOW_BYTES_S
    yield await phase(f"bridged at {bandwidth_of_mbps(_SLOW_BYTES_S, 1000.0):g} Mbps", phase_s)
    sites.way.limit_bytes_s = None
    sites.way.cut()
    yield await phase(f"cut for {cut_s:g} s", cut_s)
    await sites.way.mend()
    yield await phase("bridged again", phase_s)


def _show(results: dict[str, Any]) -> None:
    table = Table(*results["rows"][0])
    for row in results["rows"]:
        table.add_row(*map(str, row.values()))
    console().print(table)
    counts = ("accepted", "results", "errors", "lost", "duplicates", "mismatches", "retried", "gap_s")
    console().print(", ".join(f"{name} {round(results['tally'][name], 1)}" for name in counts))


def main() -> None:
    """Measure, print the table, and write the results."""
    parser = argument_parser("bridged_sites", __doc__, quick="phases of 15 s instead of 40 s")
    options = parser.parse_args()
    if find_mosquitto() is None:
        sys.exit("mosquitto is missing: apt-get install mosquitto")
    phase_s = 15.0 if options.quick else 40.0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="segue-sites-")))
        results = asyncio.run(measure(folder, phase_s, 1.5 * phase_s))
    _show(results)
    write(options.out, results)
    if results["faults"] or results["tally"]["errors"]:
        sys.exit(f"faults: {results['faults']}, errors: {results['tally']['errors']}")


if __name__ == "__main__":
    main()
