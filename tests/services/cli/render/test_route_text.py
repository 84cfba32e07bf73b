"""Both notations of routes."""

from planning.problem.plan import Route, Stage, Tile
from services.cli.render.route_text import committed_routes_text, planned_route_text
from shared.messages.streams import PlanRoute, PlanStage, PlanTile


def committed(*stages: tuple[str, int, int, str], weight: int = 1) -> PlanRoute:
    return PlanRoute(
        stages=tuple(PlanStage(device=d, start=i, stop=j, codec=codec) for d, i, j, codec in stages), weight=weight
    )


def test_a_planned_route_names_encodings_and_the_rows_of_tiles() -> None:
    split = Route((Stage(0, 4, (Tile("pi"),), "uint8"), Stage(4, 9, (Tile("server"),))))
    assert planned_route_text(split) == "[0,4) pi uint8 > [4,9) server"
    tiles = Route((Stage(0, 4, (Tile("pi", (0, 28)), Tile("server", (28, 56)))),))
    assert planned_route_text(tiles) == "[0,4) pi:0-28+server:28-56"


def test_committed_routes_name_encodings_and_weights() -> None:
    assert committed_routes_text([committed(("a", 0, 4, "uint8"), ("b", 4, 9, "raw"))]) == "a[0,4) uint8 > b[4,9)"
    alternatives = [committed(("a", 0, 9, "raw")), committed(("b", 0, 9, "raw"), weight=2)]
    assert committed_routes_text(alternatives) == "1x a[0,9) | 2x b[0,9)"
    assert committed_routes_text([]) == ""


def test_committed_tiles_name_their_rows() -> None:
    tiles = (PlanTile(device="a", rows=(0, 28)), PlanTile(device="b", rows=(28, 56)))
    ends = PlanStage(device="a", start=0, stop=1), PlanStage(device="b", start=4, stop=9)
    route = PlanRoute(stages=(ends[0], PlanStage(device="a", start=1, stop=4, tiles=tiles, codec="uint8"), ends[1]))
    assert committed_routes_text([route]) == "a[0,1) > a:0-28+b:28-56[1,4) uint8 > b[4,9)"
