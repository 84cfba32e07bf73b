"""Moves of rows from a tile to the next one, in one stage or in all of them."""

import numpy as np

from planning.search.arrays import Flags, Index
from planning.tiled_search.plan_batch import PlanBatch, TiledChain

# Moves of a boundary, as shares of a stage's rows.
SHARES = (1 / 8, 1 / 24)
_JOINT_SHARES = (*SHARES, 1 / 56)


class RowMoves:
    """Every move of one chain: each adds a row of numbers to the boundaries.

    Attributes:
        changes: [M, S, D + 1] what each move adds to the boundaries.
    """

    def __init__(self, chain: TiledChain) -> None:
        """List the moves of the chain's split stages."""
        self._chain = chain
        split = np.flatnonzero((np.diff(chain.bounds, axis=1) > 0).sum(axis=1) > 1)
        changes: list[Index] = []
        for stage in split.tolist():
            bounds = chain.bounds[stage]
            inner = np.flatnonzero((bounds > 0) & (bounds < bounds[-1]))
            rows = np.array([sign * rows for rows in _steps(int(bounds[-1])) for sign in (1, -1)])
            for value in sorted(set(bounds[inner].tolist())):
                # Boundaries of nodes without rows move together with those around them.
                change = np.zeros((len(rows), *chain.bounds.shape), dtype=np.int64)
                change[:, stage, bounds == value] = rows[:, None]
                changes.append(change)
        changes += _joint(chain, split)
        stacked = np.concatenate(changes) if changes else np.zeros((0, *chain.bounds.shape), dtype=np.int64)
        self.changes = stacked[_ascend(chain.bounds + stacked)]

    def neighbours(self) -> PlanBatch:
        """Return the chain after every single move."""
        return self._batch(self.changes)

    def combined(self, ranked: Index) -> PlanBatch:
        """Return the chain after the first 2, 4, 8, ... of some moves, best first, as far as they agree.

        Of moves that concern the same boundary only the first counts.
        """
        total = np.zeros(self.changes.shape[1:], dtype=np.int64)
        touched = np.zeros(total.shape, dtype=bool)
        results, taken = [], 0
        for place in ranked.tolist():
            change = self.changes[place]
            if (touched & (change != 0)).any() or not _ascend(self._chain.bounds + total + change):
                continue
            total = total + change
            touched |= change != 0
            taken += 1
            if taken > 1 and taken & (taken - 1) == 0:
                results.append(total)
        if taken > 1:
            results.append(total)
        return self._batch(np.array(results) if results else self.changes[:0])

    def _batch(self, changes: Index) -> PlanBatch:
        chain, count = self._chain, len(changes)
        return PlanBatch(
            np.broadcast_to(chain.order, (count, len(chain.order))),
            np.broadcast_to(chain.stops, (count, len(chain.stops))),
            chain.bounds + changes,
            np.broadcast_to(chain.codecs, (count, len(chain.codecs))),
        )


def _steps(height: int) -> list[int]:
    return sorted({1, *(round(height * share) for share in SHARES)} - {0})


def _joint(chain: TiledChain, split: Index) -> list[Index]:
    """Return moves [., S, D + 1] of one boundary in all split stages by the same share of their rows."""
    changes = []
    for place in range(1, chain.bounds.shape[1] - 1):
        heights = chain.bounds[:, -1]
        inner = (chain.bounds[:, place] > 0) & (chain.bounds[:, place] < heights)
        stages = split[inner[split]]
        if len(stages) < 2 or (chain.bounds[stages, place] == chain.bounds[stages, place - 1]).any():
            continue
        rows = np.maximum(1, np.rint(heights[stages] * np.array(_JOINT_SHARES)[:, None])).astype(np.int64)
        signed = np.stack([rows, -rows], axis=1).reshape(-1, len(stages))
        at = chain.bounds[stages] == chain.bounds[stages, place][:, None]
        change = np.zeros((len(signed), *chain.bounds.shape), dtype=np.int64)
        change[:, stages] = at * signed[:, :, None]
        changes.append(change)
    return changes


def _ascend(bounds: Index) -> Flags:
    """Return whether boundaries [..., S, D + 1] ascend in every stage, [...]."""
    ascend: Flags = np.all(np.diff(bounds, axis=-1) >= 0, axis=(-2, -1))
    return ascend
