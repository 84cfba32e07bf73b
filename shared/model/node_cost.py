"""Costs of a node: floating-point operations, parameters and bytes."""

import math
from collections.abc import Callable, Iterable
from typing import Final

from shared.model.graph import Graph, Node
from shared.model.tensor import Tensor

# Inputs of a batch normalisation that hold mean and variance, which training does not learn.
_RUNNING_STATISTICS: Final = (3, 4)


def _shape(graph: Graph, node: Node, position: int) -> tuple[int, ...]:
    return graph.tensor(node.inputs[position]).shape


def _output(graph: Graph, node: Node) -> Tensor:
    return graph.tensor(node.outputs[0])


def _convolution(weight: int) -> Callable[[Graph, Node], int]:
    # Every output element takes one product per element of its kernel. Input `weight` holds the kernels, in the shape
    # [out, channels / groups, rows, columns].
    return lambda graph, node: _output(graph, node).elements * math.prod(_shape(graph, node, weight)[1:])


def _transposed_convolution(graph: Graph, node: Node) -> int:
    # Every input element is multiplied with one kernel [out / groups, rows, columns].
    return math.prod(_shape(graph, node, 0)) * math.prod(_shape(graph, node, 1)[1:])


def _gemm(graph: Graph, node: Node) -> int:
    inner = _shape(graph, node, 0)[0 if node.integer("transA", 0) else 1]
    return _output(graph, node).elements * inner


def _matrix_product(graph: Graph, node: Node) -> int:
    return _output(graph, node).elements * _shape(graph, node, 0)[-1]


def _recurrent(graph: Graph, node: Node) -> int:
    # Inputs: X [steps, batch, inputs], W [directions, gates x hidden, inputs], R [directions, gates x hidden, hidden].
    steps, batch = _shape(graph, node, 0)[:2]
    return steps * batch * (math.prod(_shape(graph, node, 1)) + math.prod(_shape(graph, node, 2)))


def _einsum(graph: Graph, node: Node) -> int:
    # Every output element is a sum over the indices that the output lacks. Sizes are matched from the right, because
    # an ellipsis stands for leading axes.
    left, arrow, right = node.text("equation", "").replace(" ", "").replace(".", "").partition("->")
    sizes: dict[str, int] = {}
    for position, term in enumerate(left.split(",")):
        sizes.update(zip(reversed(term), reversed(_shape(graph, node, position)), strict=False))
    kept = right if arrow else "".join(label for label in sizes if left.count(label) == 1)
    return _output(graph, node).elements * math.prod(size for label, size in sizes.items() if label not in kept)


_MULTIPLY_ACCUMULATES: dict[str, Callable[[Graph, Node], int]] = {
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "DeformConv": _convolution(1),
    "FusedConv": _convolution(1),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed_convolution,
    "Gemm": _gemm,
    "FusedGemm": _gemm,
    "QGemm": _gemm,
    "MatMul": _matrix_product,
    "MatMulInteger": _matrix_product,
    "QLinearMatMul": _matrix_product,
    "Einsum": _einsum,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}


def flops(graph: Graph, node: Node) -> int:
    """Return the floating-point operations of a node: 2 for each multiply-accumulate.

    Convolutions and matrix products count, without their bias; all other operators count 0. The convention is that of
    Molchanov et al., "Pruning convolutional neural networks for resource efficient inference", ICLR 2017, appendix A.1.
    Papers that report multiply-adds (MACs) give half of these numbers. A node that reads or writes dynamic tensors
    counts 0.

    Raises:
        ShapeError: A required shape is unknown.
    """
    count = _MULTIPLY_ACCUMULATES.get(node.op_type)
    if not graph.dynamic.isdisjoint((*node.reads, *node.written)):
        return 0
    return 2 * count(graph, node) if count else 0


def total_bytes(tensors: Iterable[Tensor]) -> int:
    """Return the total raw size of tensors, in bytes."""
    return sum(tensor.size_bytes for tensor in tensors)


def parameter_count(graph: Graph) -> int:
    """Return the number of trainable parameters.

    Floating-point weights count, except scalars and the running statistics of batch normalisations.
    """
    statistics = {
        node.inputs[position]
        for node in graph.nodes
        if node.op_type == "BatchNormalization"
        for position in _RUNNING_STATISTICS
    }
    return sum(
        weight.tensor.elements
        for name, weight in graph.weights.items()
        if weight.tensor.dtype.is_float and weight.tensor.shape and name not in statistics
    )
