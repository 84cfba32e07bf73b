"""The inference engine: the only importer of onnxruntime among the services."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from services.executor.errors import CannotPrepare, ExecutionFailed
from shared.messages.control import RejectionCause

Tensors = Mapping[str, np.ndarray]
"""Tensors by name; contiguous, little-endian."""

_OUT_OF_MEMORY = ("bad_alloc", "failed to allocate", "out of memory", "cannot allocate")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How sessions compute.

    Attributes:
        provider: onnxruntime's name of the execution provider.
        threads: threads of one `run`.
    """

    provider: str = "CPUExecutionProvider"
    threads: int = 1


class SegmentSession:
    """One segment, loaded and ready. `run` is called by one thread at a time."""

    def __init__(self, session: ort.InferenceSession) -> None:
        """Wrap a session of the engine."""
        self._session = session
        self.inputs: tuple[str, ...] = tuple(node.name for node in session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(node.name for node in session.get_outputs())

    def run(self, tensors: Tensors, outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Compute from `tensors`, which may hold more than the inputs.

        Args:
            tensors: by name.
            outputs: which to return, none for all: those that are left out are not copied.

        Raises:
            ExecutionFailed: an input is missing, or has a shape or type that the model does not take.
            MemoryError: the device has run out of memory.
        """
        missing = [name for name in self.inputs if name not in tensors]
        if missing:
            raise ExecutionFailed(f"the segment's input {missing[0]!r} did not arrive")
        wanted = list(self.outputs if outputs is None else outputs)
        try:
            values = self._session.run(wanted, {name: tensors[name] for name in self.inputs})
        except Exception as error:
            if _is_out_of_memory(error):
                raise MemoryError(f"the engine ran out of memory: {_one_line(error)}") from error
            raise ExecutionFailed(_one_line(error)) from error
        return dict(zip(wanted, values, strict=True))


def load_session(model: bytes, settings: EngineSettings) -> SegmentSession:
    """Make a session of an ONNX model's bytes. Takes from 10 ms to seconds: never on the event loop.

    Raises:
        CannotPrepare: the engine does not take the model, has no such provider, or runs out of memory.
    """
    if settings.provider not in ort.get_available_providers():
        offered = ", ".join(ort.get_available_providers())
        raise CannotPrepare(RejectionCause.ERROR, f"no provider {settings.provider} here; there are: {offered}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    # Spinning threads would take the processor from the other work of a small device between two requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    providers = [settings.provider] if "CPU" in settings.provider else [settings.provider, "CPUExecutionProvider"]
    try:
        return SegmentSession(ort.InferenceSession(model, options, providers=providers))
    except Exception as error:
        cause = RejectionCause.MEMORY if _is_out_of_memory(error) else RejectionCause.MODEL_INVALID
        raise CannotPrepare(cause, f"the engine does not load the segment: {_one_line(error)}") from error


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(phrase in text for phrase in _OUT_OF_MEMORY)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__
