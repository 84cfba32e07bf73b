"""Dynamic programme over the boundaries of stages, for given shares of rows per node.

Volume is DistrEdge's word for the blocks of a stage. For every subset of the nodes, with rows in proportion to given
weights, the programme chooses where stages end, and which of them run whole on one node. Stages follow each other in
lockstep: a stage begins when all tiles of the one before have ended. So its times are estimates, which the simulation
replaces. Every chain shares out a stage among its subset, also where the estimate is better for one node alone: the
best route without tiles is known from elsewhere, and would be the answer for every subset with a quick node.

Shapes: R subsets, D nodes, U units, E nodes that may run a stage whole, each of them twice: before a stage has been
shared out, and after that.
"""

from dataclasses import dataclass

import numpy as np

from planning.search.arrays import Array, Index
from planning.tiled_search.plan_batch import TiledChain
from planning.tiled_search.tile_tables import TileTables

# Nodes that may run a stage whole, at most, beside source and sink.
MOST_WHOLE = 3


def proportional_bounds(weights: Array, height: int) -> Index:
    """Return [R, D + 1] the boundaries of the rows of every node, for ``weights`` [R, D] that sum up to 1 each."""
    cumulated = np.cumsum(weights, axis=1)
    cumulated[:, -1] = 1.0
    bounds = np.zeros((len(weights), weights.shape[1] + 1), dtype=np.int64)
    bounds[:, 1:] = np.rint(cumulated * height)
    # A node without weight has no row, also where rounding lifts the sum of the others.
    return np.maximum.accumulate(bounds, axis=1)


def best_volumes(tables: TileTables, order: Index, weights: Array) -> list[TiledChain]:
    """Return the best chain of every subset that has one, with a stage that is shared out among the subset.

    Args:
        tables: the arrays of the stream.
        order: [D] the nodes in the order of their rows.
        weights: [R, D] share of the rows of each node in that order; 0 for nodes outside of the subset.
    """
    return _Programme(tables, order, weights).chains()


@dataclass(frozen=True, slots=True, eq=False)
class _Segment:
    """Estimated times of a split stage of units ``[start, stop)``.

    Attributes:
        after_split_ms: [R] after a stage that was split in the same way.
        after_whole_ms: [R, E] after a stage on one node, or at the source.
    """

    after_split_ms: Array
    after_whole_ms: Array


