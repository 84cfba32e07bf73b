"""Many plans with tiles as arrays, and their routes.

Shapes: N plans, S stages, D nodes, U units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import numpy as np

from planning.problem.plan import Route, Stage, Tile
from planning.search.arrays import Index
from planning.tiled_search.tile_tables import TileTables


@dataclass(frozen=True, slots=True, eq=False)
class TiledChain:
    """A route: stages one after the other, each with a range of rows per node.

    Attributes:
        order: [D] the nodes in the order of their rows, the same in all stages.
        stops: [S] the unit behind the last one of every stage.
        bounds: [S, D + 1] the node ``order[p]`` makes rows ``[bounds[s, p], bounds[s, p + 1])`` of stage s.
        codecs: [S] the encoding of every stage's output, by its place in `CutEncodings`.
    """

    order: Index
    stops: Index
    bounds: Index
    codecs: Index

    @property
    def key(self) -> tuple[bytes, ...]:
        """A key that is equal for equal chains."""
        return self.order.tobytes(), self.stops.tobytes(), self.bounds.tobytes(), self.codecs.tobytes()

    def simplified(self) -> "TiledChain":
        """Return the chain with stages that follow each other whole on the same node joined, which costs no more."""
        rows = self.bounds[:, 1:] > self.bounds[:, :-1]
        whole = rows.sum(axis=1) == 1
        joint = whole[:-1] & whole[1:] & (rows[:-1] == rows[1:]).all(axis=1)
        if not joint.any():
            return self
        kept = np.append(~joint, True)
        return TiledChain(self.order, self.stops[kept], self.bounds[kept], self.codecs[kept])


@dataclass(frozen=True, slots=True, eq=False)
class PlanBatch:
    """N chains. Stages beyond a chain's own repeat its last one.

    Attributes:
        order: [N, D]; see `TiledChain`.
        stops: [N, S]
        bounds: [N, S, D + 1]
        codecs: [N, S]
    """

    order: Index
    stops: Index
    bounds: Index
    codecs: Index

    def chain(self, place: int) -> TiledChain:
        """Return one of the chains."""
        stops = self.stops[place]
        stages = 1 + int(np.argmax(stops == stops[-1]))
        return TiledChain(self.order[place], stops[:stages], self.bounds[place, :stages], self.codecs[place, :stages])


def batch_of(chains: Sequence[TiledChain]) -> PlanBatch:
    """Return chains as a batch; there is one at least."""
    stages = max(len(chain.stops) for chain in chains)
    places = [np.minimum(np.arange(stages), len(chain.stops) - 1) for chain in chains]
    return PlanBatch(
        np.stack([chain.order for chain in chains]),
        np.stack([chain.stops[own] for chain, own in zip(chains, places, strict=True)]),
        np.stack([chain.bounds[own] for chain, own in zip(chains, places, strict=True)]),
        np.stack([chain.codecs[own] for chain, own in zip(chains, places, strict=True)]),
    )


def joined(batches: Sequence[PlanBatch]) -> PlanBatch:
    """Return all chains of several batches, in order."""
    stages = max(batch.stops.shape[1] for batch in batches)
    wide = [np.minimum(np.arange(stages), batch.stops.shape[1] - 1) for batch in batches]
    return PlanBatch(
        np.concatenate([batch.order for batch in batches]),
        np.concatenate([batch.stops[:, own] for batch, own in zip(batches, wide, strict=True)]),
        np.concatenate([batch.bounds[:, own] for batch, own in zip(batches, wide, strict=True)]),
        np.concatenate([batch.codecs[:, own] for batch, own in zip(batches, wide, strict=True)]),
    )


def route_of(tables: TileTables, chain: TiledChain) -> Route:
    """Return the route of a chain."""
    stages, start = [], 0
    for stop, bounds, codec in zip(chain.stops.tolist(), chain.bounds.tolist(), chain.codecs.tolist(), strict=True):
        tiles = [
            (tables.nodes[node], (bounds[place], bounds[place + 1]))
            for place, node in enumerate(chain.order.tolist())
            if bounds[place] < bounds[place + 1]
        ]
        split = len(tiles) > 1
        stages.append(
            Stage(
                0 if start == 0 else tables.units[start - 1].stop,
                tables.units[stop - 1].stop,
                tuple(Tile(device, rows if split else None) for device, rows in tiles),
                tables.encodings.names[stop][codec],
            )
        )
        start = stop
    return Route(tuple(stages))


def chain_of(tables: TileTables, route: Route) -> TiledChain | None:
    """Return the chain of a route; None if its stages end elsewhere, or its tiles are in no common order of nodes."""
    stops = {unit.stop: place + 1 for place, unit in enumerate(tables.units)}
    order = _common_order(tables, route)
    if order is None or any(stage.stop not in stops for stage in route.stages):
        return None
    bounds, codecs = [], []
    for stage in route.stages:
        stop = stops[stage.stop]
        names = tables.encodings.names[stop]
        rows = {tile.device: tile.rows or (0, tables.heights[stop]) for tile in stage.tiles}
        if not rows.keys() <= set(tables.nodes):
            return None
        own = [0]
        for node in order:
            top, bottom = rows.get(tables.nodes[node], (own[-1], own[-1]))
            if top != own[-1]:
                return None
            own.append(bottom)
        bounds.append(own)
        # An encoding that is not offered is one of rows that stay where they are.
        codecs.append(names.index(stage.codec) if stage.codec in names else 0)
    return TiledChain(
        np.array(order), np.array([stops[stage.stop] for stage in route.stages]), np.array(bounds), np.array(codecs)
    )


def _common_order(tables: TileTables, route: Route) -> list[int] | None:
    """Return all nodes in an order in which the tiles of every stage are; None if there is none."""
    before: dict[int, set[int]] = {node: set() for node in range(len(tables.nodes))}
    places = {name: place for place, name in enumerate(tables.nodes)}
    for stage in route.stages:
        tiles = sorted((tile.rows or (0, 0), tile.device) for tile in stage.tiles)
        for (_, upper), (_, lower) in pairwise(tiles):
            if upper not in places or lower not in places:
                return None
            before[places[lower]].add(places[upper])
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError:
        return None
