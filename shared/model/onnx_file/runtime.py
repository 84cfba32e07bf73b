"""ONNX Runtime, as little of it as loading and verifying need."""

from collections.abc import Mapping, Sequence
from enum import Enum

import onnxruntime

from shared.model.errors import RuntimeFailureError
from shared.model.weights import Array

_FATAL = 4


class Optimisation(Enum):
    """How much the runtime rearranges a graph: with ALL its kernels depend on the processor and on their neighbours."""

    EXTENDED = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ALL = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL


class ModelSession:
    """One loaded model."""

    def __init__(self, model: bytes | str, optimisation: Optimisation = Optimisation.ALL) -> None:
        """Load a model from its bytes or its path.

        Raises:
            RuntimeFailureError: The runtime refuses it.
        """
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = optimisation.value
        options.log_severity_level = _FATAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as exc:
            raise RuntimeFailureError(f"ONNX Runtime cannot load the model: {exc}") from exc
        self.inputs = tuple(value.name for value in self._session.get_inputs())
        self.outputs = tuple(value.name for value in self._session.get_outputs())

    def run(self, values: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run the model; of `values` it takes those that are inputs.

        Raises:
            RuntimeFailureError: The runtime fails.
        """
        names = tuple(outputs or self.outputs)
        try:
            results = self._session.run(names, {name: values[name] for name in self.inputs})
        except Exception as exc:
            raise RuntimeFailureError(f"ONNX Runtime cannot run the model: {exc}") from exc
        return dict(zip(names, results, strict=True))
