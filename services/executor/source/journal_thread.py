"""Journal on a thread of its own, so that the event loop never waits for the disk."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from services.executor.source.journal import Journal
from shared.service_runtime import InputError

_LOGGER = logging.getLogger(__name__)

_Value = TypeVar("_Value")

_RETRY_S = 1.0


class JournalThread:
    """One thread with one journal; calls run in the order in which they are made."""

    def __init__(self, journal: Journal, pool: ThreadPoolExecutor) -> None:
        """Wrap an open journal and the one thread that may use it."""
        self._journal = journal
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator[Self]:
        """Open the journal at `path`; it is closed at the end of the block.

        Raises:
            InputError: the file cannot be opened or created.
        """
        loop = asyncio.get_running_loop()
        pool = ThreadPoolExecutor(1, thread_name_prefix="journal")
        try:
            journal = await loop.run_in_executor(pool, _open, path)
            try:
                yield cls(journal, pool)
            finally:
                # Shielded: a cancelled service must still close the file, after the calls that are queued before it.
                await asyncio.shield(loop.run_in_executor(pool, journal.close))
        finally:
            pool.shutdown(wait=False)

    async def read(self, query: Callable[[Journal], _Value]) -> _Value | None:
        """Return the value of a query; None if the journal cannot be read."""
        try:
            return await self._call(query)
        except sqlite3.Error as error:
            _LOGGER.error("the journal cannot be read: %s", error)
            return None

    async def write(self, change: Callable[[Journal], None]) -> None:
        """Make a change durable in one transaction; return when it is.

        While the disk is full or the file is locked this waits, and everything that depends on the change waits too. A
        damaged file is moved aside, and the change is written to a new one.
        """
        is_logged = False
        while True:
            try:
                return await self._call(lambda journal: _in_transaction(journal, change))
            except sqlite3.OperationalError as error:
                # Disk full, locked, or no rights: temporary, in contrast to a damaged file.
                if not is_logged:
                    _LOGGER.error("the journal cannot be written, trying again every second: %s", error)
                is_logged = True
                await asyncio.sleep(_RETRY_S)
            except sqlite3.DatabaseError as error:
                await self._call(partial(Journal.replace_damaged, reason=str(error)))

    async def _call(self, work: Callable[[Journal], _Value]) -> _Value:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, self._journal)


def _open(path: Path) -> Journal:
    try:
        return Journal.open(path)
    except (OSError, sqlite3.Error) as error:
        raise InputError(f"the journal {path} cannot be opened: {error}") from error


def _in_transaction(journal: Journal, change: Callable[[Journal], None]) -> None:
    with journal.transaction():
        change(journal)
