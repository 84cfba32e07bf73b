"""Rows that a tile computes of every block, by which its time is predicted."""

from shared.model.partitioned_model import PartitionedModel
from shared.model.tiles.tile_plan import TilePlan


def computed_rows(model: PartitionedModel, start: int, stop: int, plan: TilePlan) -> tuple[tuple[int, int], ...]:
    """Return how many rows of each block's output a tile computes, and how many there are; halo included.

    Of several tensors behind a block, the one with the fewest rows counts (`block_rows`).

    Args:
        model: the model.
        start: first block of the segment; blocks are those of the file.
        stop: the block behind its last.
        plan: of the tile.
    """
    rows = []
    for block in range(start, stop):
        profile = model.analysis.blocks[block].rows
        height = 1 if profile is None else profile.output_rows
        held = {name: plan.held[name] for name in model.partition.boundary(block + 1) if name in plan.held}
        counts = [
            each.rows[1] - each.rows[0]
            for name, each in held.items()
            if model.graph.tensor(name).shape[each.axis] == height
        ]
        # A tensor that passes through is held whole.
        rows.append((min(counts, default=height), height))
    return tuple(rows)
