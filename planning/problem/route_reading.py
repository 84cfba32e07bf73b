"""Routes as one line of text that people write: ``camera[0,4) uint8 > pi1:0-28+pi2:28-56[4,8) > server[8,24)``."""

import re
from typing import Final

from planning.problem.plan import RAW, Route, Stage, Tile
from shared.row_ranges import partition_faults

_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
_NUMBER: Final = r"\d{1,9}"
_TILE: Final = re.compile(rf"({_NAME}):({_NUMBER})-({_NUMBER})")
_STAGE: Final = re.compile(
    rf"\s*([^\s\[]+)\s*\[\s*({_NUMBER})\s*,\s*({_NUMBER})\s*\)\s*([a-z0-9][a-z0-9_+-]{{0,79}})?\s*"
)


class RouteTextError(ValueError):
    """A text is no route; the message says where and why."""


def read_route(text: str) -> Route:
    """Return the route that a text describes.

    Raises:
        RouteTextError: it is malformed, its stages do not follow each other from block 0 on, or its tiles are not two
            or more on different devices that make every row from row 0 on once.
    """
    stages: list[Stage] = []
    for part in text.split(">"):
        stage = _read_stage(part)
        next_block = stages[-1].stop if stages else 0
        if stage.start != next_block or stage.stop <= stage.start:
            raise RouteTextError(f"blocks [{stage.start},{stage.stop}) where block {next_block} comes next")
        stages.append(stage)
    return Route(tuple(stages))


def _read_stage(text: str) -> Stage:
    found = _STAGE.fullmatch(text)
    if found is None:
        raise RouteTextError(f"{text.strip()[:80]!r} is no stage such as 'pi[0,4)' or 'pi1:0-28+pi2:28-56[4,8) uint8'")
    place, start, stop, codec = found.groups()
    return Stage(int(start), int(stop), _read_tiles(place), codec or RAW)


def _read_tiles(place: str) -> tuple[Tile, ...]:
    if re.fullmatch(_NAME, place):
        return (Tile(place),)
    matches = [_TILE.fullmatch(tile) for tile in place.split("+")]
    tiles = tuple(Tile(match[1], (int(match[2]), int(match[3]))) for match in matches if match is not None)
    if len(tiles) < len(matches) or len({tile.device for tile in tiles}) < max(2, len(matches)):
        raise RouteTextError(f"{place[:80]!r} is no device, and no tiles on two or more ('pi1:0-28+pi2:28-56')")
    for index, fault in partition_faults([tile.rows for tile in tiles if tile.rows is not None]):
        raise RouteTextError(f"tile {tiles[index].device} of {place[:80]!r}: {fault}")
    return tiles
