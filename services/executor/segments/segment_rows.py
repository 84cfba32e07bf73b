"""Rows that a segment makes and sends: the graph of a tile, and what the segment behind it needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from services.executor.segments.segment_events import SegmentKey
from shared.model.errors import TileError
from shared.model.onnx_file.writing import to_bytes
from shared.model.partitioned_model import PartitionedModel
from shared.model.segment_graph import segment_graph
from shared.model.tiles.computed_rows import computed_rows
from shared.model.tiles.row_exchange import RowReader, TileEnds, passed_rows, tile_ends, tile_readers, whole_reader
from shared.model.tiles.tile_graph import tile_graph
from shared.model.tiles.tile_plan import segment_nodes
from shared.row_ranges import NOTHING, RowRange


@dataclass(frozen=True, slots=True)
class SegmentRows:
    """Rows that a segment passes on, if it is a tile or sends its output to tiles.

    Attributes:
        made: rows of each output that a tile makes; None for a segment in one piece.
        readers: what each tile of the next segment needs, or the whole of it.
        computed: of each block of a tile, how many rows it computes, and how many there are; empty for a segment in
            one piece.
        passing: tensors that pass through a tile.
    """

    made: Mapping[str, RowRange] | None
    readers: tuple[RowReader, ...]
    computed: tuple[tuple[int, int], ...] = ()
    passing: Mapping[str, "PassingRows"] = field(default_factory=dict)

    def fed(self, received: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the inputs of the tile's graph: of tensors that pass through, only the rows that it reads."""
        read = {name: rows.of(received[name], rows.read) for name, rows in self.passing.items() if rows.read}
        return {name: read.get(name, array) for name, array in received.items()}

    def kept(self, received: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs of the tile that its graph does not make: the rows that pass through."""
        return {name: rows.of(received[name], rows.kept) for name, rows in self.passing.items()}


@dataclass(frozen=True, slots=True)
class PassingRows:
    """Rows of a tensor that passes through a tile, counted from the first one that the tile receives.

    Attributes:
        read: by the tile's graph; None if it does not read the tensor.
        kept: passed on.
    """

    read: RowRange | None
    kept: RowRange

    @staticmethod
    def of(array: np.ndarray, rows: RowRange) -> np.ndarray:
        """Return rows of an image."""
        return np.ascontiguousarray(array[:, :, slice(*rows)])


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
    passing: dict[str, PassingRows] = {}
    # Block k of the manifest is block k-1 of the file.
    own = segment_graph(model, max(0, key.start - 1), key.stop - 1) if key.stop > 1 else None
    if rows is not None:
        if own is None or key.start == 0:
            raise TileError("block 0 reads the bytes of a request, which have no rows")
        ends = tile_ends(own, rows)
        made, data = ends.made, to_bytes(tile_graph(segment_nodes(own), ends.plan))
        computed = computed_rows(model, key.start - 1, key.stop - 1, ends.plan)
        passing = {name: _passing(ends, name) for name in own.outputs if name in own.inputs}
    if tiling.next_stop:
        following = segment_graph(model, key.stop - 1, tiling.next_stop - 1)
        readers = tile_readers(following, tiling.next_rows)
    else:
        readers = () if own is None else (whole_reader(own.describe(own.outputs)),)
    for reader in readers:
        passed_rows(made, reader)
    return SegmentRows(made, readers, computed, passing), data


def _passing(ends: TileEnds, name: str) -> PassingRows:
    first = (ends.needed[name] or NOTHING)[0]
    read = ends.plan.inputs.get(name)
    top, bottom = ends.made[name]
    return PassingRows(None if read is None else (read[0] - first, read[1] - first), (top - first, bottom - first))
