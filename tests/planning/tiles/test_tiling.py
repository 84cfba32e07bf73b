"""Whether tiles make a whole, and who sends which rows to whom."""

import random
from itertools import pairwise

import pytest

from planning.problem.plan import Route, Stage, Tile
from planning.problem.problem import Block, Model, RowProfile, Stream
from planning.tiles.rows import UntileableError
from planning.tiles.tiling import layout, stage_fault, tile_faults

MODEL = Model(
    1200,
    (
        Block("conv", 2400, rows=RowProfile(12, 3, 1, 1)),
        Block("pool", 600, rows=RowProfile(6, 2, 2)),
        Block("conv", 600, rows=RowProfile(6, 3, 1, 1)),
        Block("fc", 10),
    ),
    None,
    12,
)
STREAM = Stream("s", "m", "a", "z")
HALVES = (Tile("a", (0, 3)), Tile("b", (3, 6)))


@pytest.mark.parametrize(
    ("tiles", "fault"),
    [
        ([("a", (0, 3)), ("b", (4, 6))], (1, "rows [3, 4) belong to no tile")),
        ([("a", (1, 3)), ("b", (3, 6))], (0, "rows [0, 1) belong to no tile")),
        ([("a", (0, 4)), ("b", (3, 6))], (1, "rows [3, 4) belong to two tiles")),
        ([("a", (0, 3)), ("b", None)], (1, "rows must be given where a stage has several tiles")),
        ([("a", (0, 6)), ("b", (6, 6))], (1, "rows [6, 6) are none: leave the tile out")),
        ([("a", (0, 3)), ("a", (3, 6))], (1, "device a has a tile of this stage already: give it one range of rows")),
    ],
)
def test_what_is_no_partition(tiles: list[tuple[str, tuple[int, int] | None]], fault: tuple[int, str]) -> None:
    assert list(tile_faults([Tile(*tile) for tile in tiles])) == [fault]
    assert stage_fault(MODEL, Stage(0, 2, tuple(Tile(*tile) for tile in tiles))) == f"tile {fault[0]}: {fault[1]}"


def test_tiles_stand_in_any_order_and_one_of_all_rows_is_a_whole() -> None:
    assert not list(tile_faults([Tile("b", (3, 6)), Tile("a", (0, 3))]))
    assert stage_fault(MODEL, Stage(0, 2, HALVES)) is None
    assert stage_fault(MODEL, Stage(0, 2, (Tile("a", (0, 6)),))) is None
    assert stage_fault(MODEL, Stage(0, 4, (Tile("a"),))) is None


def test_faults_that_the_model_tells() -> None:
    assert stage_fault(MODEL, Stage(0, 1, HALVES)) == "its tiles make 6 rows, but its output has 12"
    assert stage_fault(MODEL, Stage(0, 2, (Tile("a", (0, 5)),))) == "its tiles make 5 rows, but its output has 6"
    assert "block 3 (fc) has no row data" in str(stage_fault(MODEL, Stage(2, 4, HALVES)))
    with pytest.raises(UntileableError, match="fc"):
        layout(MODEL, STREAM, Route((Stage(0, 4, HALVES),)))


def test_rows_pass_from_their_makers_to_those_who_lack_them() -> None:
    """The source scatters, neighbours exchange their halo, one device gathers, the sink gets the result."""
    route = Route((Stage(0, 2, HALVES), Stage(2, 3, (Tile("a", (0, 2)), Tile("c", (2, 6)))), Stage(3, 4, (Tile("c"),))))
    passed = [
        [(share.sender, share.receiver, share.range, share.sent) for share in shares]
        for shares in layout(MODEL, STREAM, route).shares
    ]
    assert passed == [
        [("a", "a", (0, 7), False), ("a", "b", (5, 12), True)],
        [("a", "a", (0, 3), False), ("a", "c", (1, 3), True), ("b", "c", (3, 6), True)],
        [("a", "c", (0, 2), True), ("c", "c", (2, 6), False)],
        [("c", "z", None, True)],
    ]


def test_every_row_that_a_tile_needs_comes_from_exactly_one_device() -> None:
    rng = random.Random(4)
    for _ in range(200):
        stages = []
        for start, stop, height in ((0, 1, 12), (1, 3, 6)):
            devices = rng.sample("abcd", rng.randint(2, 4))
            cuts = [0, *sorted(rng.sample(range(1, height), len(devices) - 1)), height]
            rows = list(pairwise(cuts))
            rng.shuffle(rows)
            stages.append(Stage(start, stop, tuple(map(Tile, devices, rows))))
        found = layout(MODEL, STREAM, Route((*stages, Stage(3, 4, (Tile("e"),)))))
        assert found.tiles[1] is not None
        for place, tile in enumerate(found.tiles[1]):
            got = [row for share in found.shares[1] if share.reader == place for row in range(*(share.range or ()))]
            assert sorted(got) == list(range(*tile.needed))
        assert sorted(row for share in found.shares[2] for row in range(*(share.range or ()))) == list(range(6))
        assert all(share.receiver == "e" for share in found.shares[2])
