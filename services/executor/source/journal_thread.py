"""Journal on a thread of its own, so that the event loop never waits for the disk.

Checkpoints have a second thread, so that no transaction waits for the disk either.
"""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from services.executor.source.journal import Journal
from services.executor.source.outcome_log import LoggedOutcome, OutcomeLog
from shared.bus.settings import BusSettings
from shared.disk_faults import open_on_disk, until_disk_allows
from shared.duplicate_names import NameClaim
from shared.exit_status import InputError

_LOGGER = logging.getLogger(__name__)

_Value = TypeVar("_Value")

_RETRY_S = 1.0


class JournalThread:
    """One thread with one journal; calls run in the order in which they are made.

    Invariant: at most one checkpoint is under way, on the thread of `_checkpoints`. `_checkpoint` is the last one.

    Attributes:
        trouble: why the disk refuses the journal at present; empty if it does not.
    """

    def __init__(
        self, journal: Journal, log: OutcomeLog, pool: ThreadPoolExecutor, checkpoints: ThreadPoolExecutor
    ) -> None:
        """Wrap an open journal and its log, the one thread that may use it, and the thread of its checkpoints."""
        self.trouble = ""
        self._journal = journal
        self._log = log
        # Outcomes in the log that no transaction has written yet.
        self._logged = 0
        self._pool = pool
        self._checkpoints = checkpoints
        self._checkpoint: asyncio.Future[None] | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, settings: BusSettings | None = None, claim: NameClaim | None = None
    ) -> AsyncIterator[Self]:
        """Open the journal at `path`; it is closed at the end of the block. A full or read-only disk is waited for.

        Args:
            path: of the file.
            settings: where the broker is.
            claim: the device, whose presence states a fault of the disk; None to say nothing on the bus.

        Raises:
            InputError: the file cannot be opened or created.
        """
        loop = asyncio.get_running_loop()
        pool = ThreadPoolExecutor(1, thread_name_prefix="journal")
        checkpoints = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        try:
            journal, log = await _open(path, settings, claim)
            try:
                yield cls(journal, log, pool, checkpoints)
            finally:
                log.close()
                # Shielded: a cancelled service must still close the file, after the calls that are queued before it.
                await asyncio.shield(loop.run_in_executor(pool, journal.close))
        finally:
            # A checkpoint that is still under way then holds the last connection, and completes the log.
            checkpoints.shutdown(wait=False)
            pool.shutdown(wait=False)

    def now_s(self) -> float:
        """Return the present time of the journal's clock."""
        return self._journal.clock.now_s()

    async def read(self, query: Callable[[Journal], _Value]) -> _Value | None:
        """Return the value of a query; None if the journal cannot be read. Waits while the disk fails."""
        try:
            return await self._until_disk_allows(query)
        except (OSError, sqlite3.Error) as error:
            _LOGGER.error("the journal cannot be read: %s", error)
            return None

    def log_outcomes(self, outcomes: Sequence[LoggedOutcome]) -> bool:
        """Make outcomes durable at once, so that they may be published, and return True; or return False.

        After True the next change that is written has to contain them, and says their number.
        """
        # A disk that refuses the journal would fill up with what the journal cannot take over.
        if self.trouble or not self._log.append(outcomes):
            return False
        self._logged += len(outcomes)
        return True

    async def write(self, change: Callable[[Journal], None], *, logged: int = 0) -> None:
        """Make a change durable in one transaction; return when it is.

        Of its outcomes `logged` are in the log.

        While the disk is full, read-only or failing this waits, and everything that depends on the change waits too. A
        damaged file is moved aside, and the change is written to a new one.
        """
        while True:
            try:
                if await self._until_disk_allows(lambda journal: _in_transaction(journal, change)):
                    self._begin_checkpoint()
                self._taken_over(logged)
                return
            except sqlite3.OperationalError as error:
                # Neither the state of the disk nor a damaged file, such as too little memory.
                _LOGGER.error("the journal cannot be written, trying again: %s", error)
                await asyncio.sleep(_RETRY_S)
            except sqlite3.DatabaseError as error:
                await self._checkpoint_done()
                await self._until_disk_allows(partial(Journal.replace_damaged, reason=str(error)))

    async def _until_disk_allows(self, work: Callable[[Journal], _Value]) -> _Value:
        return await until_disk_allows(partial(self._call, work), self._journal.path.parent, self._note_trouble)

    async def _note_trouble(self, fault: str) -> None:
        self.trouble = f"requests wait in the broker: {fault}" if fault else ""

    def _taken_over(self, logged: int) -> None:
        self._logged -= logged
        if logged and not self._logged:
            self._log.clear()

    def _begin_checkpoint(self) -> None:
        if self._checkpoint is not None and not self._checkpoint.done():
            return
        self._journal.checkpoint_begins()
        loop = asyncio.get_running_loop()
        self._checkpoint = loop.run_in_executor(self._checkpoints, _try_checkpoint, self._journal)

    async def _checkpoint_done(self) -> None:
        if self._checkpoint is not None:
            await asyncio.wait([self._checkpoint])

    async def _call(self, work: Callable[[Journal], _Value]) -> _Value:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, self._journal)


async def _open(path: Path, settings: BusSettings | None, claim: NameClaim | None) -> tuple[Journal, OutcomeLog]:
    try:
        return await open_on_disk(partial(_open_both, path), path.parent, settings, claim)
    except (OSError, sqlite3.Error) as error:
        raise InputError(f"the journal {path} cannot be opened: {error}") from error


def _open_both(path: Path) -> tuple[Journal, OutcomeLog]:
    """Open a journal and its log, and take over what the log has."""
    journal = Journal.open(path)
    try:
        log = OutcomeLog(path.with_name(f"{path.name}-outcomes"))
        with journal.transaction():
            for outcome in log.read():
                try:
                    journal.take_over(outcome)
                except (TypeError, ValueError) as error:
                    # Of another release, perhaps. The request is computed again.
                    _LOGGER.error("an outcome of stream %s in the journal's log is left out: %s", outcome.stream, error)
        log.clear()
    except BaseException:
        journal.close()
        raise
    return journal, log


def _in_transaction(journal: Journal, change: Callable[[Journal], None]) -> bool:
    """Make a change durable, and return whether a checkpoint is due."""
    with journal.transaction():
        change(journal)
    return journal.is_checkpoint_due


def _try_checkpoint(journal: Journal) -> None:
    try:
        journal.checkpoint()
    except (OSError, sqlite3.Error) as error:
        # The log keeps everything, and the next checkpoint tries again.
        _LOGGER.warning("the journal's log stays longer than usual: %s", error)
