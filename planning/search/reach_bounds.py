"""Lower bound of the latency of all plans, with tiles or without, that counts the time to reach a device.

A device computes only after something has reached it from the source, at least one row of some tensor. What it has
computed counts only after something has left it. So a device d that is reached at r(d), and from which the end is
reached in q(d), has T - r(d) - q(d) ms for its work and the start of its segment if the whole takes T. For weights
w(d) >= 0 the work of all devices is at least V = sum over blocks of min over d of w(d) t(d), where t(d) is the time of
a block. So T is at least the least T with

    sum over d of w(d) max(0, T - r(d) - q(d) - start(d)) >= V.

Blocks without row data run whole, one after the other. Between them the bound holds for every run of other blocks, from
the device of the block before it to that of the block behind it. A dynamic programme over these devices adds them up.
"""

from collections.abc import Sequence

import numpy as np

from planning.problem.crossings import encodings
from planning.problem.problem import Model, Problem, Stream, link_table
from planning.search.arrays import Array
from planning.tiles.rows import UntileableError, rows_at
from shared.link_time import transmission_ms

# Largest number of devices.
MOST_DEVICES = 40


def least_level(offsets: Array, weights: Array, work: float) -> float:
    """Return the least T with sum of weights x max(0, T - offsets) >= work; inf if only infinite offsets are left."""
    if work <= 0:
        return float(offsets.min(initial=np.inf)) if len(offsets) else np.inf
    order = np.argsort(offsets, kind="stable")
    starts, slopes = offsets[order], np.cumsum(weights[order])
    done = np.cumsum(weights[order] * np.where(np.isfinite(starts), starts, 0.0))
    levels = (work + done) / np.maximum(slopes, 1e-300)
    # With the first k devices T is levels[k]; it is right as long as the next one begins later.
    nexts = np.append(starts[1:], np.inf)
    fits = np.isfinite(starts) & (levels <= nexts)
    return float(levels[fits][0]) if fits.any() else float("inf")


def reach_bound(
    problem: Problem,
    stream: Stream,
    devices: Sequence[str],
    share_ms: Array,
    needed: Array,
    runs: Sequence[tuple[int, int]],
) -> float:
    """Return a lower bound of the latency of one request, in ms; 0 for branching models and large networks.

    Args:
        problem: the problem.
        stream: one of its streams.
        devices: [D] the devices that may compute.
        share_ms: [D, B] least time of a block by share of its rows.
        needed: [B] the share of a block's rows that the end of its run depends on.
        runs: ``(start, stop)`` of every block that runs whole, and of every longest run of others.
    """
    model = problem.models[stream.model]
    if model.edges is not None or len(devices) > MOST_DEVICES:
        return 0.0
    return _Reach(problem, stream, devices, share_ms, needed).bound(runs)


