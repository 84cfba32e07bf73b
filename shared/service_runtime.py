"""Life of a service's process: identity, logging, signals and exit status."""

import asyncio
import contextlib
import logging
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from shared.bus.errors import BusError, SettingsError
from shared.exception_groups import errors_in
from shared.exit_status import ExitStatus, InputError, ServiceFailed
from shared.messages.bounds import clean_text

_LOGGER = logging.getLogger(__name__)


def segue_version() -> str:
    """Return the version of the installed distribution, "0" if there is none."""
    try:
        return version("segue")
    except PackageNotFoundError:
        return "0"


def new_boot_id() -> str:
    """Return an id that differs after every start of a process: 12 hexadecimal digits."""
    return uuid.uuid4().hex[:12]


def configure_logging(level: str = "INFO") -> None:
    """Log to standard error: coloured on a terminal, one plain line per record elsewhere.

    Raises:
        ValueError: for a level that `logging` does not define.
    """
    if sys.stderr.isatty():
        # Imported for terminals only: it takes 4 MB, a tenth of a monitor.
        from rich.console import Console
        from rich.logging import RichHandler

        handler: logging.Handler = RichHandler(console=Console(stderr=True), show_path=False)
        handler.setFormatter(_PlainFormatter("%(name)s: %(message)s"))
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(_PlainFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class _PlainFormatter(logging.Formatter):
    """Formatter of one line per record, whatever control characters a message from outside has brought along.

    They could forge further lines, or rewrite the terminal of whoever reads the log.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line of a record."""
        record.message = clean_text(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return the lines of a traceback, indented, so that none is taken for a record."""
        return "\n".join(f"  {clean_text(line)}" for line in super().formatException(ei).splitlines())


def run_service(service: Callable[[], Awaitable[None]], *, log_level: str = "INFO") -> ExitStatus:
    """Run a service until it ends, or until SIGINT or SIGTERM cancels it. Log expected errors in one line each.

    Args:
        service: makes the coroutine to run. Its clean-up must not take longer than ten seconds.
        log_level: name of the lowest level to log.

    Returns:
        The exit status for the process. Unexpected errors propagate.
    """
    configure_logging(log_level)
    status = ExitStatus.DONE
    try:
        asyncio.run(_until_signalled(service))
    # A service is a tree of task groups: its errors arrive in groups. SettingsError is a BusError as well, and comes
    # first because the remedy is in the user's hands.
    except* (InputError, SettingsError) as group:
        status = _logged(group, ExitStatus.INPUT_WRONG)
    except* BusError as group:
        status = _logged(group, ExitStatus.OUT_OF_REACH)
    except* ServiceFailed as group:
        status = _logged(group, ExitStatus.FAILED)
    return status


async def _until_signalled(service: Callable[[], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(service())
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _logged(group: BaseExceptionGroup[BaseException], status: ExitStatus) -> ExitStatus:
    for error in errors_in(group):
        _LOGGER.error("%s", error)
    return status
