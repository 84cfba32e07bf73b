"""The store on a thread of its own: the event loop never waits for the disk."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from services.collector.outcome_store import OutcomeStore, ReceivedRecord, StoreLimits, StoreOutcomeKind


class StoreThread:
    """One thread, one store: batches are written in the order in which they are given."""

    def __init__(self, store: OutcomeStore, pool: ThreadPoolExecutor) -> None:
        """Wrap an open store and the one thread that may use it."""
        self._store = store
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, limits: StoreLimits) -> AsyncIterator[Self]:
        """Open the store at `path`; it is closed at the end of the block.

        Raises:
            StoreUnavailable: it cannot be opened or made.
        """
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="store") as pool:
            store = await loop.run_in_executor(pool, OutcomeStore, path, limits)
            try:
                yield cls(store, pool)
            finally:
                await asyncio.shield(loop.run_in_executor(pool, store.close))

    async def write(self, batch: Sequence[ReceivedRecord]) -> tuple[StoreOutcomeKind, ...]:
        """Store a batch; on return it is on disk. See `OutcomeStore.write`."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._store.write, batch)
