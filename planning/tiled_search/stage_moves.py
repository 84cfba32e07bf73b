"""Moves of stages: where they end, which nodes share them, in which order, and how their output is encoded."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from planning.search.arrays import Array, Index
from planning.tiled_search.plan_batch import TiledChain
from planning.tiled_search.tile_tables import TileTables

# Rows of a node that joins a single one in the first blocks of a stage, as a share of the rows of that one.
HEAD_SHARE = 1 / 8


def stage_moves(tables: TileTables, chain: TiledChain) -> Iterator[TiledChain]:
    """Yield the chains that differ from ``chain`` in one stage boundary, one node, or one encoding."""
    yield from _boundary_moves(tables, chain)
    yield from _node_moves(tables, chain)
    yield from _order_moves(chain)
    for stage, stop in enumerate(chain.stops.tolist()):
        for codec in range(len(tables.encodings.names[stop])):
            if codec != chain.codecs[stage]:
                codecs = chain.codecs.copy()
                codecs[stage] = codec
                yield TiledChain(chain.order, chain.stops, chain.bounds, codecs)


def head_moves(tables: TileTables, chain: TiledChain) -> Iterator[TiledChain]:
    """Yield the chains in which more nodes share the first blocks of a stage than those behind them.

    Of a stage on one node, another one takes a part of the rows of the first blocks. Of a split stage, one of the nodes
    leaves the blocks behind.
    """
    able = tables.able[chain.order]
    start = 0
    for stage, stop in enumerate(chain.stops.tolist()):
        own = chain.bounds[stage]
        used = np.flatnonzero(np.diff(own)).tolist()
        leaving = used if len(used) > 1 else []
        joining = [] if leaving else [place for place in np.flatnonzero(able).tolist() if place not in used]
        for cut in range(start + 1, stop + 1):
            if not tables.units[cut - 1].tileable:
                break
            head = scaled(own, tables.heights[cut])
            for place in joining:
                shared = _with(head, place, HEAD_SHARE)
                if _is_split(shared):
                    yield _divided(chain, stage, cut, shared, own)
            for place in leaving if cut < stop else []:
                yield _divided(chain, stage, cut, head, _without(own, place))
        start = stop


def _divided(chain: TiledChain, stage: int, cut: int, head: Index, tail: Index) -> TiledChain:
    """Return a chain with a stage divided at ``cut``, with boundaries for both parts; the head may be all of it."""
    if cut == chain.stops[stage]:
        bounds = chain.bounds.copy()
        bounds[stage] = head
        return TiledChain(chain.order, chain.stops, bounds, chain.codecs)
    bounds = np.insert(chain.bounds, stage, head, axis=0)
    bounds[stage + 1] = tail
    return TiledChain(chain.order, np.insert(chain.stops, stage, cut), bounds, np.insert(chain.codecs, stage, 0))


def scaled(bounds: Index, height: int) -> Index:
    """Return boundaries [D + 1] in the same proportions for another number of rows."""
    if height == bounds[-1]:
        return bounds
    resized = np.zeros_like(bounds)
    resized[:] = np.rint(bounds * (height / bounds[-1]))
    return resized


def whole_on(place: int, nodes: int, height: int) -> Index:
    """Return the boundaries [D + 1] of a stage that runs whole on the node at ``place``."""
    bounds = np.full(nodes + 1, height, dtype=np.int64)
    bounds[: place + 1] = 0
    return bounds


def _tileable(tables: TileTables, start: int, stop: int) -> bool:
    return all(unit.tileable for unit in tables.units[start:stop])


def _is_split(bounds: Index) -> bool:
    return int((np.diff(bounds) > 0).sum()) > 1


def _boundary_moves(tables: TileTables, chain: TiledChain) -> Iterator[TiledChain]:
    """Yield chains with one stage end less, moved, or more."""
    stops = chain.stops.tolist()
    for stage, stop in enumerate(stops):
        start = stops[stage - 1] if stage else 0
        if stage + 1 < len(stops):
            following = stops[stage + 1]
            # The rows of either of both stages serve for the joint one.
            for kept in (stage, stage + 1):
                if not _is_split(chain.bounds[kept]) or _tileable(tables, start, following):
                    bounds = np.delete(chain.bounds, stage, axis=0)
                    bounds[stage] = scaled(chain.bounds[kept], tables.heights[following])
                    yield TiledChain(chain.order, np.delete(chain.stops, stage), bounds, np.delete(chain.codecs, stage))
            for moved in (stop - 2, stop - 1, stop + 1, stop + 2):
                if not start < moved < following:
                    continue
                if _is_split(chain.bounds[stage]) and not _tileable(tables, start, moved):
                    continue
                if _is_split(chain.bounds[stage + 1]) and not _tileable(tables, moved, following):
                    continue
                changed, bounds, codecs = chain.stops.copy(), chain.bounds.copy(), chain.codecs.copy()
                changed[stage], codecs[stage] = moved, 0
                bounds[stage] = scaled(chain.bounds[stage], tables.heights[moved])
                yield TiledChain(chain.order, changed, bounds, codecs)
        if _is_split(chain.bounds[stage]):
            for cut in range(start + 1, stop):
                bounds = np.insert(chain.bounds, stage, scaled(chain.bounds[stage], tables.heights[cut]), axis=0)
                yield TiledChain(
                    chain.order, np.insert(chain.stops, stage, cut), bounds, np.insert(chain.codecs, stage, 0)
                )


def _node_moves(tables: TileTables, chain: TiledChain) -> Iterator[TiledChain]:
    """Yield chains in which a node leaves or joins, or a stage and all behind it run whole on a node."""
    nodes = len(chain.order)
    split = [_is_split(bounds) for bounds in chain.bounds]
    able = tables.able[chain.order]
    stops = chain.stops.tolist()
    for place in range(nodes):
        used = [stage for stage in range(len(stops)) if split[stage] and _rows(chain, stage, place)]
        for stages in [[stage] for stage in used] + ([used] if len(used) > 1 else []):
            bounds = chain.bounds.copy()
            for stage in stages:
                bounds[stage] = _without(bounds[stage], place)
            yield TiledChain(chain.order, chain.stops, bounds, chain.codecs)
        if not able[place]:
            continue
        absent = [stage for stage in range(len(stops)) if split[stage] and not _rows(chain, stage, place)]
        for stages in [[stage] for stage in absent] + ([absent] if len(absent) > 1 else []):
            bounds = chain.bounds.copy()
            for stage in stages:
                bounds[stage] = _with(bounds[stage], place)
            yield TiledChain(chain.order, chain.stops, bounds, chain.codecs)
        for stage, stop in enumerate(stops):
            whole = whole_on(place, nodes, tables.heights[stop])
            if (whole != chain.bounds[stage]).any():
                bounds = chain.bounds.copy()
                bounds[stage] = whole
                yield TiledChain(chain.order, chain.stops, bounds, chain.codecs)
                if stage + 1 < len(stops):
                    bounds = np.concatenate([chain.bounds[:stage], [whole_on(place, nodes, tables.heights[-1])]])
                    ends = np.append(chain.stops[:stage], stops[-1])
                    yield TiledChain(chain.order, ends, bounds, chain.codecs[: stage + 1] * 0)


def _order_moves(chain: TiledChain) -> Iterator[TiledChain]:
    """Yield chains in which two neighbouring nodes with rows have changed places, each with its own number of rows."""
    rows = np.diff(chain.bounds, axis=1)
    used = np.flatnonzero(rows.any(axis=0))
    for upper, lower in pairwise(used.tolist()):
        order, swapped = chain.order.copy(), rows.copy()
        order[[upper, lower]] = order[[lower, upper]]
        swapped[:, [upper, lower]] = swapped[:, [lower, upper]]
        bounds = np.concatenate([np.zeros((len(rows), 1), dtype=np.int64), np.cumsum(swapped, axis=1)], axis=1)
        yield TiledChain(order, chain.stops, bounds, chain.codecs)


def _rows(chain: TiledChain, stage: int, place: int) -> int:
    return int(chain.bounds[stage, place + 1] - chain.bounds[stage, place])


def _without(bounds: Index, place: int) -> Index:
    """Return boundaries [D + 1] after the others have taken over the rows of a node, in proportion to their own."""
    rows = np.diff(bounds).astype(np.float64)
    rows[place] = 0
    return _proportional(rows, int(bounds[-1]))


def _with(bounds: Index, place: int, share: float = 1.0) -> Index:
    """Return boundaries [D + 1] after a node has joined with a share of the average number of rows of the others."""
    rows = np.diff(bounds).astype(np.float64)
    rows[place] = share * rows[rows > 0].mean()
    return _proportional(rows, int(bounds[-1]))


def _proportional(rows: Array, height: int) -> Index:
    bounds = np.zeros(len(rows) + 1, dtype=np.int64)
    bounds[1:] = np.rint(np.cumsum(rows) * (height / rows.sum()))
    return bounds
