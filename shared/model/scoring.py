"""Runs small stored networks on one thread; imports onnxruntime when the first one is loaded."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Scorer = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def load_scorer(model: bytes) -> Scorer:
    """Return an ONNX model with one input and one output as a function.

    The function is not in `shared.model.onnx_file`, because that package needs onnx as well. A planner with onnxruntime
    alone can use this module.

    Args:
        model: bytes of the ONNX file.

    Raises:
        ModuleNotFoundError: onnxruntime is not installed.
    """
    from shared.inference_runtime import new_session_options, onnxruntime

    options = new_session_options()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    input_name, output_name = session.get_inputs()[0].name, session.get_outputs()[0].name

    def score(values: NDArray[np.float32]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = session.run([output_name], {input_name: values})[0]
        return scores

    return score
