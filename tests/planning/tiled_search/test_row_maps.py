"""Maps of rows through a model, against the ranges of single tiles."""

import numpy as np
import pytest

from planning.problem.problem import Block, Model, RowProfile
from planning.tiled_search.row_maps import fewer_units, height_at, segment_map, units_of
from planning.tiles.rows import tile_rows
from tests.support.tiled_problems import random_tiled_problem

CONV, POOL = RowProfile(8, 3, 1, 1), RowProfile(4, 2, 2)


@pytest.mark.parametrize("seed", range(12))
def test_segments_need_the_rows_of_their_tiles(seed: int) -> None:
    model = random_tiled_problem(seed).models["m"]
    units = units_of(model)
    assert [unit.start for unit in units] == [0, *(unit.stop for unit in units[:-1])]
    assert units[-1].stop == len(model.blocks)
    for start in range(len(units)):
        for stop in range(start + 1, len(units) + 1):
            if not all(unit.tileable for unit in units[start:stop]):
                continue
            maps = segment_map(units[start:stop])
            height = units[stop - 1].height
            for top, bottom in ((0, height), (0, 1), (height // 3, height // 2 + 1), (height - 1, height)):
                expected = tile_rows(model, units[start].start, units[stop - 1].stop, (top, bottom))
                found = list(zip(maps.tops[:, top].tolist(), maps.bottoms[:, bottom].tolist(), strict=True))
                assert found == [expected.needed, *expected.computed]


def test_a_branching_part_is_one_unit() -> None:
    blocks = tuple(Block(name, 80, rows=CONV) for name in "abcd")
    model = Model(80, blocks, ((0, 1, 80.0), (0, 2, 80.0), (1, 2, 80.0), (2, 3, 80.0)), 8)
    assert [(unit.start, unit.stop, unit.tileable) for unit in units_of(model)] == [
        (0, 1, True),
        (1, 3, True),
        (3, 4, True),
    ]
    # Both branches of block c read block a: the wider of both ranges counts.
    assert segment_map(units_of(model)[1:2]).tops[0].tolist() == [0, 0, 0, 1, 2, 3, 4, 5, 8]


def test_blocks_without_rows_need_everything() -> None:
    model = Model(80, (Block("conv", 80, rows=CONV), Block("fc", 10), Block("end", 10)), None, 8)
    units = units_of(model)
    assert [unit.tileable for unit in units] == [True, False, False]
    assert (units[1].needed.tops.tolist(), units[1].needed.bottoms.tolist()) == ([0, 0], [0, 8])
    assert units[1].blocks[0].bottoms.tolist() == [0, 1]


def test_a_block_of_which_some_row_needs_no_row_of_its_input_is_in_no_tile() -> None:
    # Its first row lies in the padding alone.
    model = Model(80, (Block("odd", 80, rows=RowProfile(8, 1, 1, 1)),), None, 6)
    (unit,) = units_of(model)
    assert not unit.tileable
    assert np.array_equal(unit.blocks[0].bottoms, [0, *[8] * 8])


def test_the_height_at_a_cut_without_row_data_is_one() -> None:
    model = Model(80, (Block("fc", 10), Block("fc", 10), Block("pool", 80, rows=POOL)))
    assert [height_at(model, cut) for cut in range(4)] == [1, 1, 8, 4]


def test_units_are_joined_across_the_largest_cuts_and_compute_the_same_rows() -> None:
    model = Model(80, (*(Block(name, 80, rows=CONV) for name in "abcd"), Block("fc", 10), Block("end", 10)), None, 8)
    units = units_of(model)
    fewer = fewer_units(units, [80, 90, 10, 70, 60, 50, 5], 4)
    assert [(unit.start, unit.stop, unit.tileable) for unit in fewer] == [
        (0, 2, True),
        (2, 4, True),
        (4, 5, False),
        (5, 6, False),
    ]
    assert fewer_units(units, [0] * 7, 6) == units
    # Never across the end of what can be split.
    assert [(unit.start, unit.stop) for unit in fewer_units(units, [0] * 7, 1)] == [(0, 4), (4, 6)]
    for whole, parts in ((fewer[:1], units[:2]), (fewer[:2], units[:4])):
        assert np.array_equal(segment_map(whole).tops, segment_map(parts).tops)
        assert np.array_equal(segment_map(whole).bottoms, segment_map(parts).bottoms)
