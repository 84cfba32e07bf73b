"""Errors of an executor.

ExecutorError
├── BadInput            the request's bytes are no input of the model: the application's fault
├── ExecutionFailed     the engine failed on a valid input
├── TransferDamaged     a feature map does not decode: its source sends the request again
└── CannotPrepare       the device cannot fetch, load or hold a segment; has the cause for the planner
"""

from shared.messages.control import RejectionCause


class ExecutorError(Exception):
    """Root of the executor's errors."""


class BadInput(ExecutorError):
    """The request's bytes are no input of the model."""


class ExecutionFailed(ExecutorError):
    """The engine failed on a valid input."""


class TransferDamaged(ExecutorError):
    """A feature map fits its header but does not decode."""


class CannotPrepare(ExecutorError):
    """The device cannot make a segment ready."""

    def __init__(self, cause: RejectionCause, reason: str) -> None:
        """Create the error with a cause for the planner and a reason for people."""
        super().__init__(reason)
        self.cause = cause
        self.reason = reason
