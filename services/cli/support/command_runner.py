"""How commands that talk to a fleet run: asyncio, Ctrl-C and SIGTERM."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import typer

from services.cli.support.interrupts import INTERRUPTED

_T = TypeVar("_T")


def run_command(work: Callable[[], Awaitable[_T]]) -> _T:
    """Run `work` to its end; Ctrl-C and SIGTERM cancel it and end the command with status 130."""

    async def cancellable() -> _T:
        task = asyncio.ensure_future(work())
        with on_signals(task.cancel):
            return await task

    quiet_logging()
    try:
        return asyncio.run(cancellable())
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise typer.Exit(INTERRUPTED) from None


def quiet_logging() -> None:
    """Keep log records off the terminal: what a user should know is said by the command itself."""
    logging.getLogger().addHandler(logging.NullHandler())


@contextlib.contextmanager
def on_signals(handle: Callable[[], object]) -> Iterator[None]:
    """Call `handle` on SIGINT and SIGTERM, in the running loop, for the time of the block."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
