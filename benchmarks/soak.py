"""Kills random parts of a whole fleet at random moments and counts the outcomes of requests.

    python -m benchmarks.soak [--minutes 5] [--seed 1] [--broker embedded|mosquitto] [--run-dir DIR]

It runs from the top of the repository. In rounds of half a minute, a client keeps four requests in flight. Meanwhile
broker, planner, collector, executors and monitors get SIGKILL, sometimes several in the same moment, and restart after
a while. Each round prints a line. The exit status is 1 if a request was lost, ended twice or ended wrong, or if a
process ended without being killed.
"""

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from broker.embedded import EmbeddedBroker
from broker.mosquitto import MosquittoBroker
from tests.support.whole_fleet import EVERYTHING, WholeFleet, open_fleet

_ROUND_S = 30.0
_QUIET_S = (0.2, 3.0)
_DOWN_S = (0.0, 3.0)
_PARTS_AT_ONCE = (1, 1, 1, 2, 2, 3)
# A request without an outcome for so long is lost. All retries together take less.
_OUTCOME_S = 240.0
_COLUMNS = ("accepted", "results", "errors", "lost", "duplicates", "mismatches", "retried", "computed_twice")
_BROKERS = {"embedded": EmbeddedBroker, "mosquitto": MosquittoBroker}


async def soak(fleet: WholeFleet, duration_s: float, chance: random.Random) -> bool:
    """Kill processes for `duration_s`; return whether no fault occurred."""
    end_s = time.monotonic() + duration_s
    total: Counter[str] = Counter()
    killed: Counter[str] = Counter()
    number, faulty = 0, False
    print("  ".join(["round", "kills", *_COLUMNS, "longest gap"]), flush=True)
    while time.monotonic() < end_s:
        number += 1
        stream = f"round{number}"
        await fleet.declare(stream)
        async with fleet.load(stream, _OUTCOME_S) as load:
            kills = await _disturb(fleet, min(end_s, time.monotonic() + _ROUND_S), chance)
            await fleet.until_whole()
            load.stop()
        tally = await fleet.tally(stream, load.records)
        await fleet.withdraw(stream)
        fleet.watcher.outcomes.pop(stream, None)
        figures = asdict(tally)
        total.update({column: figures[column] for column in _COLUMNS})
        killed.update(kills)
        faulty = faulty or bool(tally.faults)
        _print_row(f"{number}", kills.total(), figures, f"{tally.gap_s:9.1f} s")
        died = fleet.processes.died()
        if died is not None:
            print(f"{died.name} ended without being killed, with status {died.status}: {died.tail}")
            faulty = True
            break
    _print_row("all", killed.total(), total, "")
    print("killed: " + ", ".join(f"{part} {count}" for part, count in sorted(killed.items())))
    return not faulty


async def _disturb(fleet: WholeFleet, end_s: float, chance: random.Random) -> Counter[str]:
    killed: Counter[str] = Counter()
    while time.monotonic() < end_s:
        await asyncio.sleep(chance.uniform(*_QUIET_S))
        victims = chance.sample(EVERYTHING, chance.choice(_PARTS_AT_ONCE))
        await fleet.kill(*victims)
        killed.update(victims)
        await asyncio.sleep(chance.uniform(*_DOWN_S))
        await fleet.restart(*victims)
    return killed


def _print_row(name: str, kills: int, figures: "Counter[str] | dict[str, float]", end: str) -> None:
    cells = (f"{figures[column]:>{len(column)}}" for column in _COLUMNS)
    print("  ".join([f"{name:>5}", f"{kills:>5}", *cells, end]), flush=True)


async def _run(minutes: float, seed: int, broker: str, run_dir: Path) -> bool:
    async with open_fleet(_BROKERS[broker](), run_dir) as fleet:
        return await soak(fleet, 60 * minutes, random.Random(seed))


def main() -> int:
    """Run and return the exit status."""
    parser = argparse.ArgumentParser(description="Kill random parts of a whole fleet for a while.")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of what is killed and when (default: %(default)s)")
    parser.add_argument("--broker", choices=_BROKERS, default="embedded", help="(default: %(default)s)")
    parser.add_argument("--run-dir", type=Path, help="where logs and databases stay (default: a temporary folder)")
    options = parser.parse_args()
    # Every kill makes clients log lost connections.
    logging.basicConfig(level=logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="segue-soak-") as folder:
        run_dir = options.run_dir or Path(folder)
        return 0 if asyncio.run(_run(options.minutes, options.seed, options.broker, run_dir)) else 1


if __name__ == "__main__":
    sys.exit(main())
