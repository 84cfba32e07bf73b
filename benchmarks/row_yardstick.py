"""Yardstick for plans with tiles: stages and rows by dynamic programming on a grid, with stages in lockstep.

The state is a boundary between stages and the shares of its rows per device, in multiples of 1 / parts. Every stage
begins when all transfers to it have ended, and these begin when all tiles of the stage before have ended. Under this
timing the answer is the best one on the grid. Its route is then timed by the cost model, which overlaps transfers and
computing.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from planning.cost.cost_model import CostModel
from planning.problem.problem import Problem
from planning.search.arrays import Array, Index
from planning.search.device_network import DeviceNetwork
from planning.tiled_search.plan_batch import TiledChain, route_of
from planning.tiled_search.tile_tables import TileTables, tile_tables


@dataclass(frozen=True, slots=True)
class Yardstick:
    """The best plan on the grid.

    Attributes:
        lockstep_ms: its latency with stages in lockstep.
        latency_ms: its latency by the cost model.
    """

    lockstep_ms: float
    latency_ms: float


def row_yardstick(problem: Problem, parts: int) -> Yardstick:
    """Return the yardstick of the only stream of a problem whose model is a chain with rows.

    O(U^2 R^2 D^2) for U units, D devices and R = C(parts + D - 1, D - 1) states per boundary.

    Raises:
        ValueError: if nothing of the model can be split.
    """
    (stream,) = problem.streams
    tables = tile_tables(problem, stream, DeviceNetwork(problem))
    if tables is None:
        raise ValueError("nothing of the model can be split")
    lockstep_ms, chain = _Grid(tables, parts).best()
    return Yardstick(lockstep_ms, CostModel(problem).latency_ms(stream, route_of(tables, chain)))


class _Grid:
    """The programme. States are compositions of ``parts`` over the nodes; a node that has all runs a stage whole."""

    def __init__(self, tables: TileTables, parts: int) -> None:
        self._tables = tables
        nodes = len(tables.nodes)
        bars = np.array(list(combinations(range(parts + nodes - 1), nodes - 1))).reshape(-1, nodes - 1)
        cumulated = np.zeros((len(bars), nodes + 1))
        cumulated[:, 1:-1] = (bars - np.arange(nodes - 1)) / parts
        cumulated[:, -1] = 1.0
        able = ~((np.diff(cumulated, axis=1) > 0) & ~tables.able).any(axis=1)
        self._cumulated = cumulated[able]
        self._whole = (np.diff(self._cumulated, axis=1) > 0).sum(axis=1) == 1

    def _bounds(self, cut: int) -> Index:
        return np.rint(self._cumulated * self._tables.heights[cut]).astype(np.int64)

    def _send_ms(self, cut: int, held: Index, top: Index, bottom: Index) -> Array:
        """Return [P, R] the time of all transfers from states with bounds ``held`` to those that need these rows."""
        tables = self._tables
        bytes_ms = tables.encodings.row_bytes[cut, 0] * tables.byte_ms
        slowest_ms = np.zeros((len(held), len(top)))
        for holder in range(len(tables.nodes)):
            total_ms = np.zeros_like(slowest_ms)
            for reader in range(len(tables.nodes)):
                if reader == holder:
                    continue
                low = np.maximum(held[:, holder, None], top[:, reader])
                rows = np.maximum(0, np.minimum(held[:, holder + 1, None], bottom[:, reader]) - low)
                own_ms = np.where(rows > 0, tables.latency_ms[holder, reader] + rows * bytes_ms[holder, reader], 0.0)
                total_ms = np.maximum(total_ms, own_ms) if tables.separate[holder] else total_ms + own_ms
            slowest_ms = np.maximum(slowest_ms, total_ms)
        return slowest_ms

    def _stage(self, start: int, stop: int) -> tuple[Array, Index, Index]:
        """Return [R] the time of a stage's slowest tile, inf where it cannot be split, and [R, D] the rows it needs."""
        tables = self._tables
        maps, first, bounds = tables.segment(start, stop), tables.units[start].start, self._bounds(stop)
        top, bottom = maps.tops[:, bounds[:, :-1]], maps.bottoms[:, bounds[:, 1:]]
        here = bounds[:, 1:] > bounds[:, :-1]
        whole = (here.sum(axis=1) == 1)[:, None] & here
        blocks = first + np.arange(len(top) - 1)
        rows = np.where(whole, tables.block_rows[blocks][:, None, None], (bottom[1:] - top[1:]) * here)
        times_ms = tables.time_ms[blocks[:, None, None], np.arange(len(tables.nodes)), rows].sum(axis=0)
        compute_ms = np.where(here, times_ms + tables.overhead_ms, 0.0).max(axis=1)
        if not all(unit.tileable for unit in tables.units[start:stop]):
            compute_ms = np.where(self._whole, compute_ms, np.inf)
        needed = np.where(whole, tables.heights[start], np.where(here, bottom[0], 0))
        return compute_ms, np.where(here & ~whole, top[0], 0), needed

    def best(self) -> tuple[float, TiledChain]:
        """Return the least latency in lockstep, and its chain."""
        tables, units = self._tables, len(self._tables.units)
        nodes, count = len(tables.nodes), len(self._cumulated)
        source = np.zeros((1, nodes + 1), dtype=np.int64)
        source[0, tables.source + 1 :] = tables.heights[0]
        least_ms = np.full((units + 1, count), np.inf)
        origin = np.zeros((units + 1, count, 2), dtype=np.int64)
        for stop in range(1, units + 1):
            for start in range(stop):
                compute_ms, top, bottom = self._stage(start, stop)
                usable = np.flatnonzero(np.isfinite(compute_ms))
                held = self._bounds(start) if start else source
                before_ms = least_ms[start] if start else np.zeros(1)
                sends_ms = self._send_ms(start, held, top[usable], bottom[usable])
                options = before_ms[:, None] + sends_ms + compute_ms[usable]
                place = options.argmin(axis=0)
                values = options[place, np.arange(len(usable))]
                better = values < least_ms[stop, usable]
                least_ms[stop, usable[better]] = values[better]
                origin[stop, usable[better]] = np.column_stack([np.full(len(usable), start), place])[better]
        ends_ms = least_ms[units]
        if tables.sink >= 0:
            takes = np.arange(nodes)[None] == tables.sink
            gather_ms = self._send_ms(
                units, self._bounds(units), np.zeros((1, nodes), dtype=np.int64), takes * tables.heights[-1]
            )
            ends_ms = ends_ms + gather_ms[:, 0]
        state = int(ends_ms.argmin())
        return float(ends_ms[state]), self._chain(origin, state)

    def _chain(self, origin: Index, state: int) -> TiledChain:
        stops: list[int] = []
        bounds: list[Index] = []
        cut = len(self._tables.units)
        while cut > 0:
            stops.insert(0, cut)
            bounds.insert(0, self._bounds(cut)[state])
            cut, state = (int(each) for each in origin[cut, state])
        return TiledChain(
            np.arange(len(self._tables.nodes)), np.array(stops), np.array(bounds), np.zeros(len(stops), dtype=np.int64)
        )
