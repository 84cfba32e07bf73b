"""Maps of rows through a model, in arrays: which rows of every block and of its input a range of output rows needs.

Stages begin and end at cuts that the output of one block crosses. A unit is the part of the model between two such
cuts that follow each other; in a chain it is a block. A range of rows ``[a, b)`` of a unit's output needs of each of
its blocks the rows ``[tops[a], bottoms[b])``: the top depends on the top alone, and the bottom on the bottom alone. It
is so wherever each row of a block's output needs some row of its input. Other blocks are in no tile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from planning.problem.problem import Model
from planning.tiles.rows import UntileableError, cut_fault, makers_of, rows_at

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class RowMap:
    """Rows of a block, or of a unit's input, that rows ``[a, b)`` of the unit's output of H rows need.

    Attributes:
        tops: [H + 1] the first row by a.
        bottoms: [H + 1] the row behind the last one by b.
    """

    tops: Rows
    bottoms: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """Blocks ``[start, stop)`` that are never parted.

    Attributes:
        tileable: whether a tile may hold it.
        height: number of rows of its output.
        blocks: the rows of each of its blocks.
        needed: the rows of its input.
    """

    start: int
    stop: int
    tileable: bool
    height: int
    blocks: tuple[RowMap, ...]
    needed: RowMap


def units_of(model: Model) -> tuple[Unit, ...]:
    """Return the units of a model in running order."""
    count = len(model.blocks)
    fits = [cut_fault(model, cut) is None for cut in range(count + 1)]
    cuts = [0, *(cut for cut in range(1, count) if fits[cut]), count]
    makers = makers_of(model)
    units = []
    for start, stop in pairwise(cuts):
        maps = _row_maps(model, start, stop, makers) if fits[start] and fits[stop] else None
        tileable = maps is not None
        maps = maps or _whole_maps(model, start, stop)
        units.append(Unit(start, stop, tileable, len(maps[0].tops) - 1, maps[1:], maps[0]))
    return tuple(units)


def fewer_units(units: Sequence[Unit], cut_bytes: Sequence[float], most: int) -> tuple[Unit, ...]:
    """Return at most ``most`` units, by joining neighbours across the cuts that the most bytes cross.

    Units that a tile may hold are not joined with others, so that there may remain more.

    Args:
        units: in running order.
        cut_bytes: size of what crosses the cut before every unit, and after the last.
        most: number to reach.
    """
    inner = [cut for cut in range(1, len(units)) if units[cut - 1].tileable == units[cut].tileable]
    inner.sort(key=lambda cut: -cut_bytes[cut])
    joined = set(inner[: max(0, len(units) - most)])
    groups: list[list[Unit]] = []
    for place, unit in enumerate(units):
        if place in joined:
            groups[-1].append(unit)
        else:
            groups.append([unit])
    return tuple(_joined(group) for group in groups)


def _joined(units: Sequence[Unit]) -> Unit:
    if len(units) == 1:
        return units[0]
    maps = segment_map(units)
    pairs = [RowMap(tops, bottoms) for tops, bottoms in zip(maps.tops, maps.bottoms, strict=True)]
    return Unit(units[0].start, units[-1].stop, units[0].tileable, units[-1].height, tuple(pairs[1:]), pairs[0])


def segment_map(units: Sequence[Unit]) -> RowMap:
    """Return the rows of the input of successive units, then of each of their blocks, by rows of their output.

    Both arrays are [blocks + 1, H + 1].
    """
    tops: list[Rows] = []
    bottoms: list[Rows] = []
    top = bottom = np.arange(units[-1].height + 1)
    for unit in reversed(units):
        tops[:0] = [block.tops[top] for block in unit.blocks]
        bottoms[:0] = [block.bottoms[bottom] for block in unit.blocks]
        top, bottom = unit.needed.tops[top], unit.needed.bottoms[bottom]
    return RowMap(np.stack([top, *tops]), np.stack([bottom, *bottoms]))


def height_at(model: Model, cut: int) -> int:
    """Return the number of rows of what crosses ``cut``; 1 if neither side has row data."""
    try:
        return rows_at(model, cut)
    except UntileableError:
        return 1


def _whole_maps(model: Model, start: int, stop: int) -> tuple[RowMap, ...]:
    """Return the maps of a unit that only runs whole: any rows of its output need all that there are."""
    height = height_at(model, stop)
    of = [height_at(model, start), *(_own_rows(model, index) for index in range(start, stop))]
    none = np.zeros(height + 1, dtype=np.int64)
    return tuple(RowMap(none, np.where(np.arange(height + 1) > 0, rows, 0)) for rows in of)


def _own_rows(model: Model, index: int) -> int:
    rows = model.blocks[index].rows
    return 1 if rows is None else rows.output_rows


def _row_maps(model: Model, start: int, stop: int, makers: Sequence[Sequence[int]]) -> tuple[RowMap, ...] | None:
    """Return the map of a unit's input, then those of its blocks; None if no tile may hold them."""
    profiles = [block.rows for block in model.blocks[start:stop]]
    rows = [profile for profile in profiles if profile is not None]
    if len(rows) < len(profiles):
        return None
    height = rows[-1].output_rows
    tops: list[Rows | None] = [None] * (stop - start + 1)
    bottoms: list[Rows | None] = [None] * (stop - start + 1)
    tops[-1], bottoms[-1] = np.arange(height + 1), np.arange(height + 1)
    # Readers come behind their makers, so that every reader has added its rows before a block's turn comes.
    for index in range(stop - 1, start - 1, -1):
        own_tops, own_bottoms = tops[index - start + 1], bottoms[index - start + 1]
        if own_tops is None or own_bottoms is None:
            # No block reads it: its output does not count.
            return None
        for maker in makers[index]:
            place = max(0, maker - start + 1)
            input_rows = rows_at(model, start) if maker < start else rows[maker - start].output_rows
            step = _step(model, index, input_rows)
            if step is None:
                return None
            first, last = step.tops[own_tops], step.bottoms[own_bottoms]
            known_tops, known_bottoms = tops[place], bottoms[place]
            tops[place] = first if known_tops is None else np.minimum(known_tops, first)
            bottoms[place] = last if known_bottoms is None else np.maximum(known_bottoms, last)
    pairs = list(zip(tops, bottoms, strict=True))
    return tuple(RowMap(top, bottom) for top, bottom in pairs if top is not None and bottom is not None)


def _step(model: Model, index: int, input_rows: int) -> RowMap | None:
    """Return the map of one block's output rows to rows of one of its inputs; None if some row needs none."""
    profile = model.blocks[index].rows
    assert profile is not None, "a block of a tile has row data"
    # The formula of `planning.tiles.rows.input_range`, of every single row.
    first = np.arange(profile.output_rows) * profile.stride - profile.padding
    tops = np.maximum(0, first // profile.upsampling)
    bottoms = np.minimum(input_rows, (first + profile.kernel - 1) // profile.upsampling + 1)
    if np.any(tops >= bottoms):
        return None
    return RowMap(np.append(tops, input_rows), np.append(0, bottoms))
