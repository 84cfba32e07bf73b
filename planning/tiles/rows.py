"""Rows that a tile computes and needs, propagated backward through a segment.

A block has a kernel of F rows, stride S, padding P and an input of H rows. Rows [a, b) of its output need the rows

    [max(0, a S - P), min(H, (b - 1) S - P + F))

of its input. A block that makes images higher counts S, P and F in shares of a row. Padding exists at the true borders
only. Equations 1 and 2 of DistrEdge (Hou et al., IPDPS 2022) leave out padding and borders. They can therefore ask for
more rows than there are (VGG16 in one piece: 404 of 224).
"""

from dataclasses import dataclass

from planning.problem.crossings import crossing_blocks
from planning.problem.problem import Block, Model, RowProfile
from shared.row_ranges import NOTHING, RowRange, convex_union


class UntileableError(ValueError):
    """A segment cannot be split into tiles, or not into these; the text gives the reason."""


@dataclass(frozen=True, slots=True)
class TileRows:
    """Rows that a tile computes and needs.

    Attributes:
        computed: rows of every block of the segment's output, halo included.
        needed: rows of the segment's input.
    """

    computed: tuple[RowRange, ...]
    needed: RowRange


def input_range(rows: RowRange, profile: RowProfile, input_rows: int) -> RowRange:
    """Return the rows of a block's input, of ``input_rows`` in all, that its output ``rows`` need; none for none."""
    top, bottom = rows
    if bottom <= top:
        return NOTHING
    shares = profile.upsampling
    first = max(0, (top * profile.stride - profile.padding) // shares)
    last = min(input_rows, ((bottom - 1) * profile.stride - profile.padding + profile.kernel - 1) // shares + 1)
    return (first, last) if first < last else NOTHING


def output_rows(model: Model, start: int, stop: int) -> int:
    """Return the number of rows of the output of blocks ``[start, stop)``.

    Raises:
        UntileableError: if the segment cannot be tiled.
    """
    fault = segment_fault(model, start, stop)
    if fault is not None:
        raise UntileableError(fault)
    return _profile(model.blocks[stop - 1]).output_rows


def rows_at(model: Model, cut: int) -> int:
    """Return the number of rows of the tensor that crosses ``cut``, at which a tiled segment begins or ends.

    The model's input, and the output of a block that is never tiled, may have no row data. Then it is the least height
    from which the block behind the cut can make its rows: (output_rows - 1) stride + kernel - 2 padding,
    divided by upsampling.

    Raises:
        UntileableError: if neither side of the cut has row data.
    """
    if cut == 0 and model.input_rows is not None:
        return model.input_rows
    if cut > 0 and (maker := model.blocks[cut - 1].rows) is not None:
        return maker.output_rows
    if cut == len(model.blocks):
        raise UntileableError(f"neither side of cut {cut} has row data")
    reader = _profile(model.blocks[cut])
    shares = (reader.output_rows - 1) * reader.stride + reader.kernel - 2 * reader.padding
    return max(1, -(-shares // reader.upsampling))


def segment_fault(model: Model, start: int, stop: int) -> str | None:
    """Return the reason why blocks ``[start, stop)`` cannot be tiled; None if they can.

    Every block needs row data, and at each end of the segment only the output of the block before it may cross.
    """
    for index in range(start, stop):
        if model.blocks[index].rows is None:
            return f"block {index} ({model.blocks[index].name}) has no row data, so no tile can hold it"
    for cut in (start, stop):
        if (fault := cut_fault(model, cut)) is not None:
            return fault
    return None


def cut_fault(model: Model, cut: int) -> str | None:
    """Return the reason why no tiled segment begins or ends at ``cut``; None if one may."""
    if cut > 0 and not model.blocks[cut - 1].ends_tiles:
        return f"no stage of several tiles may begin or end behind block {cut - 1} ({model.blocks[cut - 1].name})"
    if model.edges is None or [block for block, _ in crossing_blocks(model, cut)] == [cut - 1]:
        return None
    return f"more than the output of one block crosses cut {cut}, where a tile would end"


def tile_rows(model: Model, start: int, stop: int, rows: RowRange) -> TileRows:
    """Return the rows that a tile of blocks ``[start, stop)`` computes and needs for its ``rows`` of the output.

    A block with several readers computes one range that contains the rows of each.

    Raises:
        UntileableError: if the segment cannot be tiled.
    """
    if (fault := segment_fault(model, start, stop)) is not None:
        raise UntileableError(fault)
    computed = [NOTHING] * (stop - start)
    computed[-1] = rows
    needed = NOTHING
    makers = makers_of(model)[start:stop]
    # Blocks are in running order, so every reader of a block has added its rows before the block's turn comes.
    for index in range(stop - 1, start - 1, -1):
        own, profile = computed[index - start], _profile(model.blocks[index])
        for maker in makers[index - start]:
            if maker < start:
                needed = convex_union(needed, input_range(own, profile, rows_at(model, start)))
            else:
                height = _profile(model.blocks[maker]).output_rows
                computed[maker - start] = convex_union(computed[maker - start], input_range(own, profile, height))
    return TileRows(tuple(computed), needed)


def makers_of(model: Model) -> list[list[int]]:
    """Return the blocks whose outputs each block reads; -1 is the model's input."""
    if model.edges is None:
        return [[index - 1] for index in range(len(model.blocks))]
    makers: list[list[int]] = [[] for _ in model.blocks]
    for source, target, _ in model.edges:
        makers[target].append(source)
    return [read or [-1] for read in makers]


def _profile(block: Block) -> RowProfile:
    if block.rows is None:
        raise UntileableError(f"block {block.name} has no row data")
    return block.rows
