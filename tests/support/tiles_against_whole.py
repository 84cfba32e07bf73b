"""Tiles of a graph, run and put together, against the graph in one piece."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import strategies as st

from shared.model.graph import Graph
from shared.model.onnx_file import to_bytes
from shared.model.onnx_file.runtime import ModelSession, Optimisation
from shared.model.onnx_file.tiled_segment import TiledSegment, tile_segment
from shared.model.onnx_file.verification import OutputDifference, compare, random_inputs
from shared.row_ranges import RowRange


def difference(
    graph: Graph, ranges: Sequence[RowRange], level: Optimisation = Optimisation.ALL
) -> tuple[OutputDifference, TiledSegment]:
    """Return the difference of the outputs for random inputs, and the tiles."""
    values = random_inputs(graph.describe(graph.inputs), seed=3)
    whole = ModelSession(to_bytes(graph), level).run(values)
    tiled = tile_segment(graph, ranges)
    return compare(whole, tiled.run(values, level)), tiled


@st.composite
def row_ranges(draw: st.DrawFn, height: int) -> tuple[RowRange, ...]:
    """Draw one to four ranges, of random sizes, that make `height` rows."""
    cuts = draw(st.sets(st.integers(1, height - 1), max_size=3)) if height > 1 else set()
    return tuple(pairwise([0, *sorted(cuts), height]))
