"""ONNX Runtime with its telemetry off, with the session options that every device shares, and with time limits."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from shared.time_limits import WATCHDOG, TimeLimitExceeded, call_apart

# The runtime reads this when its library is loaded. Without it, a session resolves a host of the maker, again and
# again; `onnxruntime.disable_telemetry_events` does not stop that.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

# "0" keeps subnormal numbers. Of a process, "1" reaches only the thread that makes the first session, and the pools of
# sessions with several threads. So it would compute one operator in two ways (docs/decisions/subnormals.md).
_DENORMAL_AS_ZERO: Final = "0"

# Where a run was stopped, in the runtime's message.
_STOPPED_AT: Final = re.compile(r"while running (\w+) node\. Name:'([^']{0,100})")

__all__ = ["create_session", "new_session_options", "onnxruntime", "run_session"]


def new_session_options() -> onnxruntime.SessionOptions:
    """Return session options with what must be the same everywhere, so that equal graphs give equal numbers."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.set_denormal_as_zero", _DENORMAL_AS_ZERO)
    # Spinning threads would keep the cores of a small device busy between two runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def create_session(
    model: bytes | str, options: onnxruntime.SessionOptions, providers: Sequence[str], limit_s: float
) -> onnxruntime.InferenceSession:
    """Create a session from the bytes or the path of a model. The runtime folds constants meanwhile, so it computes.

    Raises:
        TimeLimitExceeded: it was not created within the limit.
        Exception: what the runtime raises.
    """

    def stop() -> None:
        # The runtime has this order since 1.22. Before, the thread is left to itself.
        if hasattr(options, "set_load_cancellation_flag"):
            options.set_load_cancellation_flag(True)

    def create() -> onnxruntime.InferenceSession:
        with WATCHDOG.watch(limit_s, stop) as watch:
            try:
                return onnxruntime.InferenceSession(model, options, providers=list(providers))
            except Exception as error:
                if watch.is_over:
                    raise TimeLimitExceeded(f"it did not end within {limit_s:.3g} s") from error
                raise

    try:
        return call_apart(create, limit_s)
    except TimeLimitExceeded as error:
        raise TimeLimitExceeded(f"the creation of its session was stopped: {error}") from error


def run_session(
    session: onnxruntime.InferenceSession, outputs: Sequence[str], values: Mapping[str, Any], limit_s: float
) -> list[Any]:
    """Run a session in this thread; the order to stop takes effect between two operators, and in loops at every step.

    Raises:
        TimeLimitExceeded: the run was stopped at the limit.
        Exception: what the runtime raises.
    """
    options = onnxruntime.RunOptions()

    def stop() -> None:
        options.terminate = True

    with WATCHDOG.watch(limit_s, stop) as watch:
        try:
            results: list[Any] = session.run(list(outputs), dict(values), options)
        except Exception as error:
            if watch.is_over:
                raise TimeLimitExceeded(f"a run did not end within {limit_s:.3g} s{_stopped_at(error)}") from error
            raise
    return results


def _stopped_at(error: Exception) -> str:
    found = _STOPPED_AT.search(str(error))
    if found is None:
        return ""
    operator, name = found.groups()
    return f", in node {name!r} ({operator})" if name else f", in a {operator} node"
