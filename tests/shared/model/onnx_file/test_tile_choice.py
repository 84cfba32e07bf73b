"""Segments are chosen and divided as the user asks, or the reason is given with the cut that helps."""

import pytest

from shared.model.architectures import build
from shared.model.errors import TileError
from shared.model.onnx_file import load_model, to_bytes
from shared.model.onnx_file.tile_choice import TileChoice, tile_segments

MODEL = load_model(to_bytes(build("tiny")))


def test_equal_tiles_of_each_segment_that_can_be_tiled() -> None:
    tiled, untiled = tile_segments(MODEL, [(0, 2), (2, 5), (5, 7)], TileChoice(count=2))
    assert {place: [tile.rows for tile in segment.tiles] for place, segment in tiled.items()} == {
        0: [(0, 8), (8, 16)],
        1: [(0, 4), (4, 8)],
    }
    assert list(untiled) == [2]


@pytest.mark.parametrize(
    ("bounds", "choice", "message"),
    [
        ([(0, 7)], TileChoice(count=2), "segment 0: .* choose --at 5 to tile"),
        ([(0, 2), (2, 7)], TileChoice(ranges={1: ((0, 8),)}), "segment 1: .* choose --at 2,5 to tile"),
        ([(5, 7)], TileChoice(count=2), "none of its blocks can be tiled"),
        ([(0, 2), (2, 7)], TileChoice(count=17), "segment 0: its output has 16 rows, too few for 17 tiles"),
        ([(0, 2), (2, 5)], TileChoice(ranges={None: ((0, 8),)}), "segments 0, 1 can be tiled: say whose"),
        ([(0, 2), (2, 5)], TileChoice(ranges={2: ((0, 8),)}), "segment 2 does not exist: the last one is segment 1"),
        ([(0, 2), (2, 5)], TileChoice(ranges={0: ((0, 8),)}), r"segment 0: rows \[8, 16\) belong to no tile"),
    ],
)
def test_choices_that_cannot_be_followed(bounds: list[tuple[int, int]], choice: TileChoice, message: str) -> None:
    with pytest.raises(TileError, match=message):
        tile_segments(MODEL, bounds, choice)
