"""Evaluates constant subgraphs with ONNX Runtime."""

from collections.abc import Mapping

import onnx
from onnx import helper

from shared.model.errors import AbsentValuesError, RuntimeFailureError, TimeLimitError
from shared.model.liveness import ActiveGraph, constant_nodes
from shared.model.onnx_file.protos import write_node, write_weight
from shared.model.onnx_file.runtime import ModelSession
from shared.model.weights import Array, is_stored
from shared.time_limits import BASE_LIMIT_S


def evaluate_constants(active: ActiveGraph, names: tuple[str, ...]) -> Mapping[str, Array]:
    """Return the values of tensors of constant subgraphs; an empty map if the runtime lacks one of the operators.

    Raises:
        AbsentValuesError: A weight that they depend on is stored apart from the graph.
        TimeLimitError: They are not computed within `BASE_LIMIT_S`.
    """
    graph = active.graph
    nodes = constant_nodes(active, names)
    used = {name for node in nodes for name in node.reads}
    proto = onnx.ModelProto(ir_version=8)
    proto.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in graph.opsets.items())
    proto.graph.name = "constants"
    proto.graph.node.extend(map(write_node, nodes))
    for name in used & graph.weights.keys():
        if is_stored(graph.weights[name]):
            raise AbsentValuesError(name)
        write_weight(graph.weights[name], proto.graph.initializer.add())
    proto.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    try:
        return ModelSession(proto.SerializeToString(), limit_s=BASE_LIMIT_S).run({})
    except TimeLimitError as exc:
        raise TimeLimitError(f"constants that shapes may depend on, such as {names[0]!r}: {exc}") from exc
    except RuntimeFailureError:
        return {}
