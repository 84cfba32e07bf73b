"""Shares of rows by which tiles end at the same time."""

import numpy as np

from planning.tiled_search.plan_batch import TiledChain
from planning.tiled_search.row_balance import PARTS, balanced


def _chain(*bounds: list[int]) -> TiledChain:
    count = len(bounds)
    return TiledChain(np.arange(3), np.arange(1, count + 1), np.array(bounds), np.zeros(count, dtype=np.int64))


def test_rows_move_from_the_late_tile_to_the_early_one() -> None:
    batch = balanced(_chain([0, 10, 20, 30]), np.array([[5.0, 10.0, 15.0]]), np.array([[10.0, 10.0, 10.0]]))
    assert batch is not None
    assert len(batch.stops) == len(PARTS)
    for bounds in batch.bounds[:, 0].tolist():
        assert bounds[-1] == 30
        assert bounds[1] > 10 > bounds[3] - bounds[2]


def test_one_stage_may_change_without_the_others_and_nodes_without_rows_stay_without() -> None:
    ends, times = np.array([[5.0, 0.0, 15.0]] * 2), np.array([[5.0, 0.0, 5.0]] * 2)
    batch = balanced(_chain([0, 10, 10, 20], [0, 20, 20, 40]), ends, times)
    assert batch is not None
    changed = (batch.bounds != [[0, 10, 10, 20], [0, 20, 20, 40]]).any(axis=2)
    assert {tuple(own) for own in changed.tolist()} == {(True, True), (True, False), (False, True)}
    assert (batch.bounds[:, :, 1] == batch.bounds[:, :, 2]).all()


def test_a_chain_without_tiles_has_nothing_to_balance() -> None:
    assert balanced(_chain([0, 0, 20, 20]), np.zeros((1, 3)), np.zeros((1, 3))) is None
