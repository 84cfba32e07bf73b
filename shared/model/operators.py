"""Classes of operators: light ones next to which no cut is useful, and those that work row by row."""

from collections.abc import Callable
from typing import Final

from shared.model.graph import Node
from shared.model.liveness import ActiveGraph


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ACTIVATIONS = _names(
    """Relu LeakyRelu PRelu Clip Elu Selu Celu Sigmoid HardSigmoid HardSwish Swish Mish Gelu Tanh Softplus Softsign
    ThresholdedRelu Exp Log Sqrt Erf Abs Neg Reciprocal Floor Ceil Round Sign Not Identity Cast Dropout"""
)
_ARITHMETIC = _names("Add Sub Mul Div Pow Min Max Sum Mean Where Equal Greater Less And Or")
_NORMALISATIONS = _names(
    """BatchNormalization LRN InstanceNormalization LayerNormalization GroupNormalization RMSNormalization"""
)
_QUANTISATION = _names("QuantizeLinear DequantizeLinear DynamicQuantizeLinear")
_REARRANGEMENTS = _names(
    """Reshape Flatten Squeeze Unsqueeze Transpose Concat Split Slice Pad Expand Tile Resize Upsample
    SpaceToDepth DepthToSpace"""
)
_ELEMENTWISE = _ACTIVATIONS | _ARITHMETIC

# Operators that take little time beside moving their tensors. Only the smaller side of them is worth a cut.
LIGHT: Final = _ACTIVATIONS | _ARITHMETIC | _NORMALISATIONS | _QUANTISATION | _REARRANGEMENTS

# Axis of the rows in an image [batch, channels, rows, columns].
_ROWS: Final = 2


def works_by_rows(active: ActiveGraph, node: Node) -> bool:
    """Return whether horizontal slices of the node's output can be computed from horizontal slices of its inputs.

    Every varying tensor has to be an image [batch, channels, rows, columns]. Operators that need all rows together
    (flatten, fully connected, global pooling) end a tiled segment.
    """
    varying = [name for name in node.reads if not active.is_constant(name)]
    if not all(map(active.graph.is_sized, (*varying, node.outputs[0]))):
        return False
    images = [active.graph.tensor(name).shape for name in (*varying, node.outputs[0])]
    if node.captures or any(len(shape) != 4 for shape in images):
        return False
    if node.op_type in _ELEMENTWISE:
        return all(shape[_ROWS] == images[-1][_ROWS] for shape in images) and _constants_ignore_rows(active, node)
    rule = _ROW_RULES.get(node.op_type)
    return rule is not None and rule(active, node)


def _constants_ignore_rows(active: ActiveGraph, node: Node) -> bool:
    """Return whether every constant operand is broadcast along the rows."""
    shapes = [active.graph.tensor(name).shape for name in node.reads if active.is_constant(name)]
    return all(len(shape) < 2 or shape[-2] == 1 for shape in shapes)


def _convolution(active: ActiveGraph, node: Node) -> bool:
    return all(active.is_constant(name) for name in node.inputs[1:] if name)


def _pooling(active: ActiveGraph, node: Node) -> bool:
    # With both attributes the runtime averages the last window over a size of its own. A second output holds indices
    # into the whole image.
    ragged = node.integer("ceil_mode", 0) and node.integer("count_include_pad", 0)
    return not ragged and len(node.written) == 1


def _batch_normalisation(active: ActiveGraph, node: Node) -> bool:
    # Training computes the statistics over all rows.
    return not node.integer("training_mode", 0)


def _along_axis(active: ActiveGraph, node: Node) -> bool:
    return node.integer("axis", 1) % 4 != _ROWS


def _softmax(active: ActiveGraph, node: Node) -> bool:
    # Before opset 13, softmax flattened all axes from `axis` on, the rows among them.
    return active.graph.opsets.get("", 0) >= 13 and node.integer("axis", -1) % 4 != _ROWS


def _padding(active: ActiveGraph, node: Node) -> bool:
    # The other modes copy rows from elsewhere in the image; a fourth input pads chosen axes.
    known = len(node.inputs) == 1 or node.inputs[1] in active.graph.weights
    return known and node.text("mode", "constant") == "constant" and len(node.inputs) < 4


def _always(active: ActiveGraph, node: Node) -> bool:
    return True


_ROW_RULES: dict[str, Callable[[ActiveGraph, Node], bool]] = {
    "Conv": _convolution,
    "FusedConv": _convolution,
    "QLinearConv": _convolution,
    "MaxPool": _pooling,
    "AveragePool": _pooling,
    "LpPool": _pooling,
    "BatchNormalization": _batch_normalisation,
    "LRN": _always,
    "Concat": _along_axis,
    "QuantizeLinear": _along_axis,
    "DequantizeLinear": _along_axis,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Pad": _padding,
}
