"""Rows that pass from a segment, or from its tiles, to the next one.

Each row of a tensor between two segments has one holder: the tile that makes it for its segment's output, not one that
computes it as halo. A device that holds rows, and also computes a tile that reads them, keeps them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shared.model.errors import TileError
from shared.model.graph import Graph
from shared.model.tensor import Tensor
from shared.model.tiles.tile_plan import TilePlan, plan_tile, segment_height, segment_nodes
from shared.row_ranges import NOTHING, RowRange, convex_union, intersection

# Rows of each tensor by name; None for a tensor without rows, which passes as a whole.
TensorRows = Mapping[str, RowRange | None]

# Tensors between segments are images [batch, channels, rows, columns].
_ROW_AXIS: Final = 2
_IMAGE_RANK: Final = 4


@dataclass(frozen=True, slots=True)
class ReaderTensor:
    """A tensor that a reader needs.

    Attributes:
        name: its name.
        rows: that it needs; None for all of a tensor without rows.
        shape: of what it needs.
        dtype: element type, as numpy calls it.
    """

    name: str
    rows: RowRange | None
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class RowReader:
    """What a tile, or a segment in one piece, needs of the segment before it; in the order of its inputs."""

    tensors: tuple[ReaderTensor, ...]

    @property
    def needed(self) -> dict[str, RowRange | None]:
        """The needed rows by name."""
        return {tensor.name: tensor.rows for tensor in self.tensors}


@dataclass(frozen=True, slots=True, eq=False)
class TileEnds:
    """What a tile computes, needs and makes.

    Attributes:
        plan: what it computes.
        needed: rows of each tensor that enters the segment; those of a tensor that passes through included.
        made: rows of each tensor that leaves the segment.
    """

    plan: TilePlan
    needed: TensorRows
    made: Mapping[str, RowRange]


def tile_ends(graph: Graph, rows: RowRange) -> TileEnds:
    """Return what a tile of a segment computes, needs and makes.

    Of a tensor that passes through the segment, such as a shortcut, a tile holds the rows at the place of its own.

    Raises:
        TileError: the segment cannot be tiled, or has no such rows.
    """
    segment = segment_nodes(graph)
    height = segment_height(segment)
    if not 0 <= rows[0] < rows[1] <= height:
        raise TileError(f"there are no rows [{rows[0]}, {rows[1]}): the output of the blocks has {height}")
    plan = plan_tile(segment, rows)
    needed, made = dict(plan.inputs), dict(plan.outputs)
    for name, own in needed.items():
        if own is not None and (plan.held[name].axis, len(segment.shape(name))) != (_ROW_AXIS, _IMAGE_RANK):
            raise TileError(f"{name!r} enters the blocks, and is no image [batch, channels, rows, columns]")
    for name in (name for name in graph.outputs if name in graph.inputs):
        shape = segment.shape(name)
        if len(shape) != _IMAGE_RANK or shape[_ROW_AXIS] < height or needed.get(name, NOTHING) is None:
            raise TileError(f"{name!r} passes through the blocks, and has fewer rows than their output")
        made[name] = rows[0] * shape[_ROW_AXIS] // height, rows[1] * shape[_ROW_AXIS] // height
        needed[name] = convex_union(needed.get(name) or NOTHING, made[name])
    return TileEnds(plan, {name: needed[name] for name in graph.inputs if name in needed}, made)


def tile_readers(graph: Graph, rows: Sequence[RowRange]) -> tuple[RowReader, ...]:
    """Return what the tiles of a segment need.

    Args:
        graph: of the segment.
        rows: of its output that each tile makes.

    Raises:
        TileError: the segment cannot be divided so.
    """
    height = segment_height(segment_nodes(graph))
    if (bottom := max(bottom for _, bottom in rows)) != height:
        raise TileError(f"the tiles make {bottom} rows, but the output of the blocks has {height}")
    ends = (tile_ends(graph, own) for own in rows)
    return tuple(
        RowReader(tuple(_part(graph.tensor(name), needed) for name, needed in each.needed.items())) for each in ends
    )


def whole_reader(outputs: Sequence[Tensor]) -> RowReader:
    """Return what a segment in one piece needs of the tiles before it: every output of theirs."""
    return RowReader(tuple(_part(tensor, (0, tensor.shape[_ROW_AXIS])) for tensor in outputs))


def passed_rows(held: TensorRows | None, reader: RowReader) -> dict[str, RowRange | None]:
    """Return the rows that a holder passes to a reader; an empty range where it has nothing of a tensor.

    Args:
        held: rows that the holder has made; None for a segment in one piece, which has all.
        reader: what the reader needs.

    Raises:
        TileError: the reader needs a tensor that the holder does not make.
    """
    passed: dict[str, RowRange | None] = {}
    for name, needed in reader.needed.items():
        if held is None:
            passed[name] = needed
            continue
        own = held.get(name)
        if own is None or needed is None:
            raise TileError(f"no tile makes the whole of {name!r}")
        passed[name] = intersection(own, needed)
    return passed


def is_nothing(passed: TensorRows) -> bool:
    """Return whether no row passes."""
    return all(rows == NOTHING for rows in passed.values())


def _part(tensor: Tensor, rows: RowRange | None) -> ReaderTensor:
    shape = list(tensor.shape)
    if rows is not None:
        shape[_ROW_AXIS] = rows[1] - rows[0]
    return ReaderTensor(tensor.name, rows, tuple(shape), tensor.dtype.value)
