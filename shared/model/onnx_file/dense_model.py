"""Small fully connected networks as ONNX models: ReLU between the layers, and tanh at the end."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

OPSET: Final = 17
IR_VERSION: Final = 8

# Weights [in, out] and biases [out] of a layer.
DenseLayer = tuple[NDArray[np.float32], NDArray[np.float32]]


class NoDenseModelError(ValueError):
    """An ONNX model is not one that `dense_model` writes; the text says why."""


def dense_model(layers: Sequence[DenseLayer]) -> bytes:
    """Return the layers as an ONNX model: ``state`` [N, in] -> ``action`` [N, out], in [-1, 1]."""
    nodes, values, here = [], [], "state"
    for place, (weights, biases) in enumerate(layers):
        last = place + 1 == len(layers)
        values += [(f"weights{place}", weights), (f"biases{place}", biases)]
        nodes.append(helper.make_node("Gemm", [here, f"weights{place}", f"biases{place}"], [f"sum{place}"]))
        here = "action" if last else f"layer{place}"
        nodes.append(helper.make_node("Tanh" if last else "Relu", [f"sum{place}"], [here]))
    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "splits",
        [helper.make_tensor_value_info("state", float32, ["states", layers[0][0].shape[0]])],
        [helper.make_tensor_value_info("action", float32, ["states", layers[-1][0].shape[1]])],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in values],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, producer_name="segue", opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def dense_layers(data: bytes) -> list[DenseLayer]:
    """Return the layers of a model that `dense_model` has written.

    Raises:
        NoDenseModelError: it is none.
    """
    try:
        graph = onnx.load_from_string(data).graph
    except Exception as error:
        # Parsers of several versions raise errors of several kinds.
        raise NoDenseModelError("it is no ONNX model") from error
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    layers: list[DenseLayer] = []
    while (place := len(layers)) < len(values) // 2:
        names = f"weights{place}", f"biases{place}"
        if not values.keys() >= set(names):
            raise NoDenseModelError(f"it has no parameters {names[0]} and {names[1]}")
        weights, biases = (values[name] for name in names)
        if weights.dtype != np.float32 or weights.ndim != 2 or biases.shape != weights.shape[1:]:
            raise NoDenseModelError(f"layer {place} has no weights [in, out] with biases [out]")
        layers.append((weights, biases))
    if not layers or any(one[0].shape[1] != other[0].shape[0] for one, other in pairwise(layers)):
        raise NoDenseModelError("its layers do not follow each other")
    return layers
