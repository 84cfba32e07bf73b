"""Runs the outcome store on a thread, so that the event loop does not wait for the disk."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Self

from services.collector.errors import StoreUnavailable
from services.collector.outcome_store import OutcomeStore, ReceivedRecord, StoreLimits, WriteResult
from shared.bus.settings import BusSettings
from shared.disk_faults import open_on_disk
from shared.duplicate_names import NameClaim


class OutcomeStoreThread:
    """The one thread that uses an `OutcomeStore`; batches are written in the order of the calls."""

    def __init__(self, store: OutcomeStore, pool: ThreadPoolExecutor) -> None:
        """Wrap an open store and a pool of exactly one thread."""
        self._store = store
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, limits: StoreLimits, settings: BusSettings | None = None, claim: NameClaim | None = None
    ) -> AsyncIterator[Self]:
        """Open the store at `path` while the context lasts. A full or read-only disk is waited for.

        Args:
            path: of the database.
            limits: its bounds.
            settings: where the broker is.
            claim: the collector, whose presence states a fault of the disk; None to say nothing on the bus.

        Raises:
            StoreUnavailable: the database can neither be opened nor made.
        """
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="store") as pool:
            try:
                store = await open_on_disk(partial(_open, path, limits), path.parent, settings, claim)
            except (OSError, sqlite3.OperationalError) as error:
                raise StoreUnavailable(f"the database {path} cannot be opened: {error}") from error
            try:
                yield cls(store, pool)
            finally:
                # Closing runs on the same thread, behind a write in progress; cancellation must not skip it.
                await asyncio.shield(loop.run_in_executor(pool, store.close))

    async def write(self, batch: Sequence[ReceivedRecord]) -> tuple[WriteResult, ...]:
        """Store a batch; on return it is on disk. See `OutcomeStore.write`."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._store.write, batch)


def _open(path: Path, limits: StoreLimits) -> OutcomeStore:
    try:
        return OutcomeStore(path, limits)
    except StoreUnavailable as error:
        if isinstance(error.__cause__, OSError | sqlite3.OperationalError):
            raise error.__cause__ from None
        raise
