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

from planning.queueing.operations import Work
from planning.search.arrays import Array, Index
from planning.search.beam import Front, Steps, search_beam
from planning.search.bottleneck_local_search import BottleneckLocalSearch
from planning.search.chain_path import Path, cost_to_go
from planning.search.coarsening import coarsened
from planning.search.cost_tables import CostMeasure, Tables, busy_measure, latency_measure
from planning.search.label_search import SearchOutcome
from planning.search.limits import Limits
from planning.search.pareto import Frontier

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
    latency: CostMeasure,
    late_togo: Array,
    limits: Limits,
    busy: tuple[float, ...] | None = None,
    weights: Mapping[tuple[str, Work], float] | None = None,
) -> SearchOutcome:
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


class _Bounds:
    """What the rest of a route adds at least to its bottleneck."""

    def __init__(
        self, tables: Tables, latency: CostMeasure, weight: float, weights: Mapping[tuple[str, Work], float]
    ) -> None:
        self.weight = weight
        self.piece = _largest_piece_to_go(tables, latency, weight)
        self.computing = np.array([weights.get((name, Work.COMPUTE), 0.0) for name in tables.nodes])
        self.sending = np.array([weights.get((name, Work.SEND), 0.0) for name in tables.nodes])
        self.weighted: Array = np.zeros((tables.blocks + 1, len(tables.nodes)))
        if weights:
            self.weighted = weight * cost_to_go(busy_measure(tables, self.computing, self.sending))
        runs = np.isfinite(tables.run_ms)
        least = np.where(runs, tables.run_ms, np.inf).min(axis=0)
        self.work_left: Array = np.array([*(weight * np.cumsum(least[::-1])[::-1]), 0.0, 0.0])
        self.workers = np.flatnonzero(runs.any(axis=1))


