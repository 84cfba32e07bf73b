"""Counts of a run's requests in the collector's database."""

from pathlib import Path

from services.cli.testbed.collector_counts import CollectorCounts, await_outcomes, read_counts
from services.collector.query_results import OutcomeCounts


async def test_without_a_database_nothing_is_stored(tmp_path: Path) -> None:
    assert await read_counts(tmp_path, "camera") == OutcomeCounts()
    found = await await_outcomes(tmp_path, "camera", ["a", "b"], OutcomeCounts(), timeout_s=0.0)
    assert found == CollectorCounts(stored=0, missing=2)


async def test_no_request_needs_no_wait(tmp_path: Path) -> None:
    found = await await_outcomes(tmp_path, "camera", [], OutcomeCounts(), timeout_s=60.0)
    assert found == CollectorCounts(stored=0)
