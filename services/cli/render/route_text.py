"""Routes as one line of text, in the two notations of the command line."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from planning.problem.plan import RAW, Route, Tile

if TYPE_CHECKING:
    # The messages take a tenth of a second to import, and the offline commands need none.
    from shared.messages.streams import PlanRoute, PlanStage


def planned_route_text(route: Route) -> str:
    """Return a route of an offline plan: ``[0,4) pi > [4,9) server``, with the encoding unless it is raw.

    Tiles carry their rows: ``[0,4) pi:0-28+server:28-56``. JSON documents of `segue explain` contain this notation.
    """
    parts = []
    for stage in route.stages:
        devices = "+".join(_tile_text(tile) for tile in stage.tiles)
        parts.append(f"[{stage.start},{stage.stop}) {devices}{_codec_text(stage.codec)}")
    return " > ".join(parts)


def committed_routes_text(routes: "Iterable[PlanRoute]") -> str:
    """Return the routes of a running stream: ``camera[0,9) uint8 > server[9,23)``, with encodings unless raw.

    Several routes carry their weights: ``1x a[0,9) | 2x b[0,9)``. Tiles carry their rows: ``a:0-28+b:28-56[1,4)``. JSON
    documents of `segue up` contain this notation.
    """
    alternatives = tuple(routes)
    texts = [
        " > ".join(
            committed_stage_text(committed_place_text(stage), stage.start, stage.stop, stage.codec)
            for stage in route.stages
        )
        for route in alternatives
    ]
    if len(texts) == 1:
        return texts[0]
    return " | ".join(f"{route.weight}x {text}" for route, text in zip(alternatives, texts, strict=True))


def committed_stage_text(place: str, start: int, stop: int, codec: str) -> str:
    """Return one stage in the notation of `committed_routes_text`."""
    return f"{place}[{start},{stop}){_codec_text(codec)}"


def committed_place_text(stage: "PlanStage") -> str:
    """Return the device of a stage, or its tiles: ``a:0-28+b:28-56``."""
    return "+".join(f"{tile.device}:{tile.rows[0]}-{tile.rows[1]}" for tile in stage.tiles) or stage.device


def _tile_text(tile: Tile) -> str:
    return tile.device if tile.rows is None else f"{tile.device}:{tile.rows[0]}-{tile.rows[1]}"


def _codec_text(codec: str) -> str:
    return "" if codec == RAW else f" {codec}"
