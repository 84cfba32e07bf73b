"""Best-first search for the largest throughput: the busiest device or sender per request decides.

Revisits are part of the search space, so a device's busy time is summed over all its segments, as the definition of
throughput says. That makes the problem NP-hard (it contains scheduling on unrelated machines); the search is exact when
it ends, and otherwise returns the best plan of a beam together with the least bound that is still open.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from math import inf, isfinite
from operator import mul

import numpy as np

from services.planner.strategies.bottleneck_polish import polish
from services.planner.strategies.chain_path import Path, cost_to_go
from services.planner.strategies.frontier import Frontier
from services.planner.strategies.label_search import BEAM_WIDTH, Found, Limits
from services.planner.strategies.tables import Array, Measure, Tables, busy_measure
from shared.plan.pipeline import Work

POLISHED = 6
"""How many routes of the beam are improved by local search."""


@dataclass(frozen=True, slots=True)
class _Label:
    """A partial route. ``busy`` holds computing of every node, then sending of every node, in ms per request."""

    done: int
    node: int
    worst_ms: float
    latency_ms: float
    used: int
    busy: tuple[float, ...]
    memory: tuple[float, ...]
    parent: "_Label | None"
    codec: int


def search_bottleneck(
    tables: Tables,
    latency: Measure,
    late_togo: Array,
    limits: Limits,
    busy: tuple[float, ...] | None = None,
    weights: Mapping[tuple[str, Work], float] | None = None,
) -> Found:
    """Return the path with the least bottleneck, in ms per request, within ``limits``.

    Args:
        tables: the stream's arrays.
        latency: its latency measure.
        late_togo: [B + 1, D] latency to go.
        limits: side constraints; the label limit ends the search early.
        busy: [2 D] busy times that other streams already cause.
        weights: multipliers of the busy times that add up to 1 (from the best fractional mix of routes); the weighted
            sum of busy times plus the cheapest weighted rest bounds the bottleneck.
    """
    return _Search(tables, latency, late_togo, limits, busy, weights or {}).run()


class _Search:
    """The state of one search."""

    def __init__(
        self,
        tables: Tables,
        latency: Measure,
        late_togo: Array,
        limits: Limits,
        busy: tuple[float, ...] | None,
        weights: Mapping[tuple[str, Work], float],
    ) -> None:
        self._tables, self._latency, self._late, self._limits = tables, latency, late_togo, limits
        self._nodes, self._blocks = tables.run_ms.shape
        self._weight = float(tables.stream.jobs) if busy is not None else 1.0
        self._busy = busy or (0.0,) * (2 * self._nodes)
        self._togo = self._bottleneck_to_go()
        computing = np.array([weights.get((name, Work.COMPUTE), 0.0) for name in tables.nodes])
        sending = np.array([weights.get((name, Work.SEND), 0.0) for name in tables.nodes])
        self._weights = (*computing.tolist(), *sending.tolist())
        self._weighted = self._weight * cost_to_go(busy_measure(tables, computing, sending))
        least = np.where(np.isfinite(tables.run_ms), tables.run_ms, np.inf).min(axis=0)
        self._work_left: list[float] = [*(self._weight * np.cumsum(least[::-1])[::-1]).tolist(), 0.0, 0.0]
        self._workers: list[int] = np.flatnonzero(np.isfinite(tables.run_ms).any(axis=1)).tolist()
        self._kept: dict[tuple[int, int], Frontier] = {}
        self._ticket = count()

    def run(self) -> Found:
        starts = [_path(label) for label in self._beam()]
        polished = [polish(self._tables, path, self._limits, self._busy, self._weight) for path in starts]
        best = min(polished, key=lambda path: path.cost, default=None)
        roof = inf if best is None else best.cost
        heap = [(self._bound(label), -label.done, next(self._ticket), label) for label in self._starts()]
        heapq.heapify(heap)
        settled = 0
        while heap:
            bound, _, _, label = heapq.heappop(heap)
            if bound >= roof:
                break
            if label.done > self._blocks:
                return Found(_path(label), True, label.worst_ms)
            values = (label.latency_ms, *label.busy, *label.memory)
            rivals = self._kept.setdefault((label.done, label.node), Frontier(len(values)))
            if not rivals.admit(values, label.used):
                continue
            settled += 1
            if settled * self._nodes > self._limits.label_limit:
                return Found(best, False, bound)
            for successor in self._successors(label):
                bound = self._bound(successor)
                if bound < roof:
                    heapq.heappush(heap, (bound, -successor.done, next(self._ticket), successor))
        return Found(best, True, roof)

    def _beam(self) -> list[_Label]:
        """Return the best routes of a breadth-first pass that keeps a bounded number of labels per block."""
        front = self._starts()
        for _ in range(self._blocks):
            ranked = sorted(front, key=lambda label: (self._bound(label), sum(label.busy)))[:BEAM_WIDTH]
            front = [successor for label in ranked for successor in self._successors(label)]
        return sorted(front, key=lambda label: label.worst_ms)[:POLISHED]

    def _bottleneck_to_go(self) -> Array:
        """Return [B + 1, D]: the least possible largest single piece of what is left."""
        tables, weight = self._tables, self._weight
        togo = np.zeros((self._blocks + 1, self._nodes))
        togo[-1] = np.where(np.isfinite(self._latency.finish.min(axis=0)), 0.0, np.inf)
        if tables.sink is not None:
            sent = tables.transfer_ms[-1, :, :, tables.sink].min(axis=0)
            sent[tables.sink] = 0.0
            togo[-1] = sent * weight
        for done in range(self._blocks - 1, 0, -1):
            enter = np.maximum(tables.run_ms[:, done] * weight, togo[done + 1])
            sent = tables.transfer_ms[done].min(axis=0) * weight
            np.fill_diagonal(sent, 0.0)
            togo[done] = np.maximum(sent, enter[None, :]).min(axis=1)
        return togo

    def _bound(self, label: _Label) -> float:
        if label.done > self._blocks:
            return label.worst_ms
        computing = sum(label.busy[node] for node in self._workers) + self._work_left[label.done]
        piece_ms = float(self._togo[label.done, label.node])
        weighted_ms: float = sum(map(mul, self._weights, label.busy)) + float(self._weighted[label.done, label.node])
        shared_ms: float = computing / max(1, len(self._workers))
        return max(label.worst_ms, piece_ms, shared_ms, weighted_ms)

    def _starts(self) -> list[_Label]:
        """Return the labels after the first block."""
        tables = self._tables
        root = _Label(0, tables.source, max(self._busy), 0.0, 0, self._busy, (0.0,) * (2 * self._nodes), None, 0)
        found = (self._enter(root, node, 0) for node in np.flatnonzero(tables.allowed_first).tolist())
        return [label for label in found if label is not None]

    def _successors(self, label: _Label) -> list[_Label]:
        if label.done == self._blocks:
            return [end for codec in range(self._codecs()) if (end := self._end(label, codec)) is not None]
        found = [self._enter(label, label.node, 0)]
        for node in range(self._nodes):
            if node != label.node:
                found += [self._enter(label, node, codec) for codec in range(self._codecs())]
        return [successor for successor in found if successor is not None]

    def _codecs(self) -> int:
        return int(self._tables.transfer_ms.shape[1])

    def _end(self, label: _Label, codec: int) -> _Label | None:
        sink = self._tables.sink
        if sink is None or sink == label.node:
            ended = label if codec == 0 else None
        else:
            ended = self._sent(label, sink, codec)
        if ended is None or self._late_by(ended.latency_ms):
            return None
        used, memory = label.used, label.memory
        return _Label(
            label.done + 1, label.node, max(ended.busy), ended.latency_ms, used, ended.busy, memory, label, codec
        )

    def _sent(self, label: _Label, node: int, codec: int) -> _Label | None:
        """Return ``label`` with what sending its output to ``node`` adds, encoding and decoding included."""
        tables, sender = self._tables, label.node
        transfer_ms = float(tables.transfer_ms[label.done, codec, sender, node])
        if not isfinite(transfer_ms):
            return None
        encode_ms = float(tables.encode_ms[label.done, codec] * tables.codec_factor[sender])
        decode_ms = float(tables.decode_ms[label.done, codec] * tables.codec_factor[node])
        busy = list(label.busy)
        busy[self._nodes + sender] += self._weight * transfer_ms
        busy[sender] += self._weight * encode_ms
        busy[node] += self._weight * decode_ms
        latency_ms = label.latency_ms + transfer_ms + encode_ms + decode_ms
        return _Label(label.done, node, 0.0, latency_ms, label.used, tuple(busy), label.memory, label, codec)

    def _enter(self, parent: _Label, node: int, codec: int) -> _Label | None:
        """Put the next block on ``node``."""
        run_ms = float(self._tables.run_ms[node, parent.done])
        moved = parent if node == parent.node else self._sent(parent, node, codec)
        if moved is None or not isfinite(run_ms):
            return None
        fresh = parent.done == 0 or node != parent.node
        run_ms += float(self._tables.start_ms[node]) if fresh else 0.0
        latency_ms = moved.latency_ms + run_ms
        used = parent.used | 1 << node if self._limits.max_devices is not None else 0
        done, memory = parent.done + 1, self._hold(parent.memory, node, parent.done)
        most, room = self._limits.max_devices, self._limits.memory_bytes
        if self._late_by(latency_ms + float(self._late[done, node])) or (most and used.bit_count() > most):
            return None
        if room is not None and memory[2 * node] + memory[2 * node + 1] > room[node]:
            return None
        busy = list(moved.busy)
        busy[node] += self._weight * run_ms
        above = parent if parent.done else None
        latency_ms = 0.0 if self._limits.deadline_ms is None else latency_ms
        return _Label(done, node, max(busy), latency_ms, used, tuple(busy), memory, above, codec)

    def _late_by(self, latency_ms: float) -> bool:
        return not isfinite(latency_ms) or (
            self._limits.deadline_ms is not None and latency_ms > self._limits.deadline_ms
        )

    def _hold(self, memory: tuple[float, ...], node: int, block: int) -> tuple[float, ...]:
        if self._limits.memory_bytes is None:
            return memory
        parameters = memory[2 * node] + self._limits.parameter_bytes[block]
        working = max(memory[2 * node + 1], self._limits.working_bytes[block])
        return (*memory[: 2 * node], parameters, working, *memory[2 * node + 2 :])


def _path(label: _Label) -> Path:
    cost, codecs, devices = label.worst_ms, [label.codec], []
    step = label.parent
    while step is not None:
        devices.append(step.node)
        codecs.append(step.codec)
        step = step.parent
    return Path(cost, devices[::-1], codecs[-2::-1])