class BottleneckJudge:
    """Judges a beam by the bottleneck so far and what bounds the rest; see `beam.Judge`."""

    def __init__(self, tables: Tables, bounds: _Bounds, busy: Array) -> None:
        """Start with the busy times [2 D] that other streams already cause."""
        self._tables, self._bounds, self._initial = tables, bounds, busy
        self._busy: Array = busy[None, :]
        self._known: tuple[Front, tuple[Array, Array, Array]] | None = None

    def start(self) -> Array:
        """Return a score of beginning on every node."""
        count = len(self._tables.nodes)
        busy = np.stack([self._begun(node) for node in range(count)])
        return self._score(1, busy.max(axis=1), self._sums(busy), np.arange(count))

    def ways(self, done: int, front: Front) -> tuple[Array, Array]:
        """Return what bounds every way on, ties broken by all busy times together."""
        sent, encode, work = self._added(done, front)
        rows, count = np.arange(len(front.node)), len(self._tables.nodes)
        here = front.node
        worst = np.maximum(
            self._busy.max(axis=1)[:, None, None],
            np.maximum(
                (self._busy[rows, count + here])[:, None, None] + sent,
                np.maximum(self._busy[rows, here][:, None, None] + encode, self._busy[:, None, :count] + work),
            ),
        )
        stay = self._busy[rows, here] + work[rows, 0, here]
        worst[rows, 0, here] = np.maximum(self._busy.max(axis=1), stay)
        bounds = self._bounds
        computed, weighted, total = self._sums(self._busy)
        weighted = weighted[:, None, None] + bounds.sending[here][:, None, None] * np.where(np.isfinite(sent), sent, 0)
        weighted = weighted + bounds.computing[here][:, None, None] * encode
        weighted = weighted + bounds.computing * np.where(np.isfinite(work), work, 0)
        computed = computed[:, None, None] + encode + work
        total = total[:, None, None] + sent + encode + work
        score = self._score(done + 1, worst, (computed, weighted, total), np.arange(count))
        return score, total

    def ends(self, front: Front) -> Array:
        """Return the bottleneck of finished routes."""
        sink, done = self._tables.sink, self._tables.blocks
        codecs, count = self._tables.transfer_ms.shape[1], len(self._tables.nodes)
        cost = np.full((len(front.node), codecs), np.inf)
        for row, node in enumerate(front.node.tolist()):
            if sink is None or sink == node:
                cost[row, 0] = self._busy[row].max()
                continue
            for codec in range(codecs):
                busy = self._busy[row].copy()
                _send(self._tables, busy, count, self._bounds.weight, done, codec, node, sink)
                cost[row, codec] = busy.max()
        return cost

    def take(self, done: int, front: Front | None, steps: Steps) -> None:
        """Keep the busy times of the chosen ways."""
        if front is None:
            self._busy = np.stack([self._begun(node) for node in steps.node.tolist()])
            return
        sent, encode, work = self._added(done, front)
        count, rows = len(self._tables.nodes), np.arange(len(steps.node))
        here = front.node[steps.origin]
        moves = here != steps.node
        busy = self._busy[steps.origin].copy()
        busy[rows, count + here] += np.where(moves, sent[steps.origin, steps.codec, steps.node], 0.0)
        busy[rows, here] += np.where(moves, encode[steps.origin, steps.codec, steps.node], 0.0)
        busy[rows, steps.node] += work[steps.origin, steps.codec, steps.node]
        self._busy = busy

    def _begun(self, node: int) -> Array:
        tables, busy = self._tables, self._initial.copy()
        if node != tables.source:
            _send(tables, busy, len(tables.nodes), self._bounds.weight, 0, 0, tables.source, node)
        busy[node] += self._bounds.weight * (tables.run_ms[node, 0] + tables.start_ms[node])
        return busy

    def _added(self, done: int, front: Front) -> tuple[Array, Array, Array]:
        """Return sending and encoding where a route is, and what the next node computes; [W, E, D], staying codec 0."""
        if self._known is not None and self._known[0] is front:
            return self._known[1]
        tables, weight = self._tables, self._bounds.weight
        rows, here = np.arange(len(front.node)), front.node
        sent = weight * tables.transfer_ms[done][:, here, :].transpose(1, 0, 2)
        encode = weight * tables.encode_ms[done][None, :, None] * tables.codec_factor[here][:, None, None]
        encode = np.broadcast_to(encode, sent.shape).copy()
        decode = tables.decode_ms[done][:, None] * tables.codec_factor
        work = weight * (decode + tables.start_ms + tables.run_ms[:, done])
        work = np.broadcast_to(work, sent.shape).copy()
        sent[rows, 0, here] = 0.0
        encode[rows, 0, here] = 0.0
        work[rows, 0, here] = weight * tables.run_ms[here, done]
        self._known = front, (sent, encode, work)
        return sent, encode, work

    def _sums(self, busy: Array) -> tuple[Array, Array, Array]:
        """Return all computing, the weighted sum, and the plain sum of busy times, [W] each."""
        bounds, count = self._bounds, len(self._tables.nodes)
        finite = np.where(np.isfinite(busy), busy, 0.0)
        weighted = finite[:, :count] @ bounds.computing + finite[:, count:] @ bounds.sending
        return busy[:, bounds.workers].sum(axis=1), weighted, busy.sum(axis=1)

    def _score(self, done: int, worst: Array, sums: tuple[Array, Array, Array], nodes: Index) -> Array:
        bounds = self._bounds
        shared = (sums[0] + bounds.work_left[done]) / max(1, len(bounds.workers))
        weighted = sums[1] + bounds.weighted[done, nodes]
        return np.asarray(np.maximum(np.maximum(worst, bounds.piece[done, nodes]), np.maximum(shared, weighted)))


