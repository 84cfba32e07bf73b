"""Layout of tiled routes: the rows of every tile, and the rows that pass between devices."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from planning.problem.plan import Route, Stage, Tile
from planning.problem.problem import Model, Stream
from planning.tiles.rows import TileRows, output_rows, rows_at, segment_fault, tile_rows
from shared.row_ranges import NOTHING, RowRange, intersection, partition_faults


@dataclass(frozen=True, slots=True)
class Share:
    """Rows that pass from a tile that holds them to a tile that reads them, between two stages.

    Nothing is sent within a device.

    Attributes:
        holder: place of the tile that made the rows, among the tiles of its stage; 0 for a stream's source.
        reader: place of the tile that needs them; 0 for a sink.
        range: the rows; None means the whole tensor, if no tile is involved.
        of: number of rows of the whole tensor.
    """

    holder: int
    sender: str
    reader: int
    receiver: str
    range: RowRange | None = None
    of: int = 1

    @property
    def rows(self) -> int:
        """Number of rows that pass."""
        return self.of if self.range is None else self.range[1] - self.range[0]

    @property
    def sent(self) -> bool:
        """True if it crosses the network."""
        return self.sender != self.receiver


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows of a route.

    Attributes:
        tiles: [stages] the rows of each tile; None for a stage that is not tiled.
        shares: [stages + 1] the rows that pass before each stage, and after the last.
    """

    tiles: tuple[tuple[TileRows, ...] | None, ...]
    shares: tuple[tuple[Share, ...], ...]


def tile_faults(tiles: Sequence[Tile]) -> Iterator[tuple[int, str]]:
    """Yield ``(tile, fault)`` for every fault of a stage's tiles that is one for any model."""
    if len(tiles) == 1 and tiles[0].rows is None:
        return
    seen: set[str] = set()
    indices = []
    ranges = []
    for index, tile in enumerate(tiles):
        if tile.device in seen:
            yield index, f"device {tile.device} has a tile of this stage already: give it one range of rows"
        seen.add(tile.device)
        if tile.rows is None:
            yield index, "rows must be given where a stage has several tiles"
        else:
            indices.append(index)
            ranges.append(tile.rows)
    for place, fault in partition_faults(ranges):
        yield indices[place], fault


def stage_fault(model: Model, stage: Stage) -> str | None:
    """Return the reason why a stage cannot be split into its tiles; None if it can, or is not split."""
    if len(stage.tiles) == 1 and stage.tiles[0].rows is None:
        return None
    for index, message in tile_faults(stage.tiles):
        return f"tile {index}: {message}"
    bottoms = [tile.rows[1] for tile in stage.tiles if tile.rows is not None]
    if not bottoms:
        return None
    if (fault := segment_fault(model, stage.start, stage.stop)) is not None:
        return fault
    height = output_rows(model, stage.start, stage.stop)
    if max(bottoms) != height:
        return f"its tiles make {max(bottoms)} rows, but its output has {height}"
    return None


def tiles_of(model: Model, stage: Stage) -> tuple[TileRows, ...]:
    """Return the rows that every tile of a tiled stage computes and needs.

    Raises:
        UntileableError: if the segment cannot be tiled.
    """
    height = output_rows(model, stage.start, stage.stop)
    return tuple(tile_rows(model, stage.start, stage.stop, tile.rows or (0, height)) for tile in stage.tiles)


def layout(model: Model, stream: Stream, route: Route) -> Layout:
    """Return the rows that every tile of a route computes, and the rows that pass between devices.

    A tile receives the rows that it needs and does not hold; a stage without tiles needs all. Each row has one holder:
    the tile that made it for the stage's output, not a tile that computed it as halo.

    Raises:
        UntileableError: if a tiled segment lacks row data.
    """
    tiles = tuple(tiles_of(model, stage) if stage.tiled else None for stage in route.stages)
    # Devices with the rows that each holds of the present cut; None means all rows.
    held: Sequence[tuple[str, RowRange | None]] = [(stream.source, None)]
    passed = []
    for index, stage in enumerate(route.stages):
        own = tiles[index]
        needed = [None] if own is None else [tile.needed for tile in own]
        readers = [(tile.device, rows) for tile, rows in zip(stage.tiles, needed, strict=True)]
        passed.append(tuple(_shares(model, stage.start, held, readers)))
        held = [(tile.device, None if own is None else tile.rows) for tile in stage.tiles]
    readers = [] if stream.sink is None else [(stream.sink, None)]
    passed.append(tuple(_shares(model, route.stages[-1].stop, held, readers)))
    return Layout(tiles, tuple(passed))


def _shares(
    model: Model,
    cut: int,
    held: Sequence[tuple[str, RowRange | None]],
    needed: Sequence[tuple[str, RowRange | None]],
) -> Iterator[Share]:
    """Yield the rows that pass from holders to readers; rows None are all.

    A tensor that passes whole, from one device to another, has no rows: its blocks may lack row data.
    """
    if all(rows is None for _, rows in (*held, *needed)):
        for reader, (receiver, _) in enumerate(needed):
            yield Share(0, held[0][0], reader, receiver)
        return
    height = rows_at(model, cut)
    for holder, (sender, own) in enumerate(held):
        for reader, (receiver, needs) in enumerate(needed):
            rows = intersection(own or (0, height), needs or (0, height))
            if rows != NOTHING:
                yield Share(holder, sender, reader, receiver, rows, height)
