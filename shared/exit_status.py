"""Exit status of commands and services, and the error of wrong input."""

from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit status of every command and service."""

    DONE = 0
    FAILED = 1
    """Something went wrong that is neither of the following."""
    INPUT_WRONG = 2
    """An option, a file or a name was wrong; the message says what to change."""
    INFEASIBLE = 3
    """No plan satisfies the constraints."""
    OUT_OF_REACH = 4
    """The broker, or a service behind it, does not answer."""


class InputError(Exception):
    """An option, a file or a name that the user gave is wrong. The text says what to change."""


class ServiceFailed(Exception):
    """A service cannot go on in this process, and can in a new one. The text says why."""
