"""What the collector knows of a run: asked through its query interface."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from services.cli.testbed.run_record import CollectorCounts
from services.collector.config import DATABASE
from services.collector.errors import NoRecords
from services.collector.query import CollectorRecords
from services.collector.query_results import OutcomeCounts

_POLL_S = 0.2


async def read_counts(folder: Path, stream: str) -> OutcomeCounts:
    """Return the collector's counts of a stream; zeros if it has none yet."""
    return await asyncio.to_thread(_counts, folder / DATABASE, stream)


async def await_outcomes(
    folder: Path, stream: str, request_ids: Sequence[str], before: OutcomeCounts, timeout_s: float
) -> CollectorCounts:
    """Wait until the collector has stored the outcomes of all these requests, or the time is up.

    Args:
        folder: the collector's data.
        stream: whose requests they are.
        request_ids: of every request that has an outcome.
        before: its counts before the run.
        timeout_s: how long to wait.
    """
    end_s = time.monotonic() + timeout_s
    while True:
        missing = await asyncio.to_thread(_missing, folder / DATABASE, stream, request_ids)
        if missing == 0 or time.monotonic() > end_s:
            break
        await asyncio.sleep(_POLL_S)
    after = await read_counts(folder, stream)
    return CollectorCounts(
        stored=len(request_ids) - missing,
        missing=missing,
        computed_twice=after.duplicates - before.duplicates,
        contradicted=after.late - before.late,
    )


def _counts(database: Path, stream: str) -> OutcomeCounts:
    try:
        with CollectorRecords.open(database) as records:
            return records.counts(stream)
    except NoRecords:
        return OutcomeCounts()


def _missing(database: Path, stream: str, request_ids: Sequence[str]) -> int:
    try:
        with CollectorRecords.open(database) as records:
            return len(records.missing(stream, request_ids))
    except NoRecords:
        return len(request_ids)
