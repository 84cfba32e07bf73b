"""Routes from volumes of layers whose rows are divided over devices."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from planning.problem.plan import Route, Stage, Tile
from planning.search.spatial_group import RowUnit, SpatialGroup
from shared.row_ranges import RowRange


@dataclass(frozen=True, slots=True)
class Volume:
    """Blocks ``[start, stop)`` of a stretch with rows, and the rows of their output that each provider makes.

    Attributes:
        start: first block.
        stop: block after the last one.
        rows: one range per provider of the group, in its order; an empty range for a provider without a part.
    """

    start: int
    stop: int
    rows: tuple[RowRange, ...]


def layer_volumes(units: Iterable[RowUnit], rows: Sequence[Sequence[RowRange]]) -> list[Volume]:
    """Return one volume per unit, with the ranges of each unit."""
    return [Volume(unit.start, unit.stop, tuple(own)) for unit, own in zip(units, rows, strict=True)]


def proportional_rows(height: int, shares: Sequence[float]) -> list[RowRange]:
    """Return ranges of ``height`` rows in proportion to ``shares``, which add up to 1.

    Borders are rounded half up, so that the ranges make every row once.
    """
    borders = [0, *(min(height, int(height * share + 0.5)) for share in accumulate(shares))]
    borders[-1] = height
    return [(top, max(top, bottom)) for top, bottom in pairwise(borders)]


def equal_rows(height: int, count: int) -> list[RowRange]:
    """Return ``count`` ranges of ceil(height / count) rows; the last ones take what remains (DeepThings)."""
    strip = -(-height // count)
    return [(min(height, strip * place), min(height, strip * (place + 1))) for place in range(count)]


def counted_rows(counts: Iterable[int]) -> list[RowRange]:
    """Return ranges of so many rows each, one below the other."""
    return list(pairwise([0, *accumulate(counts)]))


def volume_route(group: SpatialGroup, volumes: Sequence[Volume], whole_on: str | None = None) -> Route:
    """Return the route of ``volumes``, with the blocks between them on one device each.

    Blocks before the first volume run on the gateway, and blocks behind a volume on the provider with the most rows of
    it: DistrEdge runs fully connected layers there. Neighbouring stages on one device are one stage. Outputs travel in
    the plainest encoding that the policy allows.

    Args:
        group: the devices and the model.
        volumes: volumes in order that do not overlap.
        whole_on: the device of all blocks outside of volumes; None means the one named above.
    """
    stages: list[tuple[int, int, tuple[Tile, ...]]] = []
    stop, holder = 0, group.gateway
    for volume in (*volumes, None):
        start = len(group.model.blocks) if volume is None else volume.start
        if stop < start:
            _append(stages, stop, start, (Tile(whole_on or holder),))
        if volume is not None:
            stop, holder = volume.stop, most_rows(group, volume)
            _append(stages, volume.start, volume.stop, _tiles(group, volume))
    offers = group.network.offers(group.stream.model)
    return Route(tuple(Stage(start, stop, tiles, offers[stop][0].codec) for start, stop, tiles in stages))


def most_rows(group: SpatialGroup, volume: Volume) -> str:
    """Return the provider that makes the most rows of a volume; of several, the one with the highest capability."""
    sizes = [(top - bottom, whole_ms) for (top, bottom), whole_ms in zip(volume.rows, group.whole_ms, strict=True)]
    return group.providers[sizes.index(min(sizes))]


def _tiles(group: SpatialGroup, volume: Volume) -> tuple[Tile, ...]:
    parts = [(name, rows) for name, rows in zip(group.providers, volume.rows, strict=True) if rows[0] < rows[1]]
    if len(parts) == 1:
        return (Tile(parts[0][0]),)
    return tuple(Tile(name, rows) for name, rows in parts)


def _append(stages: list[tuple[int, int, tuple[Tile, ...]]], start: int, stop: int, tiles: tuple[Tile, ...]) -> None:
    """Append a stage, or lengthen the last one if both run on the same single device."""
    if stages and len(tiles) == 1 and stages[-1][2] == tiles:
        start = stages.pop()[0]
    stages.append((start, stop, tiles))
