"""The linear model of computing and networks that published strategies with tiles assume.

A device computes at one speed, FLOP/s over the whole model, and a link needs a time in proportion to bytes. What a
strategy chooses by this model is then predicted by the cost model, with measured row times and latencies.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np

from planning.problem.problem import Problem
from planning.search.arrays import Array, Index
from planning.search.spatial_group import RowUnit, SpatialGroup
from planning.search.volume_routes import Volume
from planning.tiles.rows import rows_at, tile_rows
from shared.row_ranges import NOTHING, RowRange

# From the number of rows of a volume's output to one range per provider.
RowDivision = Callable[[int], Sequence[RowRange]]


class LinearCosts:
    """Times of rows in the linear model of one group, in ms."""

    def __init__(self, group: SpatialGroup) -> None:
        """Measure the blocks' work and the links of ``group``."""
        self.group = group
        self.work = work_shares(group.network.problem, group.stream.model)
        # The source is the row and column behind the providers, and the sink the one behind it.
        ends = (group.stream.source, group.stream.sink or group.gateway)
        nodes = (*group.providers, *ends)
        _, per_byte_ms = group.network.matrices(tuple(dict.fromkeys(nodes)))
        places = {name: place for place, name in enumerate(dict.fromkeys(nodes))}
        index = [places[name] for name in nodes]
        self.per_byte_ms: Array = per_byte_ms[np.ix_(index, index)]

    def row_bytes(self, cut: int) -> float:
        """Return the bytes of one row of the tensor that crosses ``cut``."""
        model = self.group.model
        if cut == 0:
            return model.input_bytes / rows_at(model, 0)
        block = model.blocks[cut - 1]
        if block.rows is not None and block.rows.bytes_per_row is not None:
            return block.rows.bytes_per_row
        return block.output_bytes / rows_at(model, cut)

    def tile_work(self, start: int, computed: Sequence[RowRange]) -> list[float]:
        """Return the share of the model's work in the computed rows of each block from ``start`` on; [blocks]."""
        shares = []
        for index, (top, bottom) in enumerate(computed, start):
            rows = self.group.model.blocks[index].rows
            shares.append(self.work[index] * ((bottom - top) / rows.output_rows if rows else 1.0))
        return shares

    def work_from(self, start: int, computed: Sequence[RowRange]) -> list[float]:
        """Return `tile_work` of each block and all blocks behind it together; [blocks]."""
        return list(accumulate(reversed(self.tile_work(start, computed))))[::-1]

    def receive_ms(self, needed: Index, holders: Sequence[int], held: Index, row_bytes: float) -> Array:
        """Return the times in which providers receive the rows that they need and do not hold, one after the other.

        Args:
            needed: [K, 2] the rows that each provider needs.
            holders: [H] places of those that hold rows; a provider's own are there already.
            held: [H, 2] the rows of each.
            row_bytes: size of a row.
        """
        tops = np.maximum(needed[:, :1], held[None, :, 0])
        rows = np.maximum(np.minimum(needed[:, 1:], held[None, :, 1]) - tops, 0)
        times: Array = (rows * self.per_byte_ms[list(holders), : len(needed)].T).sum(axis=1) * row_bytes
        return times

    def quickest_volumes(self, units: Sequence[RowUnit], divide: RowDivision) -> list[Volume]:
        """Return the partition of a stretch into volumes that takes the least time; O(U^2 K) beside the tiles' rows.

        Volumes follow each other in lockstep: each takes as long as its slowest provider receives and computes. The sum
        of such times is least by dynamic programming over the borders, which finds what a search of all 2^(U-1)
        partitions finds (AOFL).
        """
        times = self.volume_times(units, divide)
        times[:, -1] += self.gather_ms(units[-1], divide)
        best: list[tuple[float, int]] = [(0.0, 0)]
        for stop in range(1, len(units) + 1):
            best.append(min((best[start][0] + times[start, stop - 1], start) for start in range(stop)))
        borders = [len(units)]
        while borders[-1]:
            borders.append(best[borders[-1]][1])
        return [
            Volume(units[start].start, units[stop - 1].stop, tuple(divide(units[stop - 1].rows or 0)))
            for stop, start in zip(borders[-2::-1], borders[:0:-1], strict=True)
        ]

    def gather_ms(self, unit: RowUnit, divide: RowDivision) -> float:
        """Return the time in which the rows behind a volume are gathered, from all providers at once.

        They go to the provider with the most rows, or to the sink if the model ends there.
        """
        at_sink = unit.stop == len(self.group.model.blocks)
        if at_sink and self.group.stream.sink is None:
            return 0.0
        sizes = [bottom - top for top, bottom in divide(unit.rows or 0)]
        reader = len(sizes) + 1 if at_sink else sizes.index(max(sizes))
        sent = [rows * float(self.per_byte_ms[place, reader]) for place, rows in enumerate(sizes)]
        return max(sent) * self.row_bytes(unit.stop)

    def volume_times(self, units: Sequence[RowUnit], divide: RowDivision) -> Array:
        """Return [U, U]: the time of the volume from one unit to another, both included; inf below the diagonal.

        The first unit's input is scattered from the device that holds it.
        """
        count, model, first = len(units), self.group.model, units[0].start
        times = np.full((count, count), np.inf)
        # The rows that a tile needs at a cut within the volume are those it computes of the block before the cut, so
        # that one propagation from the end serves all volumes with this end.
        held = [self._held(units, start, divide) for start in range(count)]
        speeds = np.array(self.group.whole_ms)
        for stop, unit in enumerate(units):
            tiles = [tile_rows(model, first, unit.stop, rows) for rows in divide(unit.rows or 0)]
            work = np.array([self.work_from(first, tile.computed) for tile in tiles])
            for start in range(stop + 1):
                cut = units[start].start
                needed = np.array([tile.computed[cut - first - 1] if start else tile.needed for tile in tiles])
                received = self.receive_ms(needed, *held[start], self.row_bytes(cut))
                times[start, stop] = (received + speeds * work[:, cut - first]).max()
        return times

    def _held(self, units: Sequence[RowUnit], start: int, divide: RowDivision) -> tuple[Sequence[int], Index]:
        """Return the holders of the rows before a unit, and the rows of each, [H, 2]."""
        cut, group = units[start].start, self.group
        if start:
            return range(len(group.providers)), np.array(divide(units[start - 1].rows or 0))
        holder = len(group.providers) if cut == 0 else group.providers.index(group.gateway)
        return [holder], np.array([(0, rows_at(group.model, cut))])


def work_shares(problem: Problem, name: str) -> list[float]:
    """Return every block's share of a model's work: of its FLOPs, or of the devices' times if these are unknown."""
    blocks = problem.models[name].blocks
    work = np.array([block.flops for block in blocks], dtype=np.float64)
    if work.sum() <= 0:
        times = [device.block_ms[name] for device in problem.devices.values() if name in device.block_ms]
        work = np.array(times, dtype=np.float64).sum(axis=0)
    total = work.sum()
    return [float(each) for each in (work / total if total > 0 else np.full(len(blocks), 1 / len(blocks)))]


def halo_rows(group: SpatialGroup, unit: RowUnit) -> tuple[int, int]:
    """Return the rows of a unit's input that a tile needs above and below its own share of them.

    Its own share is in proportion to the rows of the output. The rows are those at the middle of the output.
    """
    height, rows = rows_at(group.model, unit.start), unit.rows or 0
    middle = rows // 2
    if middle == 0:
        return NOTHING
    border = middle * height // rows
    lower = tile_rows(group.model, unit.start, unit.stop, (middle, rows)).needed
    upper = tile_rows(group.model, unit.start, unit.stop, (0, middle)).needed
    return max(0, border - lower[0]), max(0, upper[1] - border)
