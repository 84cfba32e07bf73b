"""Ctrl-C, pressed once or often: commands end quietly, with the exit status that shells give an interrupted program."""

import signal
from typing import Any, Final

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it."""


def interrupt_once() -> None:
    """Let the first Ctrl-C raise `KeyboardInterrupt` and the system ignore the others: they would cut off the clean-up.

    Where Ctrl-C does something else already (a background job of a shell ignores it), that stays.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(number: int, frame: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt
