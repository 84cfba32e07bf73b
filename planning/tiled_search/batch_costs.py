"""Costs of many plans with tiles at once: the simulation of one request, in arrays.

It computes what `CostModel` computes for every route, up to the order in which numbers are added. The queues of a
device serve stage after stage. Where the rows of a later stage arrive at a device before those of an earlier one, the
simulation would serve the later stage first. Such plans are not computed, and cost inf.

Shapes: N plans, S stages, D nodes (in the order of each plan), U units. Inside, N is the last axis, which is the
longest: tiles are [S, D, N], transfers [holder, reader, N].
"""

from dataclasses import dataclass

import numpy as np

from planning.search.arrays import Array, Flags, Index
from planning.tiled_search.plan_batch import PlanBatch
from planning.tiled_search.tile_tables import TileTables


@dataclass(frozen=True, slots=True, eq=False)
class BatchCosts:
    """Costs of N plans.

    Attributes:
        latency_ms: [N] of a request alone; inf for a plan that breaks a constraint other than memory, or needs a link
            that there is not.
        end_ms: [S, D, N] when each tile ends; 0 where a node has none.
        tile_ms: [S, D, N] how long each tile computes.
        memory_excess: [N] the largest share by which a device's memory is exceeded; 0 if all plans fit.
        devices: [N] number of devices that compute.
        loads: the figures of work; None if they were not asked for.
    """

    latency_ms: Array
    end_ms: Array
    tile_ms: Array
    memory_excess: Array
    devices: Index
    loads: "BatchLoads | None"

    @property
    def ready_ms(self) -> Array:
        """[N] mean over the stages of the mean time at which their tiles end: less of it is more slack."""
        alive = self.tile_ms > 0
        means_ms = self.end_ms.sum(axis=1) / np.maximum(1, alive.sum(axis=1))
        mean_ms: Array = means_ms.sum(axis=0) / np.maximum(1, alive.any(axis=1).sum(axis=0))
        return mean_ms


@dataclass(frozen=True, slots=True, eq=False)
class BatchLoads:
    """Work of N plans.

    Attributes:
        bottleneck_ms: [N] the largest busy time of a processor or a sending.
        energy_j: [N] energy above idling.
        off_source_blocks: [N] blocks that run off the source; of a split stage the share of its rows.
    """

    bottleneck_ms: Array
    energy_j: Array
    off_source_blocks: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Stages:
    """What the stages of N plans compute and need.

    Attributes:
        alive: [S, D, N] whether a node computes; False beyond a plan's own stages.
        tops, bottoms: [S, D, N] rows of the stage's input that each tile needs.
        compute_ms: [S, D, N] time of each tile, without encodings.
        memory: [D, N] bytes that each node needs.
    """

    alive: Flags
    tops: Array
    bottoms: Array
    compute_ms: Array
    memory: Array


@dataclass(slots=True, eq=False)
class _Sending:
    """The sendings of all nodes: when each is free, and for how long it was busy.

    Attributes:
        separate: [D, 1, 1 or N] whether a node's links are free apart from each other.
        free_ms, busy_ms: [D, D, N] by holder and reader; [D, 1, N] if no node has separate links.
    """

    separate: Flags
    free_ms: Array
    busy_ms: Array

    @classmethod
    def idle(cls, count: int, separate: Flags) -> "_Sending":
        nodes = len(separate)
        shape = nodes, nodes if separate.any() else 1, count
        return cls(separate[:, None, :], np.zeros(shape), np.zeros(shape))

    def send(self, time_ms: Array, ready_ms: Array) -> Array:
        """Send rows that are ready at ``ready_ms`` [D, N]; return [D, D, N] when they arrive.

        ``time_ms`` is [D, D, N], 0 where nothing is sent. A node sends in the order of the readers.
        """
        begin_ms = np.maximum(self.free_ms, ready_ms[:, None, :])
        in_turn_ms = np.cumsum(time_ms, axis=1)
        sums_ms = in_turn_ms[:, -1:]
        if self.free_ms.shape[1] == 1:
            self.busy_ms += sums_ms
            in_turn_ms += begin_ms
            self.free_ms = in_turn_ms[:, -1:]
            return in_turn_ms
        apart_ms = begin_ms + time_ms
        self.busy_ms = self.busy_ms + np.where(self.separate, time_ms, sums_ms)
        in_turn_ms = in_turn_ms + begin_ms
        self.free_ms = np.where(self.separate, apart_ms, in_turn_ms[:, -1:])
        return np.where(self.separate, apart_ms, in_turn_ms)


