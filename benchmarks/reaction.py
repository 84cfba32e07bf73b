"""Reaction time (ms) of the fleet: from a monitor's message to the first request on the new route.

    python -m benchmarks.reaction [--quick] [--out FILE] [--repetitions N]

The fleet of `segue demo` runs whole under a load of four requests per second, and in turns under the densest load that
it answers. At the demo's rate, the wait for the next request is a random part of the reaction, up to 250 ms. The link
on the route repeatedly loses most of its bandwidth and recovers, and the device on the route becomes busy and idle.

A reaction has three parts:

    planned     the planner has decided and asks devices to prepare
    ready       the last device has answered, and the plan is committed
    dispatched  the first request of the new epoch leaves its source

The time from the change to the monitor's message is reported separately as `noticed`. All times are wall clock of one
machine.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.emulated_fleet import RunningFleet, demo_fleet, running_fleet
from benchmarks.fleet_harness import BenchmarkFailed
from benchmarks.report import argument_parser, console, spread, write
from services.cli.testbed.conditions import Conditions, device_in_use, usual_conditions
from services.planner.decisions.committed_routes import describe_routes
from shared.messages.requests import Outcome

REPETITIONS, QUICK_REPETITIONS = 10, 2
RATE_HZ: Final = 4.0
SAGGING_MBPS: Final = 1.5
BUSY: Final = 6.0
# Longest wait for a reroute.
REROUTE_S: Final = 15.0
# Pause between two changes, longer than the demo's cooldown.
CALM_S: Final = 1.5
LINK_SAGS, LINK_BACK, BUSY_DEVICE, IDLE_DEVICE = "link sags", "link is back", "device gets busy", "device is idle again"
PARTS: Final = ("planned", "ready", "dispatched")


@dataclass(frozen=True, slots=True)
class Reaction:
    """One reroute, in ms.

    Attributes:
        change: of the fleet.
        noticed_ms: from the change to the monitor's message.
        planned_ms: from the message to the planner's commands.
        ready_ms: from the commands to the committed plan, which needs the answers of all devices.
        dispatched_ms: from the committed plan to the first request.
        waited_ms: part of `dispatched_ms` without a request to send.
    """

    change: str
    route: str
    noticed_ms: float
    planned_ms: float
    ready_ms: float
    dispatched_ms: float
    waited_ms: float

    @property
    def total_ms(self) -> float:
        """Time from the monitor's message to the first request on the new route."""
        return self.planned_ms + self.ready_ms + self.dispatched_ms


class RequestFlow:
    """Requests at a fixed rate, or two at a time without a pause; keeps the first outcome of every epoch."""

    def __init__(self, running: RunningFleet, rate_hz: float | None) -> None:
        self._running = running
        self._rate_hz = rate_hz
        self._first: dict[int, Outcome] = {}
        self._received = asyncio.Event()

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Submit requests while the context lasts."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._submit_all(group), name="requests")
            try:
                yield
            finally:
                task.cancel()

    async def first(self, epoch: int, timeout_s: float) -> Outcome:
        """Return the outcome of the first request of an epoch.

        Raises:
            TimeoutError: there is none within `timeout_s`.
        """
        async with asyncio.timeout(timeout_s):
            while epoch not in self._first:
                self._received.clear()
                await self._received.wait()
        return self._first[epoch]

    async def _submit_all(self, group: asyncio.TaskGroup) -> None:
        payloads = self._running.workload.payloads
        under_way = asyncio.Semaphore(2)
        number = 0
        next_s = time.monotonic()
        while True:
            await under_way.acquire()
            if self._rate_hz is not None:
                await asyncio.sleep(max(0.0, next_s - time.monotonic()))
                next_s = max(next_s, time.monotonic()) + 1 / self._rate_hz
            group.create_task(self._submit(payloads[number % len(payloads)], under_way))
            number += 1

    async def _submit(self, payload: bytes, under_way: asyncio.Semaphore) -> None:
        try:
            outcome = await self._running.harness.ask(payload)
        finally:
            under_way.release()
        known = self._first.get(outcome.epoch)
        if known is None or outcome.dispatched_at_s < known.dispatched_at_s:
            self._first[outcome.epoch] = outcome
        self._received.set()


def fleet_changes(running: RunningFleet) -> Iterator[tuple[str, Conditions]]:
    """Yield the changes of one round, each with the new conditions."""
    usual = usual_conditions(running.fleet)
    used, source = device_in_use(running.plan), running.fleet.stream.source
    pair = (min(used, source), max(used, source))
    sagging = replace(usual.links[pair], bandwidth_mbps=SAGGING_MBPS)
    yield LINK_SAGS, Conditions({**usual.links, pair: sagging})
    yield LINK_BACK, usual
    yield BUSY_DEVICE, Conditions(usual.links, {device_in_use(running.plan): BUSY})
    yield IDLE_DEVICE, usual


