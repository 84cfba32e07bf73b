"""ONNX Runtime, imported with its telemetry off, and the session options that every device shares."""

import os
from typing import Final

# The runtime reads this when its library is loaded. Without it, a session resolves a host of the maker, again and
# again; `onnxruntime.disable_telemetry_events` does not stop that.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

# "0" keeps subnormal numbers. Of a process, "1" reaches only the thread that makes the first session, and the pools of
# sessions with several threads. So it would compute one operator in two ways (docs/decisions/subnormals.md).
_DENORMAL_AS_ZERO: Final = "0"

__all__ = ["new_session_options", "onnxruntime"]


def new_session_options() -> onnxruntime.SessionOptions:
    """Return session options with what must be the same everywhere, so that equal graphs give equal numbers."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.set_denormal_as_zero", _DENORMAL_AS_ZERO)
    # Spinning threads would keep the cores of a small device busy between two runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
