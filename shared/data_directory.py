"""A service's data directory: used by one process at a time, damaged databases moved aside."""

import asyncio
import contextlib
import errno
import fcntl
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from shared.exit_status import InputError

_GRACE_PERIOD_S: Final = 5.0
_POLL_INTERVAL_S: Final = 0.05


@contextlib.asynccontextmanager
async def lock_directory(folder: Path, *, grace_period_s: float = _GRACE_PERIOD_S) -> AsyncIterator[None]:
    """Make a folder and lock it against other processes for the time of the block.

    The lock is on the open file `lock`. The kernel frees it when the process ends, in any way.

    Args:
        folder: where a service keeps what only one process may write.
        grace_period_s: time for a process that is just ending to free it.

    Raises:
        InputError: the folder cannot be used, or another process holds it beyond the grace period.
    """
    try:
        descriptor = await asyncio.to_thread(_open_lock_file, folder)
    except OSError as error:
        raise InputError(f"the data directory {folder} cannot be used: {error.strerror or error}") from error
    try:
        await _lock(descriptor, folder, grace_period_s)
        yield
    finally:
        os.close(descriptor)


def move_aside(path: Path) -> Path:
    """Rename a damaged database and the files that SQLite keeps beside it, so that a new one can begin.

    Returns:
        The new path, `NAME.damaged-1`, `NAME.damaged-2` and so on. Earlier ones are not overwritten.

    Raises:
        OSError: the folder cannot be written.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    # A new database must not find the write-ahead log of the damaged one: SQLite would replay it.
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.replace(aside.with_name(aside.name + suffix))
    return aside


def _open_lock_file(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        # A lock needs no right to write, and the disk may be mended while the service waits.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


async def _lock(descriptor: int, folder: Path, grace_period_s: float) -> None:
    end_s = time.monotonic() + grace_period_s
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end_s:
                raise InputError(
                    f"another process uses {folder}: is this service running already? Stop it, or choose another "
                    "name or data directory"
                ) from None
            await asyncio.sleep(_POLL_INTERVAL_S)