def batch_costs(tables: TileTables, batch: PlanBatch, *, with_loads: bool = True) -> BatchCosts:
    """Return the costs of every plan of a batch."""
    return _Evaluation(tables, batch).costs(with_loads)


class _Evaluation:
    """One batch; see the module."""

    def __init__(self, tables: TileTables, batch: PlanBatch) -> None:
        self._tables, self._batch = tables, batch
        self._plans, self._count = batch.stops.shape
        # Plans of one order share the gathered arrays.
        same = bool((batch.order == batch.order[0]).all())
        order = batch.order[:1].T if same else batch.order.T
        # [D, 1 or N]
        self._order: Index = order
        self._latency_ms = tables.latency_ms[order[:, None], order[None, :]]
        self._byte_ms = tables.byte_ms[order[:, None], order[None, :]]
        self._starts = np.zeros_like(batch.stops)
        self._starts[:, 1:] = batch.stops[:, :-1]
        # [S, N] whether a stage is one of the plan's own.
        self._real = (batch.stops > self._starts).T
        self._ends = np.append(0, [unit.stop for unit in tables.units])
        # [S, D + 1, N]
        self._bounds = np.ascontiguousarray(batch.bounds.transpose(1, 2, 0))
        self._tall = self._bounds[:, 1:] > self._bounds[:, :-1]
        self._split = self._tall.sum(axis=1) > 1
        self._stages = self._computed()

    def costs(self, with_loads: bool) -> BatchCosts:
        """Return the costs of every plan."""
        tables, stages = self._tables, self._stages
        shape = len(tables.nodes), self._plans
        shares = [self._rows(place) for place in range(self._count + 1)]
        sending = _Sending.idle(self._plans, tables.separate[self._order])
        free_ms, last_ms, ready_ms = np.zeros((3, *shape))
        latest_ms, sending_mj = np.zeros((2, self._plans))
        end_ms, tile_ms = np.zeros((2, self._count, *shape))
        in_order = np.ones(self._plans, dtype=bool)
        send_w = tables.send_w[self._order[:, None], self._order[None, :]]
        arrived_ms, rows = ready_ms, shares[0]
        for place, rows in enumerate(shares):
            sent = rows > 0
            own = np.einsum("iin->in", sent).copy()
            np.einsum("iin->in", sent)[:] = False
            np.einsum("iin->in", rows)[:] = 0.0
            time_ms = np.where(sent, self._latency_ms + rows * self._row_bytes(place) * self._byte_ms, 0.0)
            arrivals_ms = sending.send(time_ms, ready_ms)
            if with_loads:
                # A link that there is not takes forever, whatever its power.
                sending_mj += (np.where(np.isfinite(time_ms), time_ms, 0.0) * send_w).sum(axis=(0, 1))
            arrived_ms = np.where(sent, arrivals_ms, 0.0).max(axis=0)
            latest_ms = np.maximum(latest_ms, arrived_ms.max(axis=0))
            arrived_ms = np.maximum(arrived_ms, np.where(own, ready_ms, 0.0))
            if place == self._count:
                break
            alive = stages.alive[place]
            compute_ms = stages.compute_ms[place] + self._coding_ms(place, rows, shares)
            tile_ms[place] = np.where(alive, compute_ms, 0.0)
            in_order &= ~(alive & (arrived_ms < last_ms)).any(axis=0)
            last_ms = np.where(alive, arrived_ms, last_ms)
            end_ms[place] = np.where(alive, np.maximum(arrived_ms, free_ms) + compute_ms, 0.0)
            free_ms = np.where(alive, end_ms[place], free_ms)
            ready_ms = np.where(self._real[place], end_ms[place], ready_ms)
        decode_ms = np.zeros(shape)
        latest_ms = np.maximum(latest_ms, free_ms.max(axis=0))
        if tables.sink >= 0:
            at_sink = self._order == tables.sink
            decode_ms = np.where(at_sink, self._decoding_ms(rows), 0.0)
            begin_ms = np.where(at_sink, np.maximum(arrived_ms, free_ms), 0.0)
            latest_ms = np.maximum(latest_ms, (begin_ms + decode_ms).max(axis=0))
        computes: Flags = np.any(stages.alive, axis=0)
        return BatchCosts(
            latency_ms=np.where(in_order & self._allowed(computes), latest_ms, np.inf),
            end_ms=end_ms,
            tile_ms=tile_ms,
            memory_excess=self._excess(),
            devices=computes.sum(axis=0),
            loads=self._loads(tile_ms.sum(axis=0) + decode_ms, sending, sending_mj) if with_loads else None,
        )

    def _computed(self) -> _Stages:
        """Return what all tiles compute, segment by segment over the stages of all plans."""
        tables, batch = self._tables, self._batch
        shape = self._count, len(tables.nodes), self._plans
        alive = self._tall & self._real[:, None, :]
        tops, bottoms = np.zeros((2, *shape))
        split_ms = np.where(self._split[:, None, :], tables.tile_overhead_ms[self._order], 0.0)
        compute_ms = np.where(alive, tables.overhead_ms[self._order] + split_ms, 0.0)
        limited = bool(np.isfinite(tables.memory_bytes).any())
        parameters, working = np.zeros((2, *shape[1:]))
        wide = tables.time_ms.shape[2]
        times_ms, node_offset = tables.time_ms.ravel(), self._order * wide
        codes = np.where(self._real, (self._starts * (len(tables.units) + 1) + batch.stops).T, -1)
        for code in np.unique(codes[codes >= 0]).tolist():
            start, stop = divmod(code, len(tables.units) + 1)
            maps, first = tables.segment(start, stop), tables.units[start].start
            # Per stage, so that the plans are contiguous.
            for stage in np.flatnonzero((codes == code).any(axis=1)).tolist():
                plan = np.flatnonzero(codes[stage] == code)
                here, bounds = alive[stage][:, plan], self._bounds[stage][:, plan]
                # [blocks + 1, D, pairs]: of the segment's input, then of every block.
                top, bottom = maps.tops[:, bounds[:-1]], maps.bottoms[:, bounds[1:]]
                # A stage that is not split computes and needs every row, also those that no later row depends on.
                whole = here & ~self._split[stage, plan]
                tops[stage][:, plan] = np.where(here & ~whole, top[0], 0)
                bottoms[stage][:, plan] = np.where(whole, tables.heights[start], np.where(here, bottom[0], 0))
                rows = (bottom[1:] - top[1:]) * here
                if whole.any():
                    rows = np.where(whole, tables.block_rows[first : first + len(rows), None, None], rows)
                offset = node_offset if node_offset.shape[1] == 1 else node_offset[:, plan]
                block_offset = (first + np.arange(len(rows))) * (len(tables.nodes) * wide)
                compute_ms[stage][:, plan] += times_ms[rows + block_offset[:, None, None] + offset].sum(axis=0)
                if limited:
                    parameters[:, plan] += here * tables.parameter_bytes[start:stop].sum()
                    most = (rows * tables.working_bytes[first : first + len(rows), None, None]).max(axis=0)
                    working[:, plan] = np.maximum(working[:, plan], most)
        return _Stages(alive, tops, bottoms, compute_ms, parameters + working)

    def _rows(self, place: int) -> Array:
        """Return [D, D, N] the rows that pass from holders to readers before a stage, or to the sink."""
        tables, stages = self._tables, self._stages
        if place == 0:
            held_bottom = np.where(self._order == tables.source, float(tables.heights[0]), 0.0)
            held_top = np.zeros_like(held_bottom)
        else:
            held_top, held_bottom = self._bounds[place - 1, :-1], self._bounds[place - 1, 1:]
        if place == self._count:
            bottom = np.where(self._order == tables.sink, float(tables.heights[-1]), 0.0)
            bottom = np.broadcast_to(bottom, (len(bottom), self._plans))
            top = np.zeros_like(bottom)
        else:
            top, bottom = stages.tops[place], stages.bottoms[place]
        rows: Array = np.minimum(held_bottom[:, None], bottom) - np.maximum(held_top[:, None], top)
        np.maximum(rows, 0.0, out=rows)
        if 0 < place < self._count and not self._real[place].all():
            rows *= self._real[place]
        return rows

    def _per_row(self, place: int, values: Array) -> Array:
        """Return [1 or N] the value of the encoding that is used before a stage; ``values`` are [U + 1, C]."""
        batch = self._batch
        if place == 0:
            return values[:1, 0]
        cuts = self._starts[:, place] if place < self._count else batch.stops[:, -1]
        return values[cuts, batch.codecs[:, place - 1]]

    def _row_bytes(self, place: int) -> Array:
        encodings = self._tables.encodings
        row_bytes = self._per_row(place, encodings.row_bytes)
        # Between two stages that are not split the tensor passes whole.
        before = self._split[place - 1] if place else False
        after = self._split[place] if place < self._count else False
        return np.where(before | after, row_bytes, self._per_row(place, encodings.whole_bytes))

    def _coding_ms(self, place: int, before: Array, shares: list[Array]) -> Array | float:
        """Return [D, N] the time of decoding what arrives before a stage, and of encoding what it sends."""
        encodings = self._tables.encodings
        if not encodings.take_time:
            # Nothing to add up.
            return 0.0
        # After a plan's last stage, rows pass to the sink.
        after = shares[self._count]
        if place + 1 < self._count:
            after = np.where(self._real[place + 1], shares[place + 1], after)
        away = ~np.eye(len(after), dtype=bool)[:, :, None]
        decode_ms = self._per_row(place, encodings.decode_ms) * before.sum(axis=0)
        encode_ms = self._per_row(place + 1, encodings.encode_ms) * (after * away).sum(axis=1)
        coding_ms: Array = (decode_ms + encode_ms) * self._tables.codec_factor[self._order]
        return coding_ms

    def _decoding_ms(self, rows: Array) -> Array:
        """Return [N] the time of decoding the results at the sink."""
        tables = self._tables
        if not tables.encodings.take_time:
            return np.zeros(self._plans)
        per_row_ms = self._per_row(self._count, tables.encodings.decode_ms)
        decoding_ms: Array = per_row_ms * rows.sum(axis=(0, 1)) * tables.codec_factor[tables.sink]
        return decoding_ms

    def _allowed(self, computes: Flags) -> Flags:
        """Return [N] whether only devices that may compute a block do."""
        tables = self._tables
        most = tables.most_blocks[self._order]
        stops = self._ends[self._batch.stops].T
        too_far = (self._stages.alive & (stops[:, None, :] > most)).any(axis=(0, 1))
        broken = (computes & ~tables.able[self._order]).any(axis=0) | too_far
        if tables.input_stays:
            broken |= (self._stages.alive[0] & (self._order != tables.source)).any(axis=0)
        return np.logical_not(broken)

    def _loads(self, busy_ms: Array, sending: _Sending, sending_mj: Array) -> BatchLoads:
        """Return the figures of work; ``busy_ms`` [D, N] is the time of computing."""
        tables = self._tables
        blocks = (self._ends[self._batch.stops] - self._ends[self._starts]).T
        own = np.where(self._order == tables.source, np.diff(self._bounds, axis=1), 0).sum(axis=1)
        away = blocks * (1 - own / np.maximum(1, self._bounds[:, -1])) * self._real
        return BatchLoads(
            bottleneck_ms=np.maximum(busy_ms.max(axis=0), sending.busy_ms.max(axis=(0, 1))),
            energy_j=(sending_mj + (busy_ms * tables.compute_w[self._order]).sum(axis=0)) / 1000,
            off_source_blocks=away.sum(axis=0),
        )

    def _excess(self) -> Array:
        limits, need = self._tables.memory_bytes[self._order], self._stages.memory
        # A device without any memory that computes exceeds it by as many times as its need has bytes.
        excess: Array = np.where(np.isfinite(limits), need / np.maximum(limits, 1.0) - 1, 0.0).max(axis=0)
        return np.maximum(0.0, excess)
