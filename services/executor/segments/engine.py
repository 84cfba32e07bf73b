"""Adapter of the inference engine, the only user of onnxruntime among the services."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from services.executor.errors import CannotPrepare, ExecutionFailed
from shared.inference_runtime import create_session, new_session_options, run_session
from shared.inference_runtime import onnxruntime as ort
from shared.messages.control import RejectionCause
from shared.time_limits import BASE_LIMIT_S, TimeLimitExceeded, call_apart, limit_for

RUNTIME_VERSION: Final[str] = ort.__version__
# The runtime's prefix of its messages: its name, and number and name of the status.
_PREFIX: Final = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Fatal error: )?")
# Phrases in error messages of onnxruntime, which has no exception class for this.
_OUT_OF_MEMORY = ("bad_alloc", "failed to allocate", "out of memory", "cannot allocate")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Execution provider and threads of sessions.

    Attributes:
        provider: onnxruntime's name of the execution provider.
        threads: threads of one `run`.
        base_limit_s: time limit of a run, without what the operations of a segment explain.
    """

    provider: str = "CPUExecutionProvider"
    threads: int = 1
    base_limit_s: float = BASE_LIMIT_S


class SegmentSession:
    """A loaded segment. `run` is called by one thread at a time.

    Attributes:
        inputs: names of the input tensors.
        outputs: names of the output tensors.
        limit_s: time after which the engine is told to end a run.
    """

    def __init__(self, session: ort.InferenceSession, limit_s: float) -> None:
        """Wrap an onnxruntime session whose runs end within `limit_s`."""
        self._session = session
        self.limit_s = limit_s
        self.inputs: tuple[str, ...] = tuple(node.name for node in session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(node.name for node in session.get_outputs())

    def run(self, tensors: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Run the segment and return its outputs by name.

        Args:
            tensors: contiguous little-endian tensors by name; may contain more than the inputs.
            outputs: names of the outputs to return, None for all; others are not copied out of the engine.

        Raises:
            ExecutionFailed: an input is missing, or its shape or type does not fit the model, or the run does not end.
            MemoryError: the device has run out of memory.
        """
        missing = [name for name in self.inputs if name not in tensors]
        if missing:
            raise ExecutionFailed(f"the segment's input {missing[0]!r} did not arrive")
        names = list(self.outputs if outputs is None else outputs)
        try:
            inputs = {name: tensors[name] for name in self.inputs}
            values = run_session(self._session, names, inputs, self.limit_s)
        except Exception as error:
            if _is_out_of_memory(error):
                raise MemoryError(f"the engine ran out of memory: {_one_line(error)}") from error
            raise ExecutionFailed(_one_line(error)) from error
        return dict(zip(names, values, strict=True))

    def run_apart(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the segment for the first time, in a thread of its own.

        One operator that computes for hours cannot be stopped. Its thread is left to itself.

        Raises:
            ExecutionFailed, MemoryError: as `run`.
        """
        try:
            return call_apart(partial(self.run, tensors), self.limit_s)
        except TimeLimitExceeded as error:
            raise ExecutionFailed(f"a run was stopped: {error}") from error


def load_session(
    model: bytes, settings: EngineSettings, weights_dir: Path | None = None, *, flops: float = 0.0
) -> SegmentSession:
    """Load a session from the bytes of an ONNX model. Takes 10 ms to seconds, so never call it on the event loop.

    Args:
        model: the bytes.
        settings: provider and threads.
        weights_dir: folder of the packed file whose weights the model names; the engine maps them from there.
        flops: operations of a run, which has the more time.

    Raises:
        CannotPrepare: the engine does not load the model, or not in time, has no such provider, or runs out of memory.
    """
    if settings.provider not in ort.get_available_providers():
        offered = ", ".join(ort.get_available_providers())
        raise CannotPrepare(RejectionCause.ERROR, f"no provider {settings.provider} here; there are: {offered}")
    options = new_session_options()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if weights_dir is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(weights_dir))
    providers = [settings.provider] if "CPU" in settings.provider else [settings.provider, "CPUExecutionProvider"]
    try:
        limit_s = limit_for(flops, settings.base_limit_s)
        return SegmentSession(create_session(model, options, providers, limit_s), limit_s)
    except Exception as error:
        cause = RejectionCause.MEMORY if _is_out_of_memory(error) else RejectionCause.MODEL_INVALID
        raise CannotPrepare(cause, f"the engine does not load the segment: {_one_line(error)}") from error


def providers() -> tuple[str, ...]:
    """Return the execution providers that the engine has."""
    return tuple(ort.get_available_providers())


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(phrase in text for phrase in _OUT_OF_MEMORY)


def _one_line(error: BaseException) -> str:
    return _PREFIX.sub("", " ".join(str(error).split()))[:500] or type(error).__name__
