"""Faults of a disk that pass (full, read-only, failing), and the wait for their end."""

import asyncio
import errno
import logging
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

from shared.bus.connection import Connection, unique_client_id
from shared.bus.errors import BusError
from shared.bus.settings import BusSettings
from shared.duplicate_names import NameClaim
from shared.messages.devices import State

_LOGGER = logging.getLogger(__name__)

_Value = TypeVar("_Value")

_RETRY_S: Final = 1.0
_TRIAL_BYTES: Final = 4096
_FULL: Final = "the disk is full"
_READ_ONLY: Final = "the disk is read-only"
_FAILING: Final = "the disk fails"
_BY_ERRNO: Final = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EROFS: _READ_ONLY,
    errno.EIO: _FAILING,
}
_BY_SQLITE_CODE: Final = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_IOERR: _FAILING,
    sqlite3.SQLITE_BUSY: "another process has locked the file",
    sqlite3.SQLITE_LOCKED: "another process has locked the file",
}

# Called with what is wrong, and with an empty text when nothing is wrong any more.
OnFault = Callable[[str], Awaitable[None]]


def disk_fault(error: OSError | sqlite3.OperationalError, folder: Path) -> str | None:
    """Return what is wrong with a disk, such as "the disk is full"; None if the error has another cause.

    Args:
        error: of the operating system or of SQLite.
        folder: of the file that was used. It may be missing.
    """
    if isinstance(error, OSError):
        return _BY_ERRNO.get(error.errno or 0)
    # The lower byte; the others detail it.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR):
        # SQLite names no cause where it cannot make or extend its files.
        return _fault_of(folder) or _BY_SQLITE_CODE.get(code)
    return _BY_SQLITE_CODE.get(code)


def _fault_of(folder: Path) -> str | None:
    """Return what happens to a small file that is written into the folder; None if it can be written."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as trial:
            trial.write(bytes(_TRIAL_BYTES))
    except OSError as error:
        return _BY_ERRNO.get(error.errno or 0)
    return None


async def until_disk_allows(
    work: Callable[[], Awaitable[_Value]], folder: Path, on_fault: OnFault | None = None
) -> _Value:
    """Return the result of `work`, tried again every second while the disk refuses it.

    Args:
        work: reads or writes a file. It changes nothing if it fails.
        folder: of the file.
        on_fault: called when the disk begins to refuse, when the reason changes, and when it allows again.

    Raises:
        OSError, sqlite3.Error: `work` fails for another reason.
    """
    told = ""
    while True:
        try:
            value = await work()
        except (OSError, sqlite3.OperationalError) as error:
            fault = disk_fault(error, folder)
            if fault is None:
                raise
            if fault != told:
                _LOGGER.error("%s (%s: %s); trying again every second", fault, folder, error)
                told = fault
                if on_fault is not None:
                    await on_fault(f"{fault}: {folder}")
            await asyncio.sleep(_RETRY_S)
            continue
        if told:
            _LOGGER.info("the disk of %s can be used again", folder)
            if on_fault is not None:
                await on_fault("")
        return value


async def open_on_disk(
    make: Callable[[], _Value], folder: Path, settings: BusSettings | None = None, claim: NameClaim | None = None
) -> _Value:
    """Return what `make` opens on a disk, in a thread. While the disk refuses, the presence of its service says so.

    Args:
        make: opens or makes a database.
        folder: where it lies.
        settings: where the broker is.
        claim: the service that starts; None to say nothing on the bus.

    Raises:
        OSError, sqlite3.Error: it cannot be opened for another reason.
    """

    async def announce(fault: str) -> None:
        if settings is None or claim is None:
            return
        absent = claim.presence.model_copy(update={"state": State.OFFLINE, "trouble": fault})
        client_id = unique_client_id("segue-trouble")
        try:
            async with Connection.open(settings, client_id=client_id) as connection:
                await connection.publish(claim.topic, absent.encode(), retain=True)
        except BusError as error:
            _LOGGER.warning("the fault is not published: %s", error)

    return await until_disk_allows(lambda: asyncio.to_thread(make), folder, announce)
