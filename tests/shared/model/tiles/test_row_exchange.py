"""Rows that pass between segments and tiles of a small model: every needed row once, from who made it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model.architectures import build
from shared.model.errors import TileError
from shared.model.graph import Graph
from shared.model.partitioned_model import build_model
from shared.model.segment_graph import segment_graph
from shared.model.tiles.row_exchange import is_nothing, passed_rows, tile_ends, tile_readers, whole_reader
from shared.model.tiles.tile_plan import plan_tile, segment_nodes
from shared.row_ranges import NOTHING

# Of the file's blocks: stem, pool, residual, conv and pool have rows; outputs of 32, 16, 16, 16 and 8 rows.
MODEL = build_model(build("tiny"), sha256="0" * 64)
HEIGHTS = (32, 16, 16, 16, 8)


def segment(start: int, stop: int) -> Graph:
    return segment_graph(MODEL, start, stop)


def tiles(height: int, cuts: set[int]) -> list[tuple[int, int]]:
    bounds = sorted({0, height, *(cut for cut in cuts if cut < height)})
    return list(itertools.pairwise(bounds))


@given(
    cut=st.integers(1, 4),
    before=st.sets(st.integers(1, 31), max_size=3),
    after=st.sets(st.integers(1, 15), max_size=3),
)
def test_every_needed_row_comes_once_from_the_tile_that_made_it(cut: int, before: set[int], after: set[int]) -> None:
    first, second = segment(0, cut), segment(cut, 5)
    own = tiles(HEIGHTS[cut - 1], before)
    made = [plan_tile(segment_nodes(first), rows).outputs for rows in own]
    for reader in tile_readers(second, tiles(HEIGHTS[4], after)):
        (tensor,) = reader.tensors
        assert tensor.rows is not None
        passed = [passed_rows(held, reader)[tensor.name] for held in made]
        rows = [row for part in passed if part for row in range(*part)]
        assert rows == list(range(*tensor.rows))
        assert tensor.shape[2] == len(rows)
        for part, holder in zip(passed, own, strict=True):
            assert part is not None
            assert part == NOTHING or (holder[0] <= part[0] and part[1] <= holder[1])


def test_a_segment_in_one_piece_passes_what_is_needed_and_needs_everything() -> None:
    first, second = segment(0, 2), segment(2, 5)
    reader = tile_readers(second, [(0, 4), (4, 8)])[1]
    assert passed_rows(None, reader) == reader.needed
    whole = whole_reader(first.describe(first.outputs))
    (tensor,) = whole.tensors
    assert (tensor.rows, tensor.shape, tensor.dtype) == ((0, 16), (1, 8, 16, 16), "float32")
    upper = plan_tile(segment_nodes(first), (0, 3)).outputs
    assert passed_rows(upper, whole) == {tensor.name: (0, 3)}


def test_a_reader_far_away_gets_nothing() -> None:
    upper = plan_tile(segment_nodes(segment(0, 2)), (0, 3)).outputs
    lowest = tile_readers(segment(2, 5), [(0, 7), (7, 8)])[1]
    assert is_nothing(passed_rows(upper, lowest))


@pytest.mark.parametrize(
    ("start", "stop", "rows", "reason"),
    [
        (0, 2, [(0, 8), (8, 15)], "make 15 rows, but .* has 16"),
        (0, 2, [(0, 8), (8, 17)], "has 16"),
        (5, 7, [(0, 1), (1, 2)], "pool3"),
    ],
)
def test_tiles_that_cannot_be_are_refused_with_the_reason(
    start: int, stop: int, rows: list[tuple[int, int]], reason: str
) -> None:
    with pytest.raises(TileError, match=reason):
        tile_readers(segment(start, stop), rows)


def test_one_tile_alone_is_checked_against_the_height() -> None:
    assert tile_ends(segment(0, 2), (15, 16)).made
    with pytest.raises(TileError, match="has 16"):
        tile_ends(segment(0, 2), (15, 17))


def test_a_tensor_that_no_tile_makes_is_named() -> None:
    reader = tile_readers(segment(2, 5), [(0, 8)])[0]
    with pytest.raises(TileError, match="no tile makes"):
        passed_rows({}, reader)
