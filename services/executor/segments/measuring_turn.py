"""Turn of an executor to measure: one at a time on a machine, those in containers included.

A lock on a file holds them apart. Containers of one machine share no folder by themselves: `/run/lock` of the machine
is mounted in each for it (deploy/compose/device.yaml).
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

_LOGGER = logging.getLogger(__name__)

_LOCK_POLL_S: Final = 0.05
# Where the Filesystem Hierarchy Standard 3.0 (5.9, 3.15) has locks; usually every user may write it.
_SHARED: Final = Path("/run/lock")


def usual_lock_path(shared: Path = _SHARED) -> Path:
    """Return the lock file of this machine; of this user alone where there is no folder that all may write.

    Args:
        shared: folder of locks.
    """
    if os.access(shared, os.W_OK | os.X_OK):
        return shared / "segue-measuring.lock"
    return Path(tempfile.gettempdir()) / f"segue-measuring-{os.getuid()}.lock"


@asynccontextmanager
async def measuring_turn(path: Path, timeout_s: float) -> AsyncIterator[None]:
    """Hold a lock file for the time of the block; without it after `timeout_s`, which is logged.

    A file that cannot be opened is logged too: a device that never measures would be of no use.
    """
    try:
        descriptor = await asyncio.to_thread(_open, path)
    except OSError as error:
        _LOGGER.warning("measuring without the lock of this machine: %s", error)
        yield
        return
    try:
        if not await _acquire(descriptor, timeout_s):
            _LOGGER.warning("%s was not free within %g s: measuring without the lock", path, timeout_s)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open the file of whichever user made it. A lock needs no right to write, and a link is not followed."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, flags)
    try:
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return os.open(path, flags)


async def _acquire(descriptor: int, timeout_s: float) -> bool:
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        try:
            # Polled: a blocking flock has no timeout, and its thread could not be cancelled.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            await asyncio.sleep(_LOCK_POLL_S)
    return False
