"""Routes as text."""

import pytest

from planning.problem.plan import Route, Stage, Tile
from planning.problem.route_reading import RouteTextError, read_route


def test_a_route_has_stages_encodings_and_tiles() -> None:
    text = " camera[0, 4) uint8+zstd>pi1:0-28+pi-2.x:28-56 [4,8) >server[8,24) "
    tiles = Tile("pi1", (0, 28)), Tile("pi-2.x", (28, 56))
    assert read_route(text) == Route(
        (Stage(0, 4, (Tile("camera"),), "uint8+zstd"), Stage(4, 8, tiles), Stage(8, 24, (Tile("server"),)))
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is no stage"),
        ("pi", "is no stage"),
        ("pi[0,4) > ", "is no stage"),
        ("pi[0,4", "is no stage"),
        ("pi[0,99999999999999)", "is no stage"),
        ("pi[1,4)", "block 0 comes next"),
        ("pi[0,4) > pi[5,6)", "block 4 comes next"),
        ("pi[0,0)", "block 0 comes next"),
        ("pi:0-4[0,4)", "no tiles on two or more"),
        ("pi:0-4+pi:4-8[0,4)", "no tiles on two or more"),
        ("pi:0-4+b[0,4)", "no tiles on two or more"),
        ("a:0-4+b:5-8[0,4)", "rows \\[4, 5\\) belong to no tile"),
        ("a:0-4+b:3-8[0,4)", "belong to two tiles"),
        ("a:0-4+b:4-4[0,4)", "are none"),
        ("a/b[0,4)", "is no device"),
    ],
)
def test_a_text_that_is_no_route_is_refused_with_the_place(text: str, reason: str) -> None:
    with pytest.raises(RouteTextError, match=reason):
        read_route(text)
