"""Rows that every node of a tile computes and needs, propagated backward through a segment."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from shared.model.errors import TileError
from shared.model.graph import Graph, Node
from shared.model.liveness import ActiveGraph, activate
from shared.model.tiles.node_view import NodeView, RowRead
from shared.model.tiles.row_rules import row_read, why_all_rows, without_optional_outputs
from shared.row_ranges import NOTHING, RowRange, convex_union

# Axis of the rows at the ends of a segment: images are [batch, channels, rows, columns].
_ROW_AXIS: Final = 2
_IMAGE_RANK: Final = 4


@dataclass(frozen=True, eq=False)
class SegmentNodes:
    """The nodes of a segment between the tensors at its ends.

    Attributes:
        active: the graph, which tells constants from other tensors.
        nodes: of the segment, in topological order.
        inputs: names of the tensors that enter it.
        outputs: names of the tensors that leave it.
    """

    active: ActiveGraph
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def computed(self) -> tuple[str, ...]:
        """Names of the outputs that the segment computes. Others pass through it, and no tile has them."""
        return tuple(name for name in self.outputs if name not in self.inputs)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return self.active.graph.tensor(name).shape


def segment_nodes(graph: Graph) -> SegmentNodes:
    """Return the nodes of a segment that is a graph of its own."""
    active = activate(graph)
    return SegmentNodes(active, active.nodes, graph.inputs, graph.outputs)


@dataclass(frozen=True, slots=True)
class HeldRows:
    """Rows of a tensor, along an axis, that a tile holds."""

    axis: int
    rows: RowRange


@dataclass(frozen=True, slots=True, eq=False)
class TileStep:
    """A node of a tile.

    Attributes:
        node: of the segment.
        rows: of its output that the tile holds; none if it computes its output whole, which then has no rows.
        read: how it reads rows; none likewise.
    """

    node: Node
    rows: RowRange = NOTHING
    read: RowRead | None = None


@dataclass(frozen=True, eq=False)
class TilePlan:
    """What a tile computes.

    Attributes:
        steps: its nodes, in topological order.
        held: rows of the tensors that it holds in part. It holds others whole.
        inputs: rows of each input that it needs; None for one that has no rows, and is needed whole.
        outputs: rows of each output that it makes.
    """

    steps: tuple[TileStep, ...]
    held: Mapping[str, HeldRows]
    inputs: Mapping[str, RowRange | None]
    outputs: Mapping[str, RowRange]


def segment_height(segment: SegmentNodes) -> int:
    """Return the number of rows of a segment's output. With several outputs, it is that of the one with the fewest.

    Raises:
        TileError: an output has no rows, or only one.
    """
    heights = []
    for name in segment.computed:
        if segment.active.is_constant(name):
            raise TileError(f"output {name!r} is a constant")
        if not _is_image(segment, name):
            raise TileError(_end_of_rows(segment) or f"output {name!r} is no image with several rows")
        heights.append(segment.shape(name)[_ROW_AXIS])
    if not heights:
        raise TileError("it computes nothing")
    return min(heights)


def plan_tile(segment: SegmentNodes, rows: RowRange) -> TilePlan:
    """Return what a tile computes that makes `rows` of the segment's output.

    Of an output that is k times as high as the one with the fewest rows, it makes k times the rows.

    Raises:
        TileError: the segment cannot be tiled.
    """
    height = segment_height(segment)
    return _propagate(segment, _output_rows(segment, rows, height), clipped=True)


def reach(segment: SegmentNodes, rows: RowRange) -> TilePlan:
    """Return what a tile would compute and need if no tensor had borders.

    Raises:
        TileError: the segment cannot be tiled.
    """
    return _propagate(segment, _output_rows(segment, rows, segment_height(segment)), clipped=False)


def _is_image(segment: SegmentNodes, name: str) -> bool:
    """Return whether a tensor is an image with several rows."""
    if name in segment.active.graph.dynamic:
        return False
    shape = segment.shape(name)
    return len(shape) == _IMAGE_RANK and shape[_ROW_AXIS] > 1


def _end_of_rows(segment: SegmentNodes) -> str:
    """Return what the last node that makes no image of an image does; empty if there is none.

    Nodes before it may do so and be undone, as in a channel shuffle.
    """
    for node in reversed(segment.nodes):
        read = [name for name in _varying(segment.active, node) if _is_image(segment, name)]
        if read and not any(_is_image(segment, name) for name in node.written):
            return f"{_describe(node)} {why_all_rows(node)}"
    return ""


def _output_rows(segment: SegmentNodes, rows: RowRange, height: int) -> dict[str, RowRange]:
    heights = {name: segment.shape(name)[_ROW_AXIS] for name in segment.computed}
    return {name: (rows[0] * own // height, rows[1] * own // height) for name, own in heights.items()}


def _propagate(segment: SegmentNodes, outputs: Mapping[str, RowRange], *, clipped: bool) -> TilePlan:
    wanted = _Wanted(segment)
    for name, rows in outputs.items():
        wanted.add(name, HeldRows(_ROW_AXIS, rows))
    # Every reader of a tensor comes before its maker here, so a node's rows are complete when its turn comes.
    steps = [
        _step(wanted, node, clipped=clipped)
        for node in reversed(segment.nodes)
        if any(name in wanted.rows for name in node.written)
    ]
    held = {name: rows for name, rows in wanted.rows.items() if rows is not None}
    inputs = {name: wanted.rows[name] for name in segment.inputs if name in wanted.rows}
    return TilePlan(
        tuple(reversed(steps)), held, {name: None if own is None else own.rows for name, own in inputs.items()}, outputs
    )


def _step(wanted: "_Wanted", node: Node, *, clipped: bool) -> TileStep:
    """Return the step of a node, and add what it needs to the wanted rows."""
    if node.written[0] in wanted.rows and not any(name in wanted.rows for name in node.written[1:]):
        node = without_optional_outputs(node)
    made = [wanted.rows[name] for name in node.written if name in wanted.rows]
    axes = {None if rows is None else rows.axis for rows in made}
    active = wanted.segment.active
    if len(axes) > 1:
        raise TileError(f"{_describe(node)} makes tensors with rows along several axes")
    axis = axes.pop()
    if any(not active.graph.is_sized(name) for name in (*node.reads, *node.written) if not active.is_constant(name)):
        raise TileError(f"{_describe(node)} has tensors whose size only a run tells")
    if axis is None:
        for name in _varying(active, node):
            wanted.add_whole(name, node)
        return TileStep(node)
    rows = NOTHING
    for part in made:
        rows = convex_union(rows, NOTHING if part is None else part.rows)
    read = row_read(NodeView(active, node, axis))
    if isinstance(read, str):
        raise TileError(f"{_describe(node)} {read}")
    for position, name in enumerate(node.inputs):
        if not name or active.is_constant(name):
            continue
        if position not in read.axes:
            wanted.add_whole(name, node)
            continue
        height = wanted.segment.shape(name)[read.axes[position]]
        needed = read.relation.needed(rows, height) if clipped else read.relation.reach(rows)
        wanted.add(name, HeldRows(read.axes[position], needed), node)
    for name in node.written:
        wanted.rows[name] = HeldRows(axis, rows)
    return TileStep(node, rows, read)


def _varying(active: ActiveGraph, node: Node) -> Iterator[str]:
    return (name for name in node.reads if not active.is_constant(name))


class _Wanted:
    """The rows of each tensor that its readers want; None for all of a tensor without rows."""

    def __init__(self, segment: SegmentNodes) -> None:
        self.segment = segment
        self.rows: dict[str, HeldRows | None] = {}

    def add(self, name: str, rows: HeldRows, reader: Node | None = None) -> None:
        """Want rows of a tensor.

        Raises:
            TileError: another reader wants it whole, or with rows along another axis.
        """
        before = self.rows.get(name, rows)
        if before is None or before.axis != rows.axis:
            by = f"{_describe(reader)} reads" if reader is not None else "the output takes"
            raise TileError(f"{by} rows of {name!r} where another node reads it along another axis, or whole")
        self.rows[name] = HeldRows(rows.axis, convex_union(before.rows, rows.rows))

    def add_whole(self, name: str, reader: Node) -> None:
        """Want all of a tensor.

        Raises:
            TileError: it is an image, or another reader wants rows of it.
        """
        if _is_image(self.segment, name) or self.rows.get(name) is not None:
            raise TileError(f"{_describe(reader)} needs every row of {name!r}")
        self.rows[name] = None


def _describe(node: Node) -> str:
    name = f"node {node.name!r}" if node.name else f"the node that writes {node.written[0]!r}"
    return f"{name} ({node.op_type})"