async def react(running: RunningFleet, flow: RequestFlow, change: str, conditions: Conditions) -> Reaction | None:
    """Change the fleet and return the reaction; none if the route stays.

    A reroute that the cooldown has delayed answers an earlier message, and is ignored.
    """
    harness, changed_at_s = running.harness, time.time()
    await running.emulate(conditions)

    def answers() -> list[int]:
        return [epoch for epoch, reroute in harness.reroutes.items() if reroute.trigger_at_s > changed_at_s]

    try:
        await harness.until(lambda: bool(answers()), "reroute", REROUTE_S)
    except BenchmarkFailed:
        return None
    epoch = min(answers())
    reroute = harness.reroutes[epoch]
    first = await flow.first(epoch, REROUTE_S)
    trigger_s, committed_s = reroute.trigger_at_s, reroute.committed_at_s
    planned_s = harness.prepared_at_s[epoch]
    return Reaction(
        change=change,
        route=describe_routes(reroute.chosen),
        noticed_ms=1000 * (trigger_s - changed_at_s),
        planned_ms=1000 * (planned_s - trigger_s),
        ready_ms=1000 * (committed_s - planned_s),
        dispatched_ms=1000 * (first.dispatched_at_s - committed_s),
        waited_ms=max(0.0, 1000 * (first.accepted_at_s - committed_s)),
    )


async def measure(repetitions: int) -> tuple[list[Reaction], int]:
    """Repeat all changes; return the reactions and the number of changes without one."""
    fleet, folder = demo_fleet()
    # Damping doubles the gain that each return to an earlier route needs, and here every second change is a return.
    policy = replace(fleet.policy, min_gain=0.001, max_in_flight=2)
    reactions: list[Reaction] = []
    without = 0
    with tempfile.TemporaryDirectory() as run_dir:
        async with running_fleet(replace(fleet, policy=policy), folder, Path(run_dir)) as running:
            for number in range(repetitions):
                flow = RequestFlow(running, RATE_HZ if number % 2 == 0 else None)
                async with flow.flowing():
                    await asyncio.sleep(CALM_S)
                    for change, conditions in fleet_changes(running):
                        reaction = await react(running, flow, change, conditions)
                        without += reaction is None
                        if reaction is not None:
                            reactions.append(reaction)
                            print(line(reaction), flush=True)
                        await asyncio.sleep(CALM_S)
    return reactions, without


def line(reaction: Reaction) -> str:
    """Return one reaction as a line of text."""
    parts = " ".join(f"{part} {asdict(reaction)[f'{part}_ms']:.0f}" for part in PARTS)
    return (
        f"{reaction.change:21} noticed {reaction.noticed_ms:5.0f}; total {reaction.total_ms:5.0f} ms: {parts} "
        f"(waited {reaction.waited_ms:.0f})  {reaction.route}"
    )


def summary(reactions: Sequence[Reaction]) -> dict[str, dict[str, Any]]:
    """Return percentiles by kind of change, and of all changes together."""
    kinds = {
        kind: [reaction for reaction in reactions if reaction.change == kind]
        for kind in dict.fromkeys(r.change for r in reactions)
    }
    return {
        kind: {
            "count": len(chosen),
            "total_ms": spread([reaction.total_ms for reaction in chosen], 0.95),
            "without_waiting_ms": spread([reaction.total_ms - reaction.waited_ms for reaction in chosen], 0.95),
            "noticed_ms": spread([reaction.noticed_ms for reaction in chosen], 0.95),
            **{f"{part}_ms": spread([asdict(reaction)[f"{part}_ms"] for reaction in chosen], 0.95) for part in PARTS},
        }
        for kind, chosen in {**kinds, "all": list(reactions)}.items()
        if chosen
    }


def table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the summary as a table."""
    result = Table(
        title="from a monitor's message to the first request on the new route, ms (p50 / p95)",
        caption="without waiting: less the time in which there was no request to send. noticed: from the change to "
        "the monitor's message",
    )
    keys = ("total", "without_waiting", *PARTS, "noticed")
    for heading in ("change", "count", *keys):
        result.add_column(heading.replace("_", " "), justify="left" if heading == "change" else "right")
    for kind, row in results.items():
        cells = [" / ".join(f"{value:.0f}" for value in row[f"{key}_ms"].values()) for key in keys]
        result.add_row(kind, str(row["count"]), *cells)
    return result


def headline(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Summarise the reactions in one line."""
    whole = results["all"]
    return (
        f"{whole['count']} reroutes: {whole['total_ms']['p50']:.0f} ms (p50), {whole['total_ms']['p95']:.0f} ms (p95) "
        f"from a monitor's message to the first request on the new route"
    )


def main() -> None:
    """Measure, print, write."""
    parser = argument_parser("reaction", __doc__, quick=f"{QUICK_REPETITIONS} repetitions")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="of all changes (default: %(default)s)")
    options = parser.parse_args()
    reactions, without = asyncio.run(measure(QUICK_REPETITIONS if options.quick else options.repetitions))
    if not reactions:
        raise SystemExit("no change led to a reroute")
    results = summary(reactions)
    console().print(table(results))
    console().print(headline(results))
    rows = [{**asdict(reaction), "total_ms": reaction.total_ms} for reaction in reactions]
    write(
        options.out, {"reactions": rows, "without_reroute": without, "summary": results, "headline": headline(results)}
    )


if __name__ == "__main__":
    main()
