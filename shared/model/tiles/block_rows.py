"""Rows of a block in the terms of planning: its output rows, and the kernel, stride and padding of all its layers."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, gcd, prod
from typing import Final

from shared.model.errors import TileError
from shared.model.tiles.tile_plan import HeldRows, SegmentNodes, reach, segment_height
from shared.row_ranges import NOTHING, RowRange, convex_union

# Largest number of rows that one row of the input becomes in a block.
_MAX_UPSAMPLING: Final = 4096
# Two rows so far apart that the quotient of their distances, in the input and the output, differs from the exact ratio
# by much less than two ratios with denominators up to `_MAX_UPSAMPLING` differ from each other.
_FAR: Final = 10**12


@dataclass(frozen=True, slots=True)
class BlockRows:
    """The rows of a block's output, and the rows of its input that one of them needs.

    Row r of the output needs the rows ``[(r stride - padding) // upsampling, (r stride - padding + kernel - 1) //
    upsampling]`` of the input, as far as they exist. Beside a border that mirrors rows, or where a kernel lies in
    padding alone, the block needs a few rows more. Of several tensors at an end, the one with the fewest rows counts.

    Attributes:
        output_rows: height of the output.
        kernel: rows of the input that a row needs, times `upsampling`.
        stride: rows of the input from one row of the output to the next, times `upsampling`.
        padding: rows of padding above the input, times `upsampling`.
        upsampling: denominator of stride, padding and kernel; more than 1 for a block that makes images higher.
    """

    output_rows: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    upsampling: int = 1

    @property
    def halo_above(self) -> int:
        """Rows of the input above those that correspond to the tile's own rows."""
        return ceil(self.padding / self.upsampling)

    @property
    def halo_below(self) -> int:
        """Rows of the input below those that correspond to the tile's own rows."""
        return max(0, ceil((self.kernel - self.padding - self.stride) / self.upsampling))


def block_rows(segment: SegmentNodes) -> BlockRows:
    """Return the rows of a block.

    Raises:
        TileError: it cannot be tiled.
    """
    height = segment_height(segment)
    distance = _reference(segment, (_FAR, _FAR + 1))[0] - _reference(segment, (0, 1))[0]
    ratio = Fraction(distance, _FAR).limit_denominator(_MAX_UPSAMPLING)
    stride, upsampling = ratio.numerator, ratio.denominator
    if stride < 1 or upsampling > height:
        raise TileError("rows of its output do not follow those of its input")
    spans = [_reference(segment, (row, row + 1)) for row in range(min(_period(segment), height))]
    # The smallest numbers whose quotients, rounded as above, contain every row's span.
    padding = max(row * stride - upsampling * (top + 1) + 1 for row, (top, _) in enumerate(spans))
    padding = max(padding, 0)
    kernel = max(upsampling * (bottom - 1) - row * stride + padding + 1 for row, (_, bottom) in enumerate(spans))
    return BlockRows(height, kernel, stride, padding, upsampling)


def _period(segment: SegmentNodes) -> int:
    """Return a distance at which rows of the output need the same rows of the input, shifted."""
    plan = reach(segment, (0, 1))
    period = prod(step.read.relation.enlargement for step in plan.steps if step.read is not None)
    # Where tensors at one end are not whole multiples of each other, the lowest one's rows count as shares of theirs.
    outputs = {segment.shape(name)[plan.held[name].axis] for name in segment.computed}
    inputs = {segment.shape(name)[plan.held[name].axis] for name in plan.inputs if name in plan.held}
    return period * prod(height // gcd(height, min(ends)) for ends in (outputs, inputs) for height in ends)


def _reference(segment: SegmentNodes, rows: RowRange) -> RowRange:
    """Return the rows that `rows` of the output reach, counted in the rows of the input with the fewest."""
    plan = reach(segment, rows)
    found = {name: plan.held[name] for name in plan.inputs if name in plan.held}
    heights = {name: segment.shape(name)[held.axis] for name, held in found.items()}
    spans = NOTHING
    for name, held in found.items():
        spans = convex_union(spans, _scaled(held, heights[name], min(heights.values())))
    if spans == NOTHING:
        raise TileError("it reads no rows")
    return spans


def _scaled(held: HeldRows, height: int, reference: int) -> RowRange:
    top, bottom = held.rows
    return floor(Fraction(top * reference, height)), ceil(Fraction(bottom * reference, height))
