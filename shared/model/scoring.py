"""Small stored networks that only score what is seen; onnxruntime is imported when the first one is loaded."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Scorer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def load_scorer(model: bytes) -> Scorer:
    """Return the ONNX model with one input and one output as a function, on one thread.

    Apart from `shared.model.onnx_file`, which needs onnx as well, so that a planner with onnxruntime alone can use it.

    Raises:
        ModuleNotFoundError: onnxruntime is not installed.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given, made = session.get_inputs()[0].name, session.get_outputs()[0].name

    def score(values: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run([made], {given: values})[0]
        return found

    return score
