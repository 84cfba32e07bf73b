"""What can go wrong in an executor.

ExecutorError
├── BadInput            the request's bytes are no input of the model: the application's fault
├── ExecutionFailed     the engine failed on a proper input
├── TransferDamaged     a feature map does not decode: its request has to come again
└── CannotPrepare       the device cannot hold or fetch a segment: carries the cause that the planner is told
"""

from shared.messages.control import RejectionCause


class ExecutorError(Exception):
    """The root of the executor's errors."""


class BadInput(ExecutorError):
    """The request's bytes are no input of the model."""


class ExecutionFailed(ExecutorError):
    """The engine failed on a proper input."""


class TransferDamaged(ExecutorError):
    """A feature map fits its header and does not decode."""


class CannotPrepare(ExecutorError):
    """The device cannot make a segment ready."""

    def __init__(self, cause: RejectionCause, reason: str) -> None:
        """Say why, for the planner (`cause`) and for people (`reason`)."""
        super().__init__(reason)
        self.cause = cause
        self.reason = reason
