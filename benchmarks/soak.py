"""Requests of two kinds of clients while everything happens to a fleet that can happen, and what became of them.

    python -m benchmarks.soak [--minutes 5] [--seed 1] [--broker mosquitto|embedded]
                             [--transport mqtt|direct|auto] [--kinds KIND ...] [--run-dir DIR]

It runs from the top of the repository. In rounds of half a minute, Segue's client and a plain MQTT client keep requests
in flight. Meanwhile processes get SIGKILL, SIGTERM or SIGSTOP, the broker stalls, clocks step, disks are full or
read-only, messages come twice and out of order, and hostile messages come in between (`benchmarks/disturbances.py`).
Each round prints a line. Clocks need a C compiler, disks need root; what this machine lacks is left out, with a line.

The exit status is 1 if a request was lost, ended twice or ended wrong, if a process ended without being killed, or if
the fleet was not whole again after a round. In rounds with a disk that failed, a second result is no fault: the disk
has lost that there was a first one.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks.disturbances import EXECUTORS_FOLDER, WEIGHTS, Disturbances, stream_name
from benchmarks.message_repeater import MessageRepeater
from benchmarks.plain_client import PlainClient
from broker.embedded import EmbeddedBroker
from broker.mosquitto import MosquittoBroker, find_mosquitto
from services.cli.support.fleet_operations import declare_stream, withdraw_stream
from services.cli.testbed.command_lines import COLLECTOR, PLANNER
from services.cli.testbed.fleet_description import DeviceDescription
from services.cli.testbed.run_record import RequestRecord
from shared.bus.connection import Connection
from shared.bus.errors import BusError
from shared.messages.requests import OutcomeStatus
from shared.messages.streams import StreamDeclaration
from shared.transport_mode import TransportMode
from tests.support.small_disks import SmallDisk, can_mount, small_disks
from tests.support.stepped_clock import SteppedClock, build_library, can_step_clocks
from tests.support.whole_fleet import (
    BROKER,
    CAMERA,
    EVERYTHING,
    FLEET,
    HELPER,
    SERVER,
    WholeFleet,
    open_fleet,
)

_ROUND_S = 30.0
_QUIET_S = (0.2, 3.0)
# A request without an outcome for so long is lost. All retries together take less.
_OUTCOME_S = 300.0
# Longest wait until the fleet is whole, or a stream has a plan.
_WHOLE_S = 240.0
# Of each client. Together they are more than the policy lets be in flight, so that requests also wait at the source.
_IN_FLIGHT = 12
# Faster devices than in the tests: what counts is the number of requests.
_SOAKED = replace(
    FLEET,
    devices={
        CAMERA: DeviceDescription(slowdown=3.0),
        HELPER: DeviceDescription(slowdown=2.0),
        SERVER: DeviceDescription(slowdown=1.0),
    },
    policy=replace(FLEET.policy, max_in_flight=16),
)
_REPEATED_SHARE = 0.05
# Of three executors: their journals with 16 MB of log each, their outcomes, and their copies of the model.
_DISK_BYTES = {EXECUTORS_FOLDER: 384 << 20, COLLECTOR: 64 << 20, PLANNER: 64 << 20}
_COLUMNS = ("accepted", "results", "errors", "lost", "duplicates", "mismatches", "retried", "computed_twice")
_BROKERS = {"embedded": EmbeddedBroker, "mosquitto": MosquittoBroker}


@dataclass(slots=True)
class Totals:
    """Sums over all rounds.

    Attributes:
        figures: of all requests, by column.
        by_client: of the requests of each kind of client, by column, as far as a client can count them.
        repeats: publications beyond the first of requests of the plain client, which waited for 20 s.
        faults: one line each.
    """

    figures: Counter[str] = field(default_factory=Counter)
    by_client: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    repeats: int = 0
    faults: list[str] = field(default_factory=list)


class Soak:
    """Rounds of requests and bad moments on one fleet."""

    def __init__(self, fleet: WholeFleet, disturbances: Disturbances) -> None:
        """Prepare without a request."""
        self.totals = Totals()
        self._fleet = fleet
        self._disturbances = disturbances

    async def run(self, duration_s: float) -> None:
        """Disturb the fleet round by round for `duration_s`."""
        end_s, number = time.monotonic() + duration_s, 0
        print("  ".join([f"{'round':>8}", "bad moments", *_COLUMNS, "longest gap"]), flush=True)
        while time.monotonic() < end_s:
            number += 1
            try:
                await self._round(stream_name(number))
            except (AssertionError, BusError) as error:
                self._note(f"round {number}: {error}")
            for ended in self._disturbances.ended:
                self._note(f"round {number}: {ended}")
            self._disturbances.ended.clear()

    async def _round(self, stream: str) -> None:
        fleet, disturbances = self._fleet, self._disturbances
        began_s = time.monotonic()
        await self._declare(stream)
        declared_s = time.monotonic()
        end_s = declared_s + _ROUND_S
        disturbances.stream = stream
        before = disturbances.counts.copy()
        async with (
            PlainClient.open(fleet.broker.settings, stream, _OUTCOME_S, fleet.workload.reference.differs) as plain,
            fleet.load(stream, _OUTCOME_S, _IN_FLIGHT) as load,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(plain.run(fleet.workload.payloads, _IN_FLIGHT), name="plain client")
            try:
                while time.monotonic() < end_s:
                    await asyncio.sleep(disturbances.chance.uniform(*_QUIET_S))
                    await disturbances.strike()
                disturbed_s = time.monotonic()
                await self._until_whole()
            finally:
                load.stop()
                plain.stop()
        struck = disturbances.counts - before
        note = f"a plan after {declared_s - began_s:.1f} s, all outcomes {time.monotonic() - disturbed_s:.1f} s after"
        # A disk that fails loses what was not synchronised, as in a power cut: its requests are computed again.
        has_lost_data = struck["read-only"] > 0
        records = {"segue.Client": load.records, "plain MQTT": plain.records}
        await self._count(stream, struck.total(), records, note, has_lost_data)
        self.totals.repeats += plain.repeats
        contradictions = [
            pair for pair in plain.contradictions if not has_lost_data or pair[0].status is not pair[1].status
        ]
        if contradictions:
            self._note(f"{stream}: {len(contradictions)} second outcomes that differ came to the plain client")
            for outcome in contradictions[0]:
                print(
                    f"  {outcome.request_id} {outcome.status} of attempt {outcome.attempt}: {outcome.error}", flush=True
                )
        await withdraw_stream(fleet.control, stream, CAMERA)
        fleet.watcher.outcomes.pop(stream, None)

    async def _declare(self, stream: str) -> None:
        """Declare a stream, and wait until it has a plan."""
        fleet = self._fleet
        await self._until_whole()
        await fleet.set_policy(stream, _SOAKED.policy)
        model = fleet.workload.manifest.model
        await declare_stream(fleet.control, StreamDeclaration(stream=stream, model=model, source=CAMERA))
        await fleet.watcher.until(lambda: bool(fleet.watcher.route(stream)), f"a plan of {stream}")

    async def _until_whole(self) -> None:
        """Wait until every part is online; start again what ended by itself."""
        whole = asyncio.ensure_future(self._fleet.until_whole())
        try:
            while not whole.done():
                await asyncio.wait({whole}, timeout=1.0)
                await self._disturbances.restart_ended()
            whole.result()
        finally:
            whole.cancel()

    async def _count(
        self,
        stream: str,
        moments: int,
        records: Mapping[str, Sequence[RequestRecord]],
        note: str,
        has_lost_data: bool,
    ) -> None:
        tally = await self._fleet.tally(stream, [record for each in records.values() for record in each])
        figures = asdict(tally)
        self.totals.figures.update({column: figures[column] for column in _COLUMNS})
        for client, each in records.items():
            self.totals.by_client[client].update(_figures_of(each))
        faults = tally.faults
        if has_lost_data:
            faults.pop("computed_twice", None)
        if faults:
            self._note(f"{stream}: {faults}")
        print_row(stream, moments, figures, f"{tally.gap_s:9.1f} s  {note}")

    def _note(self, fault: str) -> None:
        self.totals.faults.append(fault)
        print(f"FAULT {fault}", flush=True)


def _figures_of(records: Sequence[RequestRecord]) -> dict[str, int]:
    outcomes = [record.outcome for record in records if record.outcome is not None]
    results = sum(outcome.status is OutcomeStatus.OK for outcome in outcomes)
    return {
        "accepted": len(records),
        "results": results,
        "errors": len(outcomes) - results,
        "lost": len(records) - len(outcomes),
        "mismatches": sum(record.mismatch for record in records),
        "retried": sum(outcome.attempt > 1 for outcome in outcomes),
    }


def print_row(name: str, moments: int, figures: Mapping[str, float], end: str) -> None:
    """Print one line of the table."""
    cells = (f"{figures.get(column, ''):>{len(column)}}" for column in _COLUMNS)
    print("  ".join([f"{name:>8}", f"{moments:>11}", *cells, end]), flush=True)


@dataclass(frozen=True, slots=True)
class Options:
    """Settings of a run."""

    minutes: float
    seed: int
    broker: str
    transport: TransportMode
    kinds: Sequence[str]
    run_dir: Path


async def _run(options: Options, disks: Mapping[str, SmallDisk], clocks: Mapping[str, SteppedClock]) -> bool:
    # Like Ctrl-C, so that disks are unmounted.
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    chance = random.Random(options.seed)
    repeater = MessageRepeater(_REPEATED_SHARE, chance)
    environments = {name: clock.environment for name, clock in clocks.items()}
    began_s = time.monotonic()
    async with (
        open_fleet(
            _BROKERS[options.broker](start_timeout_s=60.0),
            options.run_dir,
            described=replace(_SOAKED, transport=options.transport),
            environments=environments,
            wait_s=_WHOLE_S,
        ) as fleet,
        Connection.open(fleet.broker.settings) as connection,
        asyncio.TaskGroup() as group,
    ):
        repeating = group.create_task(repeater.run(connection), name="repeat messages")
        disturbances = Disturbances(fleet, chance, clocks, disks, options.kinds)
        await disturbances.prepare()
        soaking = Soak(fleet, disturbances)
        try:
            await soaking.run(60 * options.minutes)
        finally:
            _report(soaking.totals, disturbances, repeater, time.monotonic() - began_s)
            repeating.cancel()
    return not soaking.totals.faults


def _report(totals: Totals, disturbances: Disturbances, repeater: MessageRepeater, took_s: float) -> None:
    print_row("all", disturbances.counts.total(), totals.figures, "")
    for client, figures in totals.by_client.items():
        print_row(client, 0, figures, "")
    moments = ", ".join(f"{kind} {count}" for kind, count in sorted(disturbances.counts.items()))
    print(f"bad moments: {moments}; {repeater.count} messages came twice")
    print(f"the plain client published {totals.repeats} times again")
    print(f"{disturbances.unreachable} times a service found no broker at its start, and was started again")
    print(f"{took_s / 60:.0f} minutes, load {os.getloadavg()[1]:.1f}, {len(totals.faults)} faults", flush=True)


def _clocks(run_dir: Path) -> Mapping[str, SteppedClock]:
    if not can_step_clocks():
        print("no C compiler: clocks do not step")
        return {}
    library = build_library(run_dir)
    clocks = {name: SteppedClock(library, run_dir / f"{name}.clock") for name in EVERYTHING if name != BROKER}
    for clock in clocks.values():
        clock.step(0.0)
    return clocks


def main() -> int:
    """Run and return the exit status."""
    usual_broker = "mosquitto" if find_mosquitto() else "embedded"
    parser = argparse.ArgumentParser(description="Disturb a whole fleet in every way for a while.")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what happens and when (default: %(default)s)")
    parser.add_argument("--broker", choices=_BROKERS, default=usual_broker, help="(default: %(default)s)")
    parser.add_argument(
        "--transport",
        type=TransportMode,
        choices=list(TransportMode),
        default=TransportMode.MQTT,
        help="way of the feature maps (default: %(default)s)",
    )
    parser.add_argument("--kinds", nargs="+", choices=WEIGHTS, default=list(WEIGHTS), help="bad moments (default: all)")
    parser.add_argument("--run-dir", type=Path, help="where logs and databases stay (default: a temporary folder)")
    given = parser.parse_args()
    # Every kill makes clients log lost connections.
    logging.basicConfig(level=logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        run_dir = given.run_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="segue-soak-")))
        run_dir.mkdir(parents=True, exist_ok=True)
        disks: Mapping[str, SmallDisk] = {}
        if can_mount():
            sizes_bytes = {run_dir / folder: size_bytes for folder, size_bytes in _DISK_BYTES.items()}
            disks = stack.enter_context(small_disks(sizes_bytes))
        else:
            print("no root, or no loop devices: disks do not fail")
        options = Options(given.minutes, given.seed, given.broker, given.transport, given.kinds, run_dir)
        try:
            return 0 if asyncio.run(_run(options, disks, _clocks(run_dir))) else 1
        except (asyncio.CancelledError, KeyboardInterrupt):
            return 1


if __name__ == "__main__":
    sys.exit(main())
