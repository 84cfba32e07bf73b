"""Moves of rows between the tiles of a stage."""

import numpy as np

from planning.tiled_search.plan_batch import TiledChain
from planning.tiled_search.row_moves import RowMoves

NONE = np.zeros(2, dtype=np.int64)


def _chain(*bounds: list[int]) -> TiledChain:
    count = len(bounds)
    return TiledChain(np.arange(3), np.arange(1, count + 1), np.array(bounds), np.zeros(count, dtype=np.int64))


def test_moves_keep_all_rows_and_change_something() -> None:
    chain = _chain([0, 10, 20, 30], [0, 4, 9, 14])
    batch = RowMoves(chain).neighbours()
    assert len(batch.stops) > 12
    assert (np.diff(batch.bounds, axis=2) >= 0).all()
    assert (batch.bounds[:, :, 0] == 0).all()
    assert (batch.bounds[:, :, -1] == [30, 14]).all()
    assert (batch.bounds != chain.bounds).any(axis=(1, 2)).all()
    # One boundary of one stage by a single row is among them, and one of both stages.
    changes = batch.bounds - chain.bounds
    assert any(np.abs(own).sum() == 1 for own in changes)
    assert any((own != 0).any(axis=1).all() for own in changes)


def test_boundaries_of_a_node_without_rows_move_together() -> None:
    changes = RowMoves(_chain([0, 10, 10, 30])).changes
    assert len(changes)
    assert (changes[:, 0, 1] == changes[:, 0, 2]).all()


def test_stages_on_one_node_have_no_moves() -> None:
    assert not len(RowMoves(_chain([0, 30, 30, 30], [0, 0, 0, 1])).changes)


def test_moves_are_combined_unless_they_concern_the_same_boundary() -> None:
    moves = RowMoves(_chain([0, 10, 20, 30], [0, 4, 9, 14]))
    single = [place for place, own in enumerate(moves.changes) if np.abs(own).sum() == 1]
    combined = moves.combined(np.array(single)).bounds - _chain([0, 10, 20, 30], [0, 4, 9, 14]).bounds
    # Four boundaries, each of them once: after two of the moves, and after all four.
    assert [int(np.abs(own).sum()) for own in combined][-1] == 4
    assert len(moves.combined(np.array(single[:1])).stops) == 0
