"""What a node costs: floating-point operations, parameters, memory."""

import math
from collections.abc import Callable, Iterable

from shared.model.graph import Graph, Node
from shared.model.tensor import Tensor

_RUNNING_STATISTICS = (3, 4)


def _shape(graph: Graph, node: Node, position: int) -> tuple[int, ...]:
    return graph.tensor(node.inputs[position]).shape


def _output(graph: Graph, node: Node) -> Tensor:
    return graph.tensor(node.outputs[0])


def _convolution(weight: int) -> Callable[[Graph, Node], int]:
    return lambda graph, node: _output(graph, node).elements * math.prod(_shape(graph, node, weight)[1:])


def _transposed_convolution(graph: Graph, node: Node) -> int:
    return math.prod(_shape(graph, node, 0)) * math.prod(_shape(graph, node, 1)[1:])


def _gemm(graph: Graph, node: Node) -> int:
    inner = _shape(graph, node, 0)[0 if node.integer("transA", 0) else 1]
    return _output(graph, node).elements * inner


def _matrix_product(graph: Graph, node: Node) -> int:
    return _output(graph, node).elements * _shape(graph, node, 0)[-1]


def _recurrent(graph: Graph, node: Node) -> int:
    steps, batch = _shape(graph, node, 0)[:2]
    return steps * batch * (math.prod(_shape(graph, node, 1)) + math.prod(_shape(graph, node, 2)))


def _einsum(graph: Graph, node: Node) -> int:
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
    """Count 2 operations per multiply-accumulate of convolutions and matrix products; all else counts 0.

    Raises:
        ShapeError: A shape that is needed is not known.
    """
    count = _MULTIPLY_ACCUMULATES.get(node.op_type)
    return 2 * count(graph, node) if count else 0


def total_bytes(tensors: Iterable[Tensor]) -> int:
    """Add up the raw sizes of tensors, in bytes."""
    return sum(tensor.size_bytes for tensor in tensors)


def parameter_count(graph: Graph) -> int:
    """Count trainable parameters: floating-point weights, but no scalars and no statistics of batch normalisation."""
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