class _Programme:
    """The programme; decisions are kept per cut."""

    def __init__(self, tables: TileTables, order: Index, weights: Array) -> None:
        self._tables, self._order, self._weights = tables, order, weights
        self._bounds = [proportional_bounds(weights, height) for height in tables.heights]
        whole = self._whole_nodes()
        # The first of both halves runs stages before one has been shared out, the second one after that.
        self._half = len(whole)
        self._whole = np.concatenate([whole, whole])
        row_bytes = tables.encodings.row_bytes[:, 0]
        byte_ms = tables.byte_ms[order][:, order]
        self._latency_ms = tables.latency_ms[order][:, order]
        # [U + 1, D, D] time per row.
        self._row_ms = row_bytes[:, None, None] * byte_ms
        self._neighbours()
        # The least time at which a stage of each kind can end at a cut, and at which a node has all that crosses it.
        cuts, subsets, many = len(tables.units) + 1, len(weights), len(self._whole)
        self._total_ms = self._whole_times_ms()
        self._split_ms = np.full((cuts, subsets), np.inf)
        self._whole_ms = np.full((cuts, subsets, many), np.inf)
        self._whole_ms[0, :, 0] = 0.0
        self._ready_ms = np.zeros((cuts, subsets, many))
        # Decisions: the cut and the kind of the stage before. Kind 0 is split, kind 1 + e is whole on node e.
        self._split_from = np.zeros((cuts, subsets, 2), dtype=np.int64)
        self._whole_from = np.zeros((cuts, subsets, many, 2), dtype=np.int64)
        self._ready_from = np.zeros((cuts, subsets, many), dtype=np.int64)

    def _whole_nodes(self) -> Index:
        """Return the places in the order of the nodes that may run a stage whole; the source is first."""
        tables = self._tables
        total_ms = tables.whole_ms.sum(axis=0)
        total_ms[~tables.able] = np.inf
        quick = np.argsort(total_ms, kind="stable")[:MOST_WHOLE].tolist()
        nodes = dict.fromkeys([tables.source, *([tables.sink] if tables.sink >= 0 else []), *quick])
        place = {node: place for place, node in enumerate(self._order.tolist())}
        return np.array([place[node] for node in nodes])

    def _neighbours(self) -> None:
        """Find the nodes with rows above and below every node, [R, D] places; a node without is its own."""
        used = self._weights > 0
        places = np.arange(used.shape[1])
        above = np.maximum.accumulate(np.where(used, places, -1), axis=1)
        above = np.concatenate([np.full((len(used), 1), -1), above[:, :-1]], axis=1)
        below = np.minimum.accumulate(np.where(used, places, used.shape[1])[:, ::-1], axis=1)[:, ::-1]
        below = np.concatenate([below[:, 1:], np.full((len(used), 1), used.shape[1])], axis=1)
        self._used = used
        self._above = np.where(above < 0, places, above)
        self._below = np.where(below >= used.shape[1], places, below)

    def _segment(self, start: int, stop: int) -> _Segment:
        """Estimate a split stage."""
        tables, order = self._tables, self._order
        maps, first = tables.segment(start, stop), tables.units[start].start
        bounds = self._bounds[stop]
        top, bottom = maps.tops[:, bounds[:, :-1]], maps.bottoms[:, bounds[:, 1:]]
        here = bounds[:, 1:] > bounds[:, :-1]
        rows = (bottom[1:] - top[1:]) * here
        times_ms = tables.time_ms[(first + np.arange(len(rows)))[:, None, None], order[None, None, :], rows].sum(axis=0)
        overhead_ms = tables.overhead_ms[order] + tables.tile_overhead_ms[order]
        compute_ms = np.where(here, times_ms + overhead_ms, 0.0)
        places = np.arange(len(order))
        latency_ms, row_ms = self._latency_ms, self._row_ms[start]
        # Rows of the halo come from both neighbours.
        held = self._bounds[start]
        from_above = np.maximum(0, held[:, :-1] - top[0]) * here
        from_below = np.maximum(0, bottom[0] - held[:, 1:]) * here
        halo_ms = np.where(
            from_above > 0, latency_ms[self._above, places] + from_above * row_ms[self._above, places], 0
        )
        halo_ms += np.where(
            from_below > 0, latency_ms[self._below, places] + from_below * row_ms[self._below, places], 0
        )
        after_split_ms = (halo_ms + compute_ms).max(axis=1)
        # [R, E, D] the node of the stage before sends one thing after the other.
        needs = ((bottom[0] - top[0]) * here)[:, None, :] * (self._whole[:, None] != places)
        scatter_ms = np.where(needs > 0, latency_ms[self._whole] + needs * row_ms[self._whole], 0.0)
        separate = tables.separate[order[self._whole]]
        arrival_ms = np.where(separate[:, None], scatter_ms, np.cumsum(scatter_ms, axis=2))
        after_whole_ms = np.where(here[:, None, :], arrival_ms + compute_ms[:, None, :], 0.0).max(axis=2)
        return _Segment(after_split_ms, after_whole_ms)

    def _whole_times_ms(self) -> Array:
        """Return [U + 1, E] the time of all units up to a cut on each node."""
        tables = self._tables
        nodes = self._order[self._whole]
        blocks_ms = np.cumsum(tables.whole_ms[:, nodes], axis=0)
        ends = [unit.stop - 1 for unit in tables.units]
        return np.concatenate([np.zeros((1, len(nodes))), blocks_ms[ends]])

    def _gather_ms(self, cut: int) -> Array:
        """Return [R, E] the time until a node has all rows of a split stage that ends at ``cut``."""
        rows = np.diff(self._bounds[cut], axis=1)[:, :, None] * (np.arange(len(self._order))[:, None] != self._whole)
        sends_ms = self._latency_ms[:, self._whole] + rows * self._row_ms[cut][:, self._whole]
        gather_ms: Array = np.where(rows > 0, sends_ms, 0.0).max(axis=1)
        return gather_ms

    def chains(self) -> list[TiledChain]:
        """Run the programme forward, and read every subset's chain backward."""
        for stop in range(len(self._tables.units) + 1):
            self._end_split(stop)
            if stop:
                self._end_whole(stop)
            self._gather(stop)
        chains = [self._read(subset) for subset in range(len(self._weights))]
        return [chain for chain in chains if chain is not None]

    def _end_split(self, stop: int) -> None:
        """Decide where a split stage begins that ends at ``stop``."""
        every = np.arange(len(self._weights))
        for start in range(stop - 1, -1, -1):
            if not self._tables.units[start].tileable:
                break
            segment = self._segment(start, stop)
            after_split_ms = self._split_ms[start] + segment.after_split_ms
            options = np.column_stack([after_split_ms, self._whole_ms[start] + segment.after_whole_ms])
            kind = options.argmin(axis=1)
            better = options[every, kind] < self._split_ms[stop]
            self._split_ms[stop, better] = options[every, kind][better]
            self._split_from[stop, better] = np.column_stack([np.full(len(every), start), kind])[better]

    def _end_whole(self, stop: int) -> None:
        """Decide where a stage on each node begins that ends at ``stop``."""
        tables, nodes = self._tables, self._order[self._whole]
        before_ms = self._total_ms[stop] - self._total_ms[:stop]
        options = self._ready_ms[:stop] + before_ms[:, None, :]
        options += np.where(tables.able[nodes], tables.overhead_ms[nodes], np.inf)
        start = options.argmin(axis=0)
        self._whole_ms[stop] = np.take_along_axis(options, start[None], axis=0)[0]
        kind = np.take_along_axis(self._ready_from[:stop], start[None], axis=0)[0]
        self._whole_from[stop] = np.stack([start, kind], axis=2)

    def _gather(self, cut: int) -> None:
        """Decide from where each node has everything that crosses ``cut``: gathered from tiles, or from a node."""
        whole = np.ix_(self._whole, self._whole)
        moves_ms = self._latency_ms[whole] + self._tables.heights[cut] * self._row_ms[cut][whole]
        half = self._half
        moves_ms[:half, half:] = moves_ms[half:, :half] = np.inf
        gathered_ms = self._split_ms[cut][:, None] + self._gather_ms(cut)
        gathered_ms[:, :half] = np.inf
        options = np.concatenate([gathered_ms[:, None, :], self._whole_ms[cut][:, :, None] + moves_ms], axis=1)
        self._ready_from[cut] = options.argmin(axis=1)
        self._ready_ms[cut] = options.min(axis=1)

    def _read(self, subset: int) -> TiledChain | None:
        tables, cut = self._tables, len(self._tables.units)
        # A single node has nobody to share a stage with.
        alone = self._used[subset].sum() == 1
        if tables.sink >= 0:
            places = np.flatnonzero(self._order[self._whole] == tables.sink)
            at = min(places.tolist() if alone else places[1:].tolist(), key=self._ready_ms[cut, subset].__getitem__)
            value_ms, kind = self._ready_ms[cut, subset, at], int(self._ready_from[cut, subset, at])
        else:
            ends_ms = np.append(self._split_ms[cut, subset], self._whole_ms[cut, subset])
            if not alone:
                ends_ms[1 : self._half + 1] = np.inf
            kind = int(ends_ms.argmin())
            value_ms = ends_ms[kind]
        if not np.isfinite(value_ms):
            return None
        stops: list[int] = []
        kinds: list[int] = []
        while cut > 0:
            stops.insert(0, cut)
            kinds.insert(0, kind)
            step = self._split_from[cut, subset] if kind == 0 else self._whole_from[cut, subset, kind - 1]
            cut, kind = int(step[0]), int(step[1])
        return self._chain(subset, stops, kinds)

    def _chain(self, subset: int, stops: list[int], kinds: list[int]) -> TiledChain:
        bounds = []
        for stop, kind in zip(stops, kinds, strict=True):
            if kind == 0:
                bounds.append(self._bounds[stop][subset])
            else:
                place = int(self._whole[kind - 1])
                bounds.append(np.where(np.arange(len(self._order) + 1) > place, self._tables.heights[stop], 0))
        return TiledChain(self._order, np.array(stops), np.array(bounds), np.zeros(len(stops), dtype=np.int64))
