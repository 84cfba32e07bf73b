"""Batches are written in order by one thread, without blocking the event loop."""

import asyncio
from pathlib import Path

import pytest

from services.collector.errors import StoreUnavailable
from services.collector.outcome_store import StoreLimits, WriteResult
from services.collector.outcome_store_thread import OutcomeStoreThread
from tests.support.collector_world import arrivals, result


async def test_batches_are_written_in_the_order_of_the_calls(path: Path) -> None:
    async with OutcomeStoreThread.open(path, StoreLimits()) as store:
        first, second = await asyncio.gather(
            store.write(arrivals(result("r1"))), store.write(arrivals(result("r1", attempt=2), result("r2")))
        )
    assert first == (WriteResult.RESULT,)
    assert second == (WriteResult.DUPLICATE, WriteResult.RESULT)


async def test_a_store_that_cannot_be_opened_raises_in_the_event_loop(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable):
        async with OutcomeStoreThread.open(tmp_path / "file" / "collector.sqlite", StoreLimits()):
            raise AssertionError("the store is open")
