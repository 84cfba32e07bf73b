"""Rows that a segment makes and sends: the graph of a tile, and what the segment behind it needs."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.executor.segments.segment_events import SegmentKey
from shared.model.errors import TileError
from shared.model.onnx_file.writing import to_bytes
from shared.model.partitioned_model import PartitionedModel
from shared.model.segment_graph import segment_graph
from shared.model.tiles.computed_rows import computed_rows
from shared.model.tiles.row_exchange import RowReader, check_tiles, passed_rows, tile_readers, whole_reader
from shared.model.tiles.tile_graph import tile_graph
from shared.model.tiles.tile_plan import plan_tile, segment_nodes
from shared.row_ranges import RowRange


@dataclass(frozen=True, slots=True)
class SegmentRows:
    """Rows that a segment passes on, if it is a tile or sends its output to tiles.

    Attributes:
        made: rows of each output that a tile makes; None for a segment in one piece.
        readers: what each tile of the next segment needs, or the whole of it.
        computed: of each block of a tile, how many rows it computes, and how many there are; empty for a segment in
            one piece.
    """

    made: Mapping[str, RowRange] | None
    readers: tuple[RowReader, ...]
    computed: tuple[tuple[int, int], ...] = ()


def rows_and_graph(model: PartitionedModel, key: SegmentKey) -> tuple[SegmentRows, bytes | None]:
    """Return the rows of a segment, and the bytes of its graph if it is a tile.

    Raises:
        TileError: the segment, or the next one, cannot be divided so.
        CutError: the model has no such blocks.
        ModelError: the graph cannot be written.
    """
    tiling = key.tiling
    rows = tiling.row_range
    made: Mapping[str, RowRange] | None = None
    data: bytes | None = None
    computed: tuple[tuple[int, int], ...] = ()
    # Block k of the manifest is block k-1 of the file.
    own = segment_graph(model, max(0, key.start - 1), key.stop - 1) if key.stop > 1 else None
    if rows is not None:
        if own is None or key.start == 0:
            raise TileError("block 0 reads the bytes of a request, which have no rows")
        segment = segment_nodes(own)
        check_tiles(own, [rows])
        plan = plan_tile(segment, rows)
        made, data = plan.outputs, to_bytes(tile_graph(segment, plan))
        computed = computed_rows(model, key.start - 1, key.stop - 1, plan)
    if tiling.next_stop:
        following = segment_graph(model, key.stop - 1, tiling.next_stop - 1)
        readers = tile_readers(following, tiling.next_rows)
    else:
        readers = () if own is None else (whole_reader(own.describe(own.outputs)),)
    for reader in readers:
        passed_rows(made, reader)
    return SegmentRows(made, readers, computed), data
