"""Sessions of ONNX Runtime for folding and verification."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

import onnxruntime

from shared.model.errors import RuntimeFailureError
from shared.model.tensor import DType, Tensor
from shared.model.weights import Array

# Log severity. Errors are raised as exceptions too, so their log lines would only repeat them.
_FATAL: Final = 4


_DTYPES: Final = {dtype.value: dtype for dtype in DType}
# Types whose name in the runtime is not that of numpy.
_RUNTIME_NAMES: Final = {"float": "float32", "double": "float64"}


class Optimisation(Enum):
    """Graph optimisation level of the runtime.

    With ALL, kernels depend on the processor and on the neighbours of a node in the graph. With NONE, every node runs
    as the file states it, so equal graphs give equal numbers wherever they are cut.
    """

    NONE = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    EXTENDED = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ALL = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL


class ModelSession:
    """A loaded model."""

    def __init__(self, model: bytes | str, optimisation: Optimisation = Optimisation.ALL) -> None:
        """Load a model from its bytes or its path.

        Raises:
            RuntimeFailureError: ONNX Runtime refuses the model.
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

    def static_outputs(self) -> dict[str, Tensor]:
        """Return the outputs whose shape and type the runtime has inferred, without a run."""
        tensors: dict[str, Tensor] = {}
        for value in self._session.get_outputs():
            kind = value.type.removeprefix("tensor(").removesuffix(")")
            dtype = _DTYPES.get(_RUNTIME_NAMES.get(kind, kind))
            if dtype is not None and all(isinstance(size, int) and size >= 0 for size in value.shape):
                tensors[value.name] = Tensor(value.name, dtype, tuple(value.shape))
        return tensors

    def run(self, values: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run the model.

        Args:
            values: by name; those that are no inputs are ignored.
            outputs: names of the outputs to compute; none for all.

        Raises:
            RuntimeFailureError: ONNX Runtime fails.
        """
        names = tuple(outputs or self.outputs)
        try:
            results = self._session.run(names, {name: values[name] for name in self.inputs})
        except Exception as exc:
            raise RuntimeFailureError(f"ONNX Runtime cannot run the model: {exc}") from exc
        return dict(zip(names, results, strict=True))
