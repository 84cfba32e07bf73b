"""Shares of rows by which the tiles of a stage end at about the same time."""

import numpy as np

from planning.search.arrays import Array, Index
from planning.tiled_search.plan_batch import PlanBatch, TiledChain

# Parts of the correction that would make tiles end at once if nothing else changed.
PARTS = (0.2, 0.5, 1.0)

# The least and the largest factor by which rows of a tile change at a time.
_LEAST, _MOST = 0.25, 3.0


def balanced(chain: TiledChain, end_ms: Array, tile_ms: Array) -> PlanBatch | None:
    """Return the chain with rows moved from tiles that end late to those that end early; None if none is split.

    The correction is made by parts, in all stages, in the first split one alone, and in the others alone: what a tile
    is late in one stage, it often is in those behind it, too.

    Args:
        chain: a chain of S stages.
        end_ms: [S, D] when each tile ends.
        tile_ms: [S, D] how long it takes; 0 for no tile.
    """
    rows = np.diff(chain.bounds, axis=1)
    alive = rows > 0
    split = np.flatnonzero(alive.sum(axis=1) > 1)
    if not len(split):
        return None
    mean_ms = (end_ms * alive).sum(axis=1) / alive.sum(axis=1)
    late = np.where(alive, (end_ms - mean_ms[:, None]) / np.maximum(tile_ms, 1e-9), 0.0)
    choices = [split] if len(split) == 1 else [split, split[:1], split[1:]]
    results = []
    for part in PARTS:
        changed = _shared_out(rows * np.clip(1 - part * late, _LEAST, _MOST), chain.bounds[:, -1])
        for stages in choices:
            bounds = chain.bounds.copy()
            bounds[stages] = changed[stages]
            results.append(bounds)
    count = len(results)
    return PlanBatch(
        np.broadcast_to(chain.order, (count, len(chain.order))),
        np.broadcast_to(chain.stops, (count, len(chain.stops))),
        np.array(results),
        np.broadcast_to(chain.codecs, (count, len(chain.codecs))),
    )


def _shared_out(rows: Array, heights: Index) -> Index:
    """Return [S, D + 1] boundaries with rows in proportion to [S, D] numbers."""
    bounds = np.zeros((len(rows), rows.shape[1] + 1), dtype=np.int64)
    bounds[:, 1:] = np.rint(np.cumsum(rows, axis=1) * (heights / rows.sum(axis=1))[:, None])
    return bounds
