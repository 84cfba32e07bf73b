"""Row rules: for each operator, the relation between the rows of its output and of its inputs, or why there is none."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import Final

from shared.model.graph import Node
from shared.model.operators import ELEMENTWISE
from shared.model.tiles.kernel_windows import kernel_window, transposed_window
from shared.model.tiles.node_view import NodeView, RowRead
from shared.model.tiles.resizing import resize_read
from shared.model.tiles.row_relations import (
    EnlargedRows,
    PaddedRows,
    PadMode,
    SameRows,
    SpreadRows,
    WindowRows,
)

# Axes before the spatial ones: batch and channels.
_LEADING_AXES: Final = 2
# Domain of the runtime's own operators.
_CONTRIBUTED: Final = "com.microsoft"
# From this version on, softmax runs along one axis. Before, it flattened all axes from that one on.
_SOFTMAX_OF_ONE_AXIS: Final = 13


# From a node to its reading, or to the reason why it needs more than rows.
RowRule = Callable[[NodeView], RowRead | str]


def row_read(view: NodeView) -> RowRead | str:
    """Return how a node reads rows for those of its output, or the reason why it cannot, as the end of a sentence."""
    node = view.node
    if node.captures:
        return "runs subgraphs"
    if node.domain not in ("", _CONTRIBUTED) or node.op_type not in _RULES:
        return _WHOLE_IMAGE.get(node.op_type, "is not known to work by rows")
    if node.op_type not in _SEVERAL_OUTPUTS and len(node.written) > 1:
        return "has a second output"
    return _RULES[node.op_type](view)


def without_optional_outputs(node: Node) -> Node:
    """Return a node without the outputs behind its first, such as masks and indices; one that divides keeps all."""
    return node if node.op_type in _SEVERAL_OUTPUTS else replace(node, outputs=node.outputs[:1])


def why_all_rows(node: Node) -> str:
    """Return why the output of a node is no image where its input is one, as the end of a sentence."""
    return _WHOLE_IMAGE.get(node.op_type, "makes something else than an image with several rows")


def _elementwise(view: NodeView) -> RowRead | str:
    rank, height = len(view.output_shape), view.output_shape[view.axis]
    axes = {}
    for position, name in enumerate(view.node.inputs):
        # Shapes are aligned at the last axis. An input of one row, or without this axis, is the same for all rows.
        axis = view.axis - rank + len(view.shape(position)) if name else -1
        if axis >= 0 and view.shape(position)[axis] == height:
            axes[position] = axis
    return RowRead(SameRows(), axes)


def _dropout(view: NodeView) -> RowRead | str:
    return "may draw random numbers" if view.has(2) else view.first_input(SameRows())


def _windows(view: NodeView) -> RowRead | str:
    if view.axis < _LEADING_AXES:
        return _OTHER_AXIS
    if view.node.op_type == "FusedConv" and view.has(3):
        return "adds a second image"
    window = kernel_window(view.active.graph, view.node)
    if window.counts(view.shape(0)[_LEADING_AXES:]) != view.output_shape[_LEADING_AXES:]:
        # Shape inference counts windows that begin in the padding behind the image; the runtime leaves them out.
        return "rounds its size up to rows or columns that the runtime does not make"
    place, pads = view.axis - _LEADING_AXES, window.pads
    above, below = pads[place], pads[place + len(pads) // 2]
    extent, stride = window.extents[place], window.strides[place]
    return view.first_input(WindowRows(extent, stride, above, below, pads, place, window.ceil))


def _transposed_convolution(view: NodeView) -> RowRead | str:
    if view.axis < _LEADING_AXES:
        return _OTHER_AXIS
    window, added = transposed_window(view.active.graph, view.node)
    place, pads = view.axis - _LEADING_AXES, window.pads
    relation = SpreadRows(window.extents[place], window.strides[place], pads[place], pads, added, place)
    return view.first_input(relation)


def _batch_normalisation(view: NodeView) -> RowRead | str:
    # Training computes the statistics over all rows.
    return _STATISTICS if view.node.integer("training_mode", 0) else _per_channel(view)


def _per_channel(view: NodeView) -> RowRead | str:
    return view.first_input(SameRows()) if view.axis >= _LEADING_AXES else _ALONG_ROWS


def _layer_normalisation(view: NodeView) -> RowRead | str:
    return view.first_input(SameRows()) if view.along(-1) > view.axis else _STATISTICS


def _concatenation(view: NodeView) -> RowRead | str:
    if view.along(0) == view.axis:
        return _ALONG_ROWS
    return RowRead(SameRows(), dict.fromkeys(range(len(view.node.inputs)), view.axis))


def _division(view: NodeView) -> RowRead | str:
    return _ALONG_ROWS if view.along(0) == view.axis else view.first_input(SameRows())


def _quantisation(view: NodeView) -> RowRead | str:
    if view.node.integer("block_size", 0):
        return "has scales for blocks of elements"
    per_axis = view.active.graph.tensor(view.node.inputs[1]).elements > 1
    return _ALONG_ROWS if per_axis and view.along(1) == view.axis else view.first_input(SameRows())


def _softmax(view: NodeView) -> RowRead | str:
    one_axis = view.active.graph.opsets.get("", 0) >= _SOFTMAX_OF_ONE_AXIS
    axis = view.along(-1 if one_axis else 1)
    independent = axis != view.axis if one_axis else axis > view.axis
    return view.first_input(SameRows()) if independent else "divides by a sum over all rows"


def _matrix_product(view: NodeView) -> RowRead | str:
    weights = view.shape(1)
    if not view.active.is_constant(view.node.inputs[1]) or len(weights) != 2 or view.axis == len(view.output_shape) - 1:
        return "multiplies with more than one row"
    return view.first_input(SameRows())


def _padding(view: NodeView) -> RowRead | str:
    stated = view.numbers(1) if view.has(1) else view.node.integers("pads", ())
    rank = len(view.output_shape)
    axes = view.numbers(3) if view.has(3) else tuple(range(rank))
    if stated is None or axes is None or len(stated) != 2 * len(axes):
        return "computes its padding"
    places = [axis % rank for axis in axes]
    place = places.index(view.axis) if view.axis in places else None
    if place is None or not (stated[place] or stated[place + len(axes)]):
        return view.first_input(SameRows())
    try:
        mode = PadMode(view.node.text("mode", PadMode.CONSTANT.value))
    except ValueError:
        return "pads with rows from the far side of the image"
    return view.first_input(PaddedRows(stated[place], mode, stated, place, 1 if view.has(1) else None))


def _transposition(view: NodeView) -> RowRead | str:
    rank = len(view.output_shape)
    return RowRead(SameRows(), {0: view.node.integers("perm", tuple(reversed(range(rank))))[view.axis]})


def _reshape(view: NodeView) -> RowRead | str:
    before, after = view.shape(0), view.output_shape
    height, outer = after[view.axis], prod(after[: view.axis])
    for axis, size in enumerate(before):
        if size == height and prod(before[:axis]) == outer:
            states = view.node.op_type == "Reshape" and view.has(1)
            return RowRead(SameRows((1, after, view.axis) if states else None), {0: axis})
    return "joins the rows with other axes"


def _reduction(view: NodeView) -> RowRead | str:
    rank = len(view.shape(0))
    reduced = view.numbers(1) if view.has(1) else view.node.integers("axes", ())
    if view.node.op_type in _POSITIONS:
        reduced = (view.node.integer("axis", 0),)
    kept = [axis for axis in range(rank) if axis not in {axis % rank for axis in reduced or range(rank)}]
    axis = view.axis if view.node.integer("keepdims", 1) else kept[view.axis]
    return RowRead(SameRows(), {0: axis}) if axis in kept else "joins all rows"


def _selection(view: NodeView) -> RowRead | str:
    rank = len(view.shape(1))
    chosen = view.node.integer("axis", 0) % len(view.shape(0))
    if not view.active.is_constant(view.node.inputs[1]) or chosen <= view.axis < chosen + rank:
        return "selects rows"
    return RowRead(SameRows(), {0: view.axis if view.axis < chosen else view.axis - rank + 1})


def _slice(view: NodeView) -> RowRead | str:
    if view.has(1):
        starts, axes = view.numbers(1), view.numbers(3) if view.has(3) else None
    else:
        starts, axes = view.node.integers("starts", ()), view.node.integers("axes", ()) or None
    if axes is None and not (view.has(3) or starts is None):
        axes = tuple(range(len(starts)))
    rank = len(view.output_shape)
    if axes is None or view.axis in [axis % rank for axis in axes]:
        return "selects rows"
    return view.first_input(SameRows())


def _space_to_depth(view: NodeView) -> RowRead | str:
    block = view.node.integer("blocksize", 1)
    return view.first_input(WindowRows(block, block)) if view.axis >= _LEADING_AXES else _OTHER_AXIS


def _depth_to_space(view: NodeView) -> RowRead | str:
    block = view.node.integer("blocksize", 1)
    if view.axis < _LEADING_AXES:
        return _OTHER_AXIS
    return view.first_input(EnlargedRows(block, lambda row: (row // block, row // block + 1)))


_OTHER_AXIS: Final = "moves over other axes than that of the rows"
_ALONG_ROWS: Final = "works along the axis of the rows"
_STATISTICS: Final = "computes statistics over all rows"

_POSITIONS: Final = ("ArgMax", "ArgMin")
_REDUCTIONS: Final = (
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
    "ReduceLogSum", "ReduceLogSumExp", *_POSITIONS,
)  # fmt: skip
_SEVERAL_OUTPUTS: Final = frozenset({"Split"})
_RULES: Final[Mapping[str, RowRule]] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(("QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu"), _elementwise),
    **dict.fromkeys(("Conv", "FusedConv", "ConvInteger", "QLinearConv"), _windows),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _windows),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _quantisation),
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze", "Flatten"), _reshape),
    **dict.fromkeys(("Resize", "Upsample"), resize_read),
    **dict.fromkeys(_REDUCTIONS, _reduction),
    "ConvTranspose": _transposed_convolution,
    "BatchNormalization": _batch_normalisation,
    "LRN": _per_channel,
    "LayerNormalization": _layer_normalisation,
    "Concat": _concatenation,
    "Split": _division,
    "Dropout": _dropout,
    "MatMul": _matrix_product,
    "Pad": _padding,
    "Transpose": _transposition,
    "Gather": _selection,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "DepthToSpace": _depth_to_space,
}
# Why frequent operators need every row.
_WHOLE_IMAGE: Final[Mapping[str, str]] = {
    "Gemm": "multiplies with more than one row",
    "Flatten": "joins the rows with other axes",
    "GlobalAveragePool": "averages over all rows",
    "GlobalMaxPool": "takes the largest value of all rows",
    "GlobalLpPool": "takes a norm over all rows",
    "QLinearGlobalAveragePool": "averages over all rows",
    "InstanceNormalization": _STATISTICS,
    "GroupNormalization": _STATISTICS,
    "MeanVarianceNormalization": _STATISTICS,
    "DynamicQuantizeLinear": "computes its scale from all rows",
}
