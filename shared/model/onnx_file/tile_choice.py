"""Choice of the segments that are divided into tiles, and of their rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.model.errors import TileError
from shared.model.graph import Graph
from shared.model.onnx_file.tiled_segment import TiledSegment, tile_segment
from shared.model.partitioned_model import PartitionedModel
from shared.model.segment_graph import segment_graph
from shared.model.tiles.stretches import cuts_for_tiles
from shared.model.tiles.tile_plan import plan_tile, segment_height, segment_nodes
from shared.row_ranges import RowRange, equal_ranges


@dataclass(frozen=True, slots=True)
class TileChoice:
    """Tiles into which segments are divided.

    Attributes:
        count: number of equal tiles of each segment that can be tiled; None for given ranges.
        ranges: rows of the tiles of a segment, by its place. None stands for the only segment that can be tiled.
    """

    count: int | None = None
    ranges: Mapping[int | None, tuple[RowRange, ...]] = field(default_factory=dict)


def tile_segments(
    model: PartitionedModel, bounds: Sequence[tuple[int, int]], choice: TileChoice
) -> tuple[dict[int, TiledSegment], dict[int, str]]:
    """Divide segments into tiles.

    Args:
        model: the whole model.
        bounds: blocks `[start, stop)` of each segment.
        choice: what is divided, and how.

    Returns:
        The segments as tiles, and why others cannot be tiled, both by their place.

    Raises:
        TileError: no segment can be tiled, or one cannot be tiled as chosen.
    """
    graphs = {place: segment_graph(model, *ends) for place, ends in enumerate(bounds)}
    faults = {place: _fault(model, bounds, place, graph) for place, graph in graphs.items()}
    untiled = {place: fault for place, fault in faults.items() if fault}
    tileable = [place for place in graphs if place not in untiled]
    if not tileable:
        raise TileError("; ".join(f"segment {place}: {fault}" for place, fault in untiled.items()))
    tiled = {}
    for place, ranges in _ranges_by_segment(graphs, tileable, choice).items():
        if place in untiled:
            raise TileError(f"segment {place}: {untiled[place]}")
        try:
            tiled[place] = tile_segment(graphs[place], ranges)
        except TileError as error:
            raise TileError(f"segment {place}: {error}") from error
    return tiled, untiled


def _ranges_by_segment(
    graphs: Mapping[int, Graph], tileable: Sequence[int], choice: TileChoice
) -> dict[int, tuple[RowRange, ...]]:
    if choice.count is not None:
        heights = {place: segment_height(segment_nodes(graphs[place])) for place in tileable}
        for place, height in heights.items():
            if choice.count > height:
                raise TileError(f"segment {place}: its output has {height} rows, too few for {choice.count} tiles")
        return {place: equal_ranges(height, choice.count) for place, height in heights.items()}
    found: dict[int, tuple[RowRange, ...]] = {}
    for chosen, ranges in choice.ranges.items():
        if chosen is None and len(tileable) > 1:
            numbers = ", ".join(map(str, tileable))
            raise TileError(f"segments {numbers} can be tiled: say whose rows these are, {tileable[0]}=TOP:BOTTOM")
        if chosen is not None and chosen not in graphs:
            raise TileError(f"segment {chosen} does not exist: the last one is segment {len(graphs) - 1}")
        found[tileable[0] if chosen is None else chosen] = ranges
    return found


def _fault(model: PartitionedModel, bounds: Sequence[tuple[int, int]], place: int, graph: Graph) -> str:
    """Return why a segment cannot be tiled, with the cuts that would help; empty if it can."""
    try:
        plan_tile(segment_nodes(graph), (0, 1))
    except TileError as error:
        cuts = cuts_for_tiles(model.analysis.blocks, bounds, place)
        if not cuts:
            return f"{error}; none of its blocks can be tiled"
        return f"{error}; choose --at {','.join(map(str, cuts))} to tile what can be tiled"
    return ""
