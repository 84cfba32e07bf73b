"""Tiles as text."""

import pytest

from services.cli.support.tile_options import read_tile_choice
from shared.exit_status import InputError
from shared.model.onnx_file import TileChoice


def test_counts_and_rows() -> None:
    assert read_tile_choice(None, None) is None
    assert read_tile_choice(3, None) == TileChoice(count=3)
    assert read_tile_choice(None, ["0:80,80:224"]) == TileChoice(ranges={None: ((0, 80), (80, 224))})
    assert read_tile_choice(None, ["0=0:8", "2=0:4,4:8"]) == TileChoice(ranges={0: ((0, 8),), 2: ((0, 4), (4, 8))})


@pytest.mark.parametrize("text", ["", "5", "0-80", "0:80,", "0:80:90", "a:b", "x=0:80", "=0:80", "0:1e3"])
def test_other_forms(text: str) -> None:
    with pytest.raises(InputError, match="is not of the form 0:80,80:224"):
        read_tile_choice(None, [text])


@pytest.mark.parametrize(
    ("count", "rows", "message"),
    [
        (2, ["0:8"], "give one of them"),
        (None, ["0:8", "0:4,4:8"], "given twice for one"),
        (None, ["1=0:8", "1=0:4,4:8"], "given twice for segment 1"),
        (None, ["0:8", "1=0:8"], "need the number of each"),
    ],
)
def test_contradictions(count: int | None, rows: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_tile_choice(count, rows)
