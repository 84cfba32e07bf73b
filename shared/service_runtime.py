"""How every service starts, logs, and stops."""

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import IntEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler

from shared.bus.errors import BusError, SettingsError

LOGGER = logging.getLogger(__name__)

_LOCK_PATIENCE_S = 5.0
_LOCK_POLL_S = 0.05


class ExitStatus(IntEnum):
    """What a command's exit status says (design section 8)."""

    DONE = 0
    FAILED = 1
    INPUT_WRONG = 2
    INFEASIBLE = 3
    OUT_OF_REACH = 4


class InputError(Exception):
    """What the user gave is wrong; the text says what to do."""


@contextlib.asynccontextmanager
async def lock_directory(folder: Path, *, patience_s: float = _LOCK_PATIENCE_S) -> AsyncIterator[None]:
    """Make a folder and keep it from other processes for the time of the block; the system frees it if this one dies.

    Args:
        folder: where a service keeps what only one process may write.
        patience_s: how long a process that is just ending may still hold it.

    Raises:
        InputError: the folder cannot be used, or another process goes on using it.
    """
    try:
        descriptor = await asyncio.to_thread(_open_lock, folder)
    except OSError as error:
        raise InputError(f"the data directory {folder} cannot be used: {error.strerror or error}") from error
    try:
        await _lock(descriptor, folder, patience_s)
        yield
    finally:
        os.close(descriptor)


def _open_lock(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    return os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


async def _lock(descriptor: int, folder: Path, patience_s: float) -> None:
    end_s = time.monotonic() + patience_s
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end_s:
                raise InputError(
                    f"another process uses {folder}: is this service running already? Stop it, or choose another "
                    "name or data directory"
                ) from None
            await asyncio.sleep(_LOCK_POLL_S)


def segue_version() -> str:
    """Return the version of the installed distribution."""
    try:
        return version("segue")
    except PackageNotFoundError:
        return "0"


def new_boot_id() -> str:
    """Return an id that differs after every start of a process."""
    return uuid.uuid4().hex[:12]


def configure_logging(level: str = "INFO") -> None:
    """Log to standard error: coloured on a terminal, one plain line per record elsewhere."""
    if sys.stderr.isatty():
        handler: logging.Handler = RichHandler(console=Console(stderr=True), show_path=False)
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def run(service: Callable[[], Awaitable[None]], *, log_level: str = "INFO") -> ExitStatus:
    """Run `service` until it ends or SIGINT or SIGTERM cancels it; say what failed in one line.

    Args:
        service: makes the coroutine to run; its clean-up must not need longer than ten seconds.
        log_level: name of the lowest level to log.

    Returns:
        The exit status for the process.
    """
    configure_logging(log_level)
    status = ExitStatus.DONE
    try:
        asyncio.run(_until_signalled(service))
    except* (InputError, SettingsError) as group:
        status = _say(group, ExitStatus.INPUT_WRONG)
    except* BusError as group:
        status = _say(group, ExitStatus.OUT_OF_REACH)
    return status


async def _until_signalled(service: Callable[[], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(service())
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _say(group: BaseExceptionGroup[BaseException], status: ExitStatus) -> ExitStatus:
    for error in _leaves(group):
        LOGGER.error("%s", error)
    return status


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found
