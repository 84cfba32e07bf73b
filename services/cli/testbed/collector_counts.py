"""The collector's counts of a run's requests, read from its database."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.collector.config import DATABASE
from services.collector.errors import NoRecords
from services.collector.query import CollectorRecords
from services.collector.query_results import OutcomeCounts

_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class CollectorCounts:
    """Counts of the run's requests at the collector.

    Attributes:
        stored: requests whose outcome it has.
        missing: requests with an outcome that it does not have.
        computed_twice: requests that were retried although the first attempt succeeded; it keeps one outcome.
        contradicted: requests with both a result and an error.
    """

    stored: int
    missing: int = 0
    computed_twice: int = 0
    contradicted: int = 0


async def read_counts(folder: Path, stream: str) -> OutcomeCounts:
    """Return the collector's counts of a stream; zeros if it has none yet."""
    return await asyncio.to_thread(_counts, folder / DATABASE, stream)


async def await_outcomes(
    folder: Path, stream: str, request_ids: Sequence[str], before: OutcomeCounts, timeout_s: float
) -> CollectorCounts:
    """Wait until the collector has stored the outcomes of all these requests, or the time is up.

    Args:
        folder: the collector's data.
        stream: the requests' stream.
        request_ids: ids of all requests that have an outcome.
        before: the counts before the run, which are subtracted.
        timeout_s: longest wait.
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
