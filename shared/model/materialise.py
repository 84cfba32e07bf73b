"""Replaces the placeholder weights of a model by seeded random ones."""

from dataclasses import replace
from typing import Final

from shared.model.graph import Graph, Node
from shared.model.tensor import Tensor
from shared.model.weights import Normal, Recipe, Uniform, Weight, he_normal

_SHIFT: Final = Normal(0.05)
_SCALE: Final = Uniform(0.5, 1.5)
# Inputs (operator, position) that multiply or divide: gain and variance of batch normalisations, factors.
_SCALES: Final = {("BatchNormalization", 1), ("BatchNormalization", 4), ("Mul", 0), ("Mul", 1)}
# Inputs that are kernels or matrices.
_KERNELS: Final = {("Conv", 1), ("Gemm", 1), ("MatMul", 1)}
# Operators that change the shape of a tensor but not its values.
_TRANSPARENT: Final = frozenset({"Unsqueeze", "Squeeze", "Reshape", "Identity"})


def materialise_weights(graph: Graph, seed: int) -> Graph:
    """Replace placeholder weights by seeded random ones.

    Test files often fill weights with one number (ConstantOfShape) to stay small. Convolutions and matrix products
    get He-initialised weights, and batch normalisations a positive variance. The weights are recipes, so no large
    array is allocated.

    Args:
        graph: the model; nodes that make placeholders are removed.
        seed: of the random numbers.
    """
    placeholders = {
        node.outputs[0]: graph.tensors[node.outputs[0]]
        for node in graph.nodes
        if node.op_type == "ConstantOfShape" and node.outputs[0] in graph.tensors
    }
    readers = _first_readers(graph)
    weights = {
        name: Weight(tensor, Recipe(seed, _distribution(name, tensor, readers)))
        for name, tensor in placeholders.items()
        if tensor.dtype.is_float
    }
    return replace(
        graph,
        nodes=tuple(node for node in graph.nodes if node.outputs[0] not in weights),
        weights={**graph.weights, **weights},
    )


def _first_readers(graph: Graph) -> dict[str, tuple[Node, int]]:
    readers: dict[str, tuple[Node, int]] = {}
    for node in graph.nodes:
        for position, name in enumerate(node.inputs):
            readers.setdefault(name, (node, position))
    return readers


def _distribution(name: str, tensor: Tensor, readers: dict[str, tuple[Node, int]]) -> Normal | Uniform:
    """Choose a distribution by the first operator that reads the tensor's values."""
    if name not in readers:
        return _SHIFT
    node, position = readers[name]
    if node.op_type in _TRANSPARENT:
        return _distribution(node.outputs[0], tensor, readers)
    role = (node.op_type, position)
    if role in _KERNELS:
        return he_normal(_fan_in(node, tensor))
    return _SCALE if role in _SCALES else _SHIFT


def _fan_in(node: Node, tensor: Tensor) -> int:
    if node.op_type == "Conv" or node.integer("transB", 0):
        return tensor.elements // tensor.shape[0]
    return tensor.shape[-2]


def without_softmax(graph: Graph) -> Graph:
    """Remove the softmax at the end of a classifier.

    Random weights saturate a softmax, which then hides differences between two runs.
    """
    last = graph.nodes[-1]
    if last.op_type != "Softmax" or graph.outputs != last.outputs:
        return graph
    return replace(graph, nodes=graph.nodes[:-1], outputs=last.inputs)
