"""How every service starts, logs, and stops."""

import asyncio
import contextlib
import logging
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable
from enum import IntEnum
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console
from rich.logging import RichHandler

from shared.bus.errors import BusError, SettingsError

LOGGER = logging.getLogger(__name__)


class ExitStatus(IntEnum):
    """What a command's exit status says (design section 8)."""

    DONE = 0
    FAILED = 1
    INPUT_WRONG = 2
    INFEASIBLE = 3
    OUT_OF_REACH = 4


class InputError(Exception):
    """What the user gave is wrong; the text says what to do."""


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