class _Search:
    """The state of one search."""

    def __init__(
        self,
        tables: Tables,
        latency: CostMeasure,
        late_togo: Array,
        limits: Limits,
        busy: tuple[float, ...] | None,
        weights: Mapping[tuple[str, Work], float],
    ) -> None:
        self._tables, self._latency, self._late, self._limits = tables, latency, late_togo, limits
        self._nodes, self._blocks = tables.run_ms.shape
        self._weight = float(tables.stream.jobs) if busy is not None else 1.0
        self._busy = busy or (0.0,) * (2 * self._nodes)
        self._multipliers = weights
        self._bounds = _Bounds(tables, latency, self._weight, weights)
        self._weights = (*self._bounds.computing.tolist(), *self._bounds.sending.tolist())
        self._workers: list[int] = self._bounds.workers.tolist()
        self._kept: dict[tuple[int, int], Frontier] = {}
        self._ticket = count()

    def run(self) -> SearchOutcome:
        starts = self._coarse_starts() or self._starts_of(self._tables, self._latency, self._late, self._limits)
        polish = BottleneckLocalSearch(self._tables, self._limits, self._busy, self._weight)
        best = min((polish.improve(path) for path in starts), key=lambda path: path.cost, default=None)
        roof = inf if best is None else best.cost
        heap = [(self._bound(label), -label.done, next(self._ticket), label) for label in self._starts()]
        heapq.heapify(heap)
        settled = 0
        while heap:
            bound, _, _, label = heapq.heappop(heap)
            if bound >= roof:
                break
            if label.done > self._blocks:
                return SearchOutcome(_path(label), True, label.worst_ms)
            values = (label.latency_ms, *label.busy, *label.memory)
            rivals = self._kept.setdefault((label.done, label.node), Frontier(len(values)))
            if not rivals.admit(values, label.used):
                continue
            settled += 1
            if settled > self._limits.label_limit:
                return SearchOutcome(best, False, bound)
            for successor in self._successors(label):
                bound = self._bound(successor)
                if bound < roof:
                    heapq.heappush(heap, (bound, -successor.done, next(self._ticket), successor))
        return SearchOutcome(best, True, roof)

    def _coarse_starts(self) -> list[Path]:
        """Return routes of runs of blocks where the chain is too long for a beam; none where there are none."""
        if self._blocks <= self._limits.beam_steps:
            return []
        coarse = coarsened(self._tables, self._limits, self._limits.beam_steps)
        latency = latency_measure(coarse.tables)
        starts = self._starts_of(coarse.tables, latency, cost_to_go(latency), coarse.limits)
        polish = BottleneckLocalSearch(coarse.tables, coarse.limits, self._busy, self._weight)
        return [coarse.fine(polish.improve(path)) for path in starts]

    def _starts_of(self, tables: Tables, latency: CostMeasure, late_togo: Array, limits: Limits) -> list[Path]:
        """Return the best routes of a beam, before local search."""
        bounds = self._bounds
        if tables is not self._tables:
            bounds = _Bounds(tables, latency, self._weight, self._multipliers)
        judge = BottleneckJudge(tables, bounds, np.array(self._busy))
        return search_beam(tables, latency, late_togo, limits, judge, limits.beam_width, POLISHED)

    def _bound(self, label: _Label) -> float:
        if label.done > self._blocks:
            return label.worst_ms
        bounds = self._bounds
        computing = sum(label.busy[node] for node in self._workers) + float(bounds.work_left[label.done])
        piece_ms = float(bounds.piece[label.done, label.node])
        weighted_ms: float = sum(map(mul, self._weights, label.busy)) + float(bounds.weighted[label.done, label.node])
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


def _largest_piece_to_go(tables: Tables, latency: CostMeasure, weight: float) -> Array:
    """Return [B + 1, D]: the least possible largest single piece of what is left."""
    blocks, nodes = tables.blocks, len(tables.nodes)
    togo = np.zeros((blocks + 1, nodes))
    togo[-1] = np.where(np.isfinite(latency.finish.min(axis=0)), 0.0, np.inf)
    if tables.sink is not None:
        sent = tables.transfer_ms[-1, :, :, tables.sink].min(axis=0)
        sent[tables.sink] = 0.0
        togo[-1] = sent * weight
    for done in range(blocks - 1, 0, -1):
        enter = np.maximum(tables.run_ms[:, done] * weight, togo[done + 1])
        sent = tables.transfer_ms[done].min(axis=0) * weight
        np.fill_diagonal(sent, 0.0)
        togo[done] = np.maximum(sent, enter[None, :]).min(axis=1)
    return togo


def _send(tables: Tables, busy: Array, count: int, weight: float, cut: int, codec: int, here: int, to: int) -> None:
    """Add to ``busy`` what sending at a cut takes both ends."""
    busy[count + here] += weight * tables.transfer_ms[cut, codec, here, to]
    busy[here] += weight * tables.encode_ms[cut, codec] * tables.codec_factor[here]
    busy[to] += weight * tables.decode_ms[cut, codec] * tables.codec_factor[to]


def _path(label: _Label) -> Path:
    cost, codecs, devices = label.worst_ms, [label.codec], []
    step = label.parent
    while step is not None:
        devices.append(step.node)
        codecs.append(step.codec)
        step = step.parent
    return Path(cost, devices[::-1], codecs[-2::-1])
