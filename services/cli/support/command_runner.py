"""Running of commands that talk to a fleet: asyncio, Ctrl-C and SIGTERM."""

# asyncio is imported where it is used: `segue --help` imports this module and must stay quick.
import contextlib
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, TypeVar

import typer

# Exit status after Ctrl-C: 128 + SIGINT, as shells report it.
INTERRUPTED: Final = 130

_T = TypeVar("_T")


def run_command(work: Callable[[], Awaitable[_T]]) -> _T:
    """Run `work` to its end. Ctrl-C and SIGTERM cancel it and end the command with status 130."""
    import asyncio

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
    """Keep log records off the terminal: the command itself prints what its user needs."""
    logging.getLogger().addHandler(logging.NullHandler())


@contextlib.contextmanager
def on_signals(handle: Callable[[], object]) -> Iterator[None]:
    """Call `handle` on SIGINT and SIGTERM, in the running loop, for the time of the block."""
    import asyncio

    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        # `remove_signal_handler` installs the default handler, not the one from before.
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def interrupt_once() -> None:
    """Let the first Ctrl-C raise `KeyboardInterrupt` and ignore later ones, which would cut the clean-up off.

    A handler that is already in place stays: a shell's background job ignores SIGINT, for example.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: Any) -> None:
    sys.unraisablehook = _report_unraisable
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _report_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Report an exception that nobody can catch, unless it is about a Ctrl-C that is ignored.

    Python reports "Signal 2 ignored due to race condition" for a signal that arrives while its handler is replaced.
    """
    if not (isinstance(unraisable.exc_value, OSError) and "race condition" in str(unraisable.exc_value)):
        sys.__unraisablehook__(unraisable)
