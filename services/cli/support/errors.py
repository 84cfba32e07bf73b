"""Error lines on standard error and the exit status that belongs to an exception."""

from rich.text import Text

from services.cli.render.console import fault_lines, make_console
from shared.bus.errors import BusError, DecodeError, SettingsError
from shared.exit_status import ExitStatus, InputError
from shared.messages.base import MessageError
from shared.model.errors import ModelError

_OWN_PACKAGES = ("broker", "planning", "segue", "services", "shared")


class InfeasibleProblem(Exception):
    """No plan keeps the constraints; the text has one line per reason."""


class MissingPackage(Exception):
    """An optional package that the command needs is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(
            f"the package {package} is not installed: install what this command needs, "
            "pip install 'segue[all]' or one service's extra (monitor, planner, executor, collector, broker, fleet)"
        )


def report(error: BaseException) -> ExitStatus:
    """Print an error that the user can correct, one line per fault, and return the exit status.

    Raises:
        BaseException: `error` itself if it is a fault of Segue, which needs its traceback.
    """
    # Task groups wrap the error of their task.
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return report(error.exceptions[0])
    if isinstance(error, ModuleNotFoundError) and _package(error) not in _OWN_PACKAGES:
        return report(MissingPackage(_package(error)))
    status = exit_status(error)
    if status is None:
        raise error
    console = make_console(stderr=True, soft_wrap=True)
    if isinstance(error, MemoryError):
        error = MemoryError(f"this computer has not enough memory: {error}".removesuffix(": "))
    for line in fault_lines(str(error).splitlines() or [type(error).__name__]):
        console.print(Text.assemble(("error: ", "bold red"), line))
    return status


def exit_status(error: BaseException) -> ExitStatus | None:
    """Return the status of an error of the user or of the fleet; None for any other."""
    match error:
        case InputError() | ModelError() | SettingsError():
            return ExitStatus.INPUT_WRONG
        case InfeasibleProblem():
            return ExitStatus.INFEASIBLE
        case DecodeError() | MessageError() | BusError() | TimeoutError():
            return ExitStatus.OUT_OF_REACH
        case MissingPackage() | MemoryError():
            return ExitStatus.FAILED
        case _:
            return None


def _package(error: ModuleNotFoundError) -> str:
    return (error.name or "").partition(".")[0]