class _Reach:
    """The dynamic programme; nodes are the devices that may compute, the source and the sink."""

    def __init__(
        self, problem: Problem, stream: Stream, devices: Sequence[str], share_ms: Array, needed: Array
    ) -> None:
        ends = [stream.source] if stream.sink is None else [stream.source, stream.sink]
        self._nodes = list(dict.fromkeys([*devices, *ends]))
        self._model, self._share_ms, self._needed = problem.models[stream.model], share_ms, needed
        self._source = self._nodes.index(stream.source)
        self._sink = None if stream.sink is None else self._nodes.index(stream.sink)
        self._start_ms = np.array(
            [problem.devices[name].slowdown * problem.devices[name].segment_overhead_ms for name in devices]
        )
        count = len(self._nodes)
        self._latency_ms, self._byte_ms = np.full((count, count), np.inf), np.zeros((count, count))
        for (sender, receiver), link in link_table(problem.links).items():
            if sender in self._nodes and receiver in self._nodes:
                ends_at = self._nodes.index(sender), self._nodes.index(receiver)
                self._latency_ms[ends_at] = link.latency_ms
                self._byte_ms[ends_at] = transmission_ms(1.0, link.bandwidth_mbps)
        np.fill_diagonal(self._latency_ms, 0.0)

    def bound(self, runs: Sequence[tuple[int, int]]) -> float:
        """Return the bound for the whole model."""
        count = len(self._share_ms)
        at_ms = np.full(len(self._nodes), np.inf)
        at_ms[self._source] = 0.0
        before_whole = True
        for start, stop in runs:
            first = start == 0
            if self._is_whole(start):
                # From a block that ran whole the tensor moves whole, over one link; of tiles the rows are there.
                moves_ms = self._latency_ms + least_bytes(self._model, start, whole=True) * self._byte_ms
                ready_ms = (at_ms[:, None] + moves_ms).min(axis=0) if before_whole else at_ms
                at_ms = np.full(len(self._nodes), np.inf)
                at_ms[:count] = ready_ms[:count] + self._share_ms[:, start] + (self._start_ms if first else 0.0)
                before_whole = True
            else:
                is_last = stop == self._share_ms.shape[1]
                at_ms = self._after_run(at_ms, start, stop, first, is_last)
                before_whole = False
        if self._sink is None or not before_whole:
            return float(at_ms.min())
        size_bytes = least_bytes(self._model, self._share_ms.shape[1], whole=True)
        return float((at_ms + self._latency_ms[:, self._sink] + size_bytes * self._byte_ms[:, self._sink]).min())

    def _is_whole(self, block: int) -> bool:
        return self._model.blocks[block].rows is None

    def _after_run(self, at_ms: Array, start: int, stop: int, first: bool, is_last: bool) -> Array:
        """Return [nodes] the least time at which each node has what it needs of a run's output."""
        count = len(self._share_ms)
        row_bytes = min(least_bytes(self._model, cut, whole=False) for cut in range(start, stop + 1))
        reach_ms = _shortest(self._latency_ms + row_bytes * self._byte_ms)
        times_ms = self._share_ms[:, start:stop] * self._needed[start:stop]
        totals_ms = np.maximum(times_ms.sum(axis=1), 1e-300)
        ends = [None] if is_last and self._sink is None else [self._sink] if is_last else range(len(self._nodes))
        after_ms = np.full(len(self._nodes), np.inf)
        for end in ends:
            leave_ms = np.zeros(count) if end is None else reach_ms[:count, end]
            for begin in np.flatnonzero(np.isfinite(at_ms)).tolist():
                # A device that goes on after the block before may do so within one segment; any other one starts.
                goes_on = (np.arange(count) == begin) & (not first)
                offsets = reach_ms[begin, :count] + leave_ms + np.where(goes_on, 0.0, self._start_ms)
                best_ms = 0.0
                for weights in (1 / totals_ms, np.ones(count)):
                    work = float((times_ms * weights[:, None]).min(axis=0).sum())
                    best_ms = max(best_ms, least_level(offsets, weights, work))
                place = begin if end is None else end
                after_ms[place] = min(after_ms[place], float(at_ms[begin]) + best_ms)
        return after_ms


def least_bytes(model: Model, cut: int, *, whole: bool) -> float:
    """Return the fewest bytes of what crosses ``cut``, or of one row of it, in any encoding."""
    height = 1
    if not whole:
        try:
            height = rows_at(model, cut)
        except UntileableError:
            height = 1
    sizes = [each.size_bytes / height for each in encodings(model, cut)]
    rows = model.blocks[cut - 1].rows if cut else None
    if not whole and rows is not None and rows.bytes_per_row is not None:
        sizes.append(rows.bytes_per_row)
    return min(sizes)


def _shortest(direct_ms: Array) -> Array:
    """Return the least time between every two nodes, over any others (Floyd, 1962)."""
    least_ms = direct_ms.copy()
    for over in range(len(least_ms)):
        least_ms = np.minimum(least_ms, least_ms[:, over : over + 1] + least_ms[over])
    return least_ms
