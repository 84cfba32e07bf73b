"""Stretches of blocks that can be tiled, and the cuts that separate them from the rest."""

from collections.abc import Sequence
from itertools import groupby

from shared.model.analysis import BlockAnalysis


def tileable_stretches(blocks: Sequence[BlockAnalysis], start: int, stop: int) -> tuple[tuple[int, int], ...]:
    """Return the longest ranges `[a, b)` of blocks within `[start, stop)` of which each can be tiled, in order."""
    runs = groupby(range(start, stop), key=lambda index: blocks[index].tileable)
    found = [tuple(indices) for tileable, indices in runs if tileable]
    return tuple((indices[0], indices[-1] + 1) for indices in found)


def cuts_for_tiles(blocks: Sequence[BlockAnalysis], bounds: Sequence[tuple[int, int]], segment: int) -> tuple[int, ...]:
    """Return the cuts that make the longest tileable stretch of a segment a segment of its own.

    Args:
        blocks: of the model.
        bounds: blocks of every segment.
        segment: place of the segment that cannot be tiled.

    Returns:
        All cuts, those between the present segments included; empty if no block of the segment can be tiled.
    """
    stretches = tileable_stretches(blocks, *bounds[segment])
    if not stretches:
        return ()
    longest = max(stretches, key=lambda stretch: stretch[1] - stretch[0])
    ends = {end for bound in (*bounds, longest) for end in bound}
    return tuple(sorted(ends - {0, len(blocks)}))
