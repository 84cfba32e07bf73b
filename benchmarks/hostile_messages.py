"""Hostile messages at a live fleet: every field of every message with every hostile value, on a broker of choice.

    python -m benchmarks.hostile_messages [--messages N] [--broker embedded|mosquitto] [--quick] [--out FILE]

Messages are generated from the message classes (`tests/support/hostile_messages.py`), in random order, and repeated
until there are enough. Those of retained topics are retained. Real requests are submitted in between. At the end all
services are killed and started again beside the retained messages. A run passes if every process lives, and every real
request has a result.
"""

import asyncio
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from benchmarks.report import argument_parser, console, write
from broker.embedded import EmbeddedBroker
from broker.mosquitto import MosquittoBroker
from shared.client import Client
from shared.messages.requests import OutcomeStatus
from tests.support.hostile_messages import HostileMessage, hostile_messages, names_in_topics
from tests.support.whole_fleet import BROKER, CAMERA, EVERYTHING, HELPER, WholeFleet, open_fleet

STREAM: Final = "door"
MESSAGES, QUICK_MESSAGES = 100_000, 3_000
BROKERS: Final = {"embedded": EmbeddedBroker, "mosquitto": MosquittoBroker}
_EVERY_DOCUMENT: Final = 10**9
_PUBLISHERS: Final = 16
_PARTS: Final = 10
_REQUESTS: Final = 10
_TIMEOUT_S: Final = 300.0


async def run(kind: str, count: int) -> dict[str, Any]:
    """Send `count` messages, and return what became of the processes and of real requests."""
    with tempfile.TemporaryDirectory(prefix="segue-hostile-") as folder:
        async with open_fleet(BROKERS[kind](), Path(folder), wait_s=_TIMEOUT_S) as fleet:
            await fleet.declare(STREAM)
            names = names_in_topics(fleet.workload.manifest.model, stream=STREAM, source=CAMERA, device=HELPER)
            documents = await asyncio.to_thread(lambda: list(hostile_messages(names, _EVERY_DOCUMENT)))
            random.Random(0).shuffle(documents)
            endless = itertools.cycle(documents)
            answered = await submit(fleet)
            began_s = time.monotonic()
            for _ in range(_PARTS):
                await publish(fleet, itertools.islice(endless, count // _PARTS))
                answered += await submit(fleet)
                console().print(f"{_REQUESTS} more requests, {answered} results so far")
            sent_s = time.monotonic() - began_s
            died = fleet.processes.died()
            services = tuple(part for part in EVERYTHING if part != BROKER)
            await fleet.kill(*services)
            await fleet.restart(*services)
            after = await submit(fleet)
            return {
                "broker": kind,
                "messages": count // _PARTS * _PARTS,
                "different": len(documents),
                "topics": len({message.topic for message in documents}),
                "seconds": round(sent_s, 1),
                "requests": _REQUESTS * (_PARTS + 1),
                "results": answered,
                "requests_after_restart": _REQUESTS,
                "results_after_restart": after,
                "died": str(died or fleet.processes.died() or "none"),
            }


async def publish(fleet: WholeFleet, messages: Iterator[HostileMessage]) -> None:
    """Publish messages, several at a time."""

    async def worker() -> None:
        for message in messages:
            await fleet.control.publish(message.topic, message.payload, retain=message.retain, timeout_s=_TIMEOUT_S)

    async with asyncio.TaskGroup() as group:
        for number in range(_PUBLISHERS):
            group.create_task(worker(), name=f"publisher {number}")


async def submit(fleet: WholeFleet) -> int:
    """Submit requests, and return how many had a result."""
    payloads = list(itertools.islice(itertools.cycle(fleet.workload.payloads), _REQUESTS))
    async with Client.open(fleet.broker.settings) as client:
        outcomes = await client.submit_many(STREAM, payloads, timeout_s=_TIMEOUT_S)
    return sum(getattr(outcome, "status", None) is OutcomeStatus.OK for outcome in outcomes)


def passed(row: dict[str, Any]) -> bool:
    """Return whether nothing died and every request had a result."""
    complete = row["results"] == row["requests"] and row["results_after_restart"] == row["requests_after_restart"]
    return bool(complete and row["died"] == "none")


def main() -> int:
    """Run it, print a table, and return the exit status."""
    parser = argument_parser("hostile_messages", __doc__, quick=f"{QUICK_MESSAGES} messages")
    parser.add_argument("--messages", type=int, default=None, help=f"number of messages (default: {MESSAGES})")
    parser.add_argument("--broker", choices=tuple(BROKERS), default="embedded", help="(default: %(default)s)")
    options = parser.parse_args()
    count = options.messages or (QUICK_MESSAGES if options.quick else MESSAGES)
    row = asyncio.run(run(options.broker, count))
    table = Table(title="Hostile messages at a live fleet")
    for name in row:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
    console().print(table)
    answered = f"{row['results']} of {row['requests']} requests had a result"
    later = f"{row['results_after_restart']} of {row['requests_after_restart']} after a restart"
    headline = f"{row['messages']:,} hostile messages on {row['broker']}: {answered}, {later}; died: {row['died']}"
    write(options.out, {"headline": headline, "rows": [row]})
    console().print(headline)
    return 0 if passed(row) else 1


if __name__ == "__main__":
    sys.exit(main())
