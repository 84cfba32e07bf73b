"""Runs the outcome store on a thread, so that the event loop does not wait for the disk."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from services.collector.outcome_store import OutcomeStore, ReceivedRecord, StoreLimits, WriteResult


class OutcomeStoreThread:
    """The one thread that uses an `OutcomeStore`; batches are written in the order of the calls."""

    def __init__(self, store: OutcomeStore, pool: ThreadPoolExecutor) -> None:
        """Wrap an open store and a pool of exactly one thread."""
        self._store = store
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, limits: StoreLimits) -> AsyncIterator[Self]:
        """Open the store at `path` while the context lasts.

        Raises:
            StoreUnavailable: the database can neither be opened nor made.
        """
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="store") as pool:
            store = await loop.run_in_executor(pool, OutcomeStore, path, limits)
            try:
                yield cls(store, pool)
            finally:
                # Closing runs on the same thread, behind a write in progress; cancellation must not skip it.
                await asyncio.shield(loop.run_in_executor(pool, store.close))

    async def write(self, batch: Sequence[ReceivedRecord]) -> tuple[WriteResult, ...]:
        """Store a batch; on return it is on disk. See `OutcomeStore.write`."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._store.write, batch)
