"""Sessions of ONNX Runtime for folding and verification."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final

from onnx import helper

from shared.inference_runtime import create_session, new_session_options, onnxruntime, run_session
from shared.model.errors import RuntimeFailureError, TimeLimitError
from shared.model.weights import Array
from shared.time_limits import BASE_LIMIT_S, TimeLimitExceeded, call_apart

# Log severity. Errors are raised as exceptions too, so their log lines would only repeat them.
_FATAL: Final = 4
# Every runtime that Segue accepts runs the first version, in a file of this format. The end is far away.
_OLDEST_OPSET: Final = 14
_END_OF_OPSETS: Final = 100
_OLD_FORMAT: Final = 8


class Optimisation(Enum):
    """Graph optimisation level of the runtime.

    With ALL, kernels depend on the processor and on the neighbours of a node in the graph. With NONE, every node runs
    as the file states it, so equal graphs give equal numbers wherever they are cut.
    """

    NONE = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    EXTENDED = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    ALL = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL


@dataclass(frozen=True, slots=True)
class OutputType:
    """Type of an output.

    Attributes:
        name: the runtime's name, such as `tensor(float)` or `seq(tensor(int64))`.
        shape: sizes; None for one that is unknown. Empty for a scalar and for a tensor of unknown rank.
    """

    name: str
    shape: tuple[int | None, ...]


class ModelSession:
    """A loaded model."""

    def __init__(
        self,
        model: bytes | str,
        optimisation: Optimisation = Optimisation.ALL,
        *,
        limit_s: float = BASE_LIMIT_S,
    ) -> None:
        """Load a model from its bytes or its path.

        Args:
            model: bytes or path.
            optimisation: level.
            limit_s: time limit of loading, and of every run.

        Raises:
            RuntimeFailureError: ONNX Runtime refuses the model.
            TimeLimitError: it is not loaded within the limit.
        """
        self._limit_s = limit_s
        options = new_session_options()
        options.graph_optimization_level = optimisation.value
        options.log_severity_level = _FATAL
        try:
            self._session = create_session(model, options, ["CPUExecutionProvider"], limit_s)
        except TimeLimitExceeded as exc:
            raise TimeLimitError(f"ONNX Runtime cannot load the model: {exc}") from exc
        except Exception as exc:
            raise RuntimeFailureError(f"ONNX Runtime cannot load the model: {exc}") from exc
        self.inputs = tuple(value.name for value in self._session.get_inputs())
        self.outputs = tuple(value.name for value in self._session.get_outputs())

    @property
    def output_types(self) -> dict[str, OutputType]:
        """Types of the outputs as the runtime infers them, by name."""
        return {
            value.name: OutputType(
                value.type,
                tuple(size if isinstance(size, int) and size >= 0 else None for size in value.shape or ()),
            )
            for value in self._session.get_outputs()
        }

    def run(self, values: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run the model.

        Args:
            values: by name; those that are no inputs are ignored.
            outputs: names of the outputs to compute; none for all.

        Raises:
            RuntimeFailureError: ONNX Runtime fails.
            TimeLimitError: the run does not end within the limit.
        """
        names = tuple(outputs or self.outputs)
        try:
            results = call_apart(partial(self._run, names, {name: values[name] for name in self.inputs}), self._limit_s)
        except TimeLimitExceeded as exc:
            raise TimeLimitError(f"ONNX Runtime cannot run the model: {exc}") from exc
        except Exception as exc:
            raise RuntimeFailureError(f"ONNX Runtime cannot run the model: {exc}") from exc
        return dict(zip(names, results, strict=True))

    def _run(self, names: Sequence[str], values: Mapping[str, Array]) -> list[Array]:
        return run_session(self._session, names, values, self._limit_s)


def newest_opset() -> int:
    """Return the newest version of ONNX's own operators that the runtime loads.

    No function of the runtime tells, so models of one operator are tried.
    """
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g", [value("x", 1, [1])], [value("y", 1, [1])]
    )
    newest = _OLDEST_OPSET
    for opset in range(_OLDEST_OPSET, _END_OF_OPSETS):
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=_OLD_FORMAT)
        try:
            ModelSession(model.SerializeToString(), Optimisation.NONE)
        except RuntimeFailureError:
            break
        newest = opset
    return newest


def operator_domains() -> tuple[str, ...]:
    """Return the operator domains that the runtime has beside ONNX's own; empty if it does not tell."""
    schemas = getattr(onnxruntime.capi.onnxruntime_pybind11_state, "get_all_operator_schema", None)
    return () if schemas is None else tuple(sorted({schema.domain for schema in schemas()} - {""}))
