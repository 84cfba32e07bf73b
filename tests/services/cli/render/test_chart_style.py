"""Labels and colours of charts."""

from services.cli.render.chart_style import wrapped_route


def test_a_long_route_is_broken_after_stages_and_between_tiles() -> None:
    assert wrapped_route("[0,4) pi > [4,9) server") == "[0,4) pi > [4,9) server"
    wide = wrapped_route("[0,14) camera uint8+zstd > [14,24) server-in-the-cellar > [24,30) phone")
    assert wide.splitlines() == ["[0,14) camera uint8 +zstd", "> [14,24) server-in-the-cellar", "> [24,30) phone"]
    tiles = wrapped_route("[0,4) pi-in-the-kitchen:0-28+pi-in-the-cellar:28-56")
    assert tiles.splitlines() == ["[0,4) pi-in-the-kitchen:0-28", "   +pi-in-the-cellar:28-56"]
