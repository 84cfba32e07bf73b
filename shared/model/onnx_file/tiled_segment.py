"""Tiles of a segment as ONNX files, and the assembly of what they compute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.model.errors import TileError
from shared.model.graph import Graph
from shared.model.node_cost import flops
from shared.model.onnx_file.runtime import ModelSession, Optimisation
from shared.model.onnx_file.writing import to_bytes
from shared.model.tensor import Tensor
from shared.model.tiles.tile_graph import tile_graph
from shared.model.tiles.tile_plan import plan_tile, segment_height, segment_nodes
from shared.model.weights import Array
from shared.row_ranges import RowRange, partition_faults


@dataclass(frozen=True, slots=True, eq=False)
class TileFile:
    """A tile of a segment.

    Attributes:
        rows: of the segment's output; of several outputs, those of the one with the fewest rows.
        inputs: rows of each input that it needs; None for an input without rows, which it needs whole.
        outputs: rows of each output that it makes.
        data: the tile as the bytes of an ONNX file.
        flops: floating-point operations.
    """

    rows: RowRange
    inputs: Mapping[str, RowRange | None]
    outputs: Mapping[str, RowRange]
    data: bytes
    flops: int


@dataclass(frozen=True, slots=True, eq=False)
class TiledSegment:
    """A segment as tiles.

    Attributes:
        tiles: in the order of their ranges.
        row_axes: axis of the rows in each input and output that has rows.
        passing: outputs of the segment that are inputs of it. No tile has them.
        shapes: description of each output that the tiles make.
        flops: floating-point operations of the segment in one piece.
    """

    tiles: tuple[TileFile, ...]
    row_axes: Mapping[str, int]
    passing: tuple[str, ...]
    shapes: tuple[Tensor, ...]
    flops: int

    @property
    def overlap(self) -> float:
        """Operations that tiles repeat, as a share of those of the segment in one piece; 0 for a segment without."""
        return sum(tile.flops for tile in self.tiles) / self.flops - 1.0 if self.flops else 0.0

    def cut_inputs(self, tile: TileFile, values: Mapping[str, Array]) -> dict[str, Array]:
        """Return the part of the segment's inputs that a tile needs."""
        return {
            name: values[name] if rows is None else _rows_of(values[name], self.row_axes[name], rows)
            for name, rows in tile.inputs.items()
        }

    def assemble(self, made: Sequence[Mapping[str, Array]], values: Mapping[str, Array]) -> dict[str, Array]:
        """Return the segment's outputs.

        Args:
            made: outputs of every tile.
            values: inputs of the segment, some of which may pass through.
        """
        outputs = {name: values[name] for name in self.passing}
        for tensor in self.shapes:
            whole = np.empty(tensor.shape, tensor.dtype.value)
            for tile, parts in zip(self.tiles, made, strict=True):
                _rows_of(whole, self.row_axes[tensor.name], tile.outputs[tensor.name])[...] = parts[tensor.name]
            outputs[tensor.name] = whole
        return outputs

    def run(self, values: Mapping[str, Array], optimisation: Optimisation = Optimisation.ALL) -> dict[str, Array]:
        """Run all tiles on the inputs of the segment, and return its outputs.

        Raises:
            RuntimeFailureError: ONNX Runtime refuses a tile.
        """
        made = [ModelSession(tile.data, optimisation).run(self.cut_inputs(tile, values)) for tile in self.tiles]
        return self.assemble(made, values)

    def describe(self) -> dict[str, Any]:
        """Return the content of `split.json` about the tiles, but for the names of their files."""
        return {
            "tiles": [{"rows": tile.rows, "inputs": dict(tile.inputs), "outputs": tile.outputs} for tile in self.tiles],
            "row_axes": self.row_axes,
            "overlap_percent": round(100 * self.overlap, 2),
        }


def tile_segment(graph: Graph, ranges: Sequence[RowRange]) -> TiledSegment:
    """Divide a segment into tiles.

    Args:
        graph: of the segment (`segment_graph`).
        ranges: rows of its output, which together have to make every row once.

    Raises:
        TileError: the segment cannot be tiled, or not into these ranges.
    """
    segment = segment_nodes(graph)
    height = segment_height(segment)
    if (fault := ranges_fault(ranges, height)) is not None:
        raise TileError(fault)
    axes: dict[str, int] = {}
    tiles = []
    for rows in ranges:
        plan = plan_tile(segment, rows)
        ends = (*plan.inputs, *plan.outputs)
        axes |= {name: plan.held[name].axis for name in ends if name in plan.held}
        part = tile_graph(segment, plan)
        work = sum(flops(part, node) for node in part.nodes)
        tiles.append(TileFile(rows, plan.inputs, plan.outputs, to_bytes(part), work))
    passing = tuple(name for name in graph.outputs if name in graph.inputs)
    work = sum(flops(graph, node) for node in segment.nodes)
    return TiledSegment(tuple(tiles), axes, passing, graph.describe(segment.computed), work)


def ranges_fault(ranges: Sequence[RowRange], height: int) -> str | None:
    """Return why ranges of rows do not make each of `height` rows once; none if they do."""
    for top, bottom in ranges:
        if top < 0 or bottom > height:
            return f"rows [{top}, {bottom}) lie beyond its output, which has {height} rows"
    for _, fault in partition_faults(ranges):
        return fault
    end = max((bottom for _, bottom in ranges), default=0)
    return None if end == height else f"rows [{end}, {height}) belong to no tile"


def _rows_of(values: Array, axis: int, rows: RowRange) -> Array:
    part: Array = values[(slice(None),) * axis + (slice(*rows),)]
    return part
