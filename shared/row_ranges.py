"""Ranges of rows `[top, bottom)`, of which tiles consist."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

# Rows ``[top, bottom)``; empty if bottom <= top.
RowRange = tuple[int, int]

NOTHING: Final[RowRange] = (0, 0)


def convex_union(one: RowRange, other: RowRange) -> RowRange:
    """Return the smallest range that contains both."""
    if one[1] <= one[0]:
        return other
    if other[1] <= other[0]:
        return one
    return min(one[0], other[0]), max(one[1], other[1])


def intersection(one: RowRange, other: RowRange) -> RowRange:
    """Return the rows that are in both ranges."""
    top, bottom = max(one[0], other[0]), min(one[1], other[1])
    return (top, bottom) if top < bottom else NOTHING


def equal_ranges(height: int, count: int) -> tuple[RowRange, ...]:
    """Divide `height` rows into `count` ranges whose sizes differ by one row at most; `count` must not be larger."""
    return tuple((height * index // count, height * (index + 1) // count) for index in range(count))


def partition_faults(ranges: Sequence[RowRange]) -> Iterator[tuple[int, str]]:
    """Yield ``(range, fault)`` where ranges, in any order, are empty, overlap or leave rows out from row 0 on."""
    for index, (top, bottom) in enumerate(ranges):
        if top >= bottom:
            yield index, f"rows [{top}, {bottom}) are none: leave the tile out"
    filled = sorted((*rows, index) for index, rows in enumerate(ranges) if rows[0] < rows[1])
    # Sorted ranges must follow each other without gap or overlap, the first from row 0 on.
    for (_, bottom, _), (top, _, index) in pairwise([(0, 0, -1), *filled]):
        if top > bottom:
            yield index, f"rows [{bottom}, {top}) belong to no tile"
        elif top < bottom:
            yield index, f"rows [{top}, {bottom}) belong to two tiles"
