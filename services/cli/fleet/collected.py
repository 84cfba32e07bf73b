"""What the collector has counted."""

from collections.abc import Sequence
from pathlib import Path

from services.cli.fleet.record import CollectorCounts, RequestRecord


async def read_counts(folder: Path, records: Sequence[RequestRecord], timeout_s: float) -> CollectorCounts | None:
    """Return None."""
    return None
