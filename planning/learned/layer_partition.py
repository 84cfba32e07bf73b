"""LC-PSS: the search for volumes by the layers' shapes, DistrEdge's first step.

Hou et al., DistrEdge, IPDPS 2022, section IV.B, equations 3 and 4, algorithm 1. Lines 3 to 9 of the listing are missing
in the text that was available, and the score's two terms have no units there. What is here reproduces the numbers of
volumes that the paper states for VGG16.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from planning.search.arrays import Array, Index
from planning.search.linear_costs import LinearCosts
from planning.search.spatial_group import RowUnit, SpatialGroup
from planning.tiles.rows import tile_rows

# The published setting: weight of the transmitted bytes, and number of random splits.
ALPHA: Final = 0.75
RANDOM_SPLITS: Final = 100

# Relative difference of scores below which they count as equal. A border between a layer and pooling by whole windows
# changes no operation, and rounding must not decide there.
_EQUAL: Final = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class VolumeScores:
    """Means over random splits, of every volume of a stretch from one unit to another, both included; 0 below that.

    Attributes:
        operations: [U, U] operations of all tiles, halos included, relative to those of one volume per layer.
        bytes: [U, U] bytes that pass before the volume, and after the last one, relative likewise.
    """

    operations: Array
    bytes: Array

    def partition(self, alpha: float) -> tuple[int, ...]:
        """Return the first unit of every volume (algorithm 1), by the score alpha x bytes + (1 - alpha) x operations.

        The search begins with two volumes, the second of which is the last unit (R_p = {1, |M|}). In each round every
        volume is divided where the score falls most, if it falls. O(U^2) evaluations.
        """
        scores = alpha * self.bytes + (1 - alpha) * self.operations
        starts = sorted({0, len(scores) - 1})
        while True:
            borders = [*starts, len(scores)]
            added = []
            for start, stop in pairwise(borders):
                whole = scores[start, stop - 1]
                gains = [(whole - scores[start, at - 1] - scores[at, stop - 1], -at) for at in range(start + 1, stop)]
                gain, at = max(gains, default=(0.0, 0))
                if gain > _EQUAL * abs(whole):
                    added.append(-at)
            if not added:
                return tuple(starts)
            starts = sorted({*starts, *added})


def volume_scores(
    group: SpatialGroup, units: Sequence[RowUnit], rng: np.random.Generator, splits: int = RANDOM_SPLITS
) -> VolumeScores:
    """Return the scores of every volume of a stretch.

    Each random split has a vector of sorted fractions for every unit, so that the last layers of different volumes are
    split independently. Transmitted are the rows that a tile needs and its device does not hold: all of the stretch's
    input, the halos and shifts between volumes, and after the last volume all but the largest part.

    Args:
        group: the devices, of which only the number counts, and the model.
        units: a stretch.
        rng: source of the random splits.
        splits: their number.
    """
    count, first = len(units), units[0].start
    linear = LinearCosts(group)
    parts = [_random_parts(unit.rows or 0, len(group.providers), splits, rng) for unit in units]
    operations, sizes = np.zeros((count, count)), np.zeros((count, count))
    for stop, unit in enumerate(units):
        # Most ranges occur several times: each is propagated once, and looked up by its number.
        ranges, numbers = np.unique(parts[stop].reshape(-1, 2), axis=0, return_inverse=True)
        numbers = numbers.reshape(splits, -1)
        tiles = [tile_rows(group.model, first, unit.stop, (top, bottom)) for top, bottom in ranges.tolist()]
        work = np.array([linear.work_from(first, tile.computed) for tile in tiles])
        gathered = 0.0
        if stop == count - 1:
            rest = (unit.rows or 0) - (parts[stop][..., 1] - parts[stop][..., 0]).max(axis=1)
            gathered = float(rest.mean()) * linear.row_bytes(unit.stop)
        for start in range(stop + 1):
            cut = units[start].start
            needed = np.array([tile.computed[cut - first - 1] if start else tile.needed for tile in tiles])[numbers]
            sent = needed[..., 1] - needed[..., 0]
            if start:
                own = parts[start - 1]
                both = np.minimum(needed[..., 1], own[..., 1]) - np.maximum(needed[..., 0], own[..., 0])
                sent = sent - np.maximum(both, 0)
            operations[start, stop] = work[numbers, cut - first].sum() / splits
            sizes[start, stop] = sent.sum() / splits * linear.row_bytes(cut) + gathered
    return VolumeScores(_relative(operations), _relative(sizes))


def _random_parts(height: int, count: int, splits: int, rng: np.random.Generator) -> Index:
    """Return random ranges of each provider, [splits, count, 2]."""
    borders = np.rint(height * np.sort(rng.random((splits, count - 1)), axis=1)).astype(np.int64)
    tops, bottoms = (np.pad(borders, ((0, 0), side), constant_values=(0, height)) for side in ((1, 0), (0, 1)))
    return np.stack([tops, bottoms], axis=2)


def _relative(values: Array) -> Array:
    """Return values relative to the sum of those of single units; as they are if that is 0."""
    total = float(np.trace(values))
    return values / total if total > 0 else values
