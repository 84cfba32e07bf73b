"""Beam search: a breadth-first pass that keeps the most promising partial routes of every block, in arrays.

Shapes: W partial routes, E encodings, D nodes, B blocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from planning.search.arrays import Array, Flags, Index
from planning.search.chain_path import Path
from planning.search.cost_tables import CostMeasure, Tables
from planning.search.limits import Limits


@dataclass(frozen=True, slots=True, eq=False)
class Front:
    """W partial routes with the same blocks done.

    Attributes:
        node: [W] where the last block runs.
        latency_ms: [W] latency so far.
        parameters, working: [W, D] bytes of parameters on every node, and bytes of its largest activation.
        used: [W, D] whether a node computes.
    """

    node: Index
    latency_ms: Array
    parameters: Array
    working: Array
    used: Flags


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Chosen extensions: the partial route, the encoding and the node of each, by index; [W] each."""

    origin: Index
    codec: Index
    node: Index


class Judge(Protocol):
    """The cost that a beam search minimises, with its own sums along the front.

    `search_beam` calls ``start`` and ``take`` once, then ``ways`` and ``take`` for every further block, then ``ends``.
    """

    def start(self) -> Array:
        """Return the score of beginning on every node, [D]."""

    def ways(self, done: int, front: Front) -> tuple[Array, Array]:
        """Return score and tie-breaker of putting block ``done`` on every node, [W, E, D]; staying has encoding 0."""

    def ends(self, front: Front) -> Array:
        """Return the cost of finished routes, [W, E]."""

    def take(self, done: int, front: Front | None, steps: Steps) -> None:
        """Follow ``steps``: put block ``done`` on their nodes. ``front`` is None for the first block."""


def search_beam(
    tables: Tables, latency: CostMeasure, late_togo: Array, limits: Limits, judge: Judge, width: int, keep: int
) -> list[Path]:
    """Return up to ``keep`` routes within ``limits``, the best first; O(B W E D) time.

    Args:
        tables: the stream's arrays.
        latency: its latency measure.
        late_togo: [B + 1, D] latency to go, in ms.
        limits: the side constraints. Every route that is returned keeps them.
        judge: scores partial routes and routes.
        width: partial routes kept per block.
        keep: routes returned at most.
    """
    count = len(tables.nodes)
    late = latency.first + latency.start + latency.run[:, 0]
    nothing = np.zeros((count, count))
    empty = Front(np.arange(count), late, nothing, nothing, nothing > 0)
    possible = limits.in_time(late + late_togo[1]) & _room(empty, limits, 0)[0]
    begin = np.where(possible, judge.start(), np.inf)
    nodes = np.argsort(begin, kind="stable")[:width]
    nodes = nodes[np.isfinite(begin[nodes])]
    if not len(nodes):
        return []
    trail = [Steps(nodes, np.zeros_like(nodes), nodes)]
    judge.take(0, None, trail[0])
    front = _placed(_selected(empty, nodes), limits, 0, nodes)
    for done in range(1, tables.blocks):
        limits.clock.check()
        front, steps = _advance(latency, late_togo, limits, judge, width, done, front)
        if not len(front.node):
            return []
        trail.append(steps)
    return _ended(latency, limits, judge, keep, front, trail)


def _advance(
    latency: CostMeasure, late_togo: Array, limits: Limits, judge: Judge, width: int, done: int, front: Front
) -> tuple[Front, Steps]:
    """Return the front with block ``done`` placed, and the steps that lead there."""
    rows = np.arange(len(front.node))
    sent = latency.move[done][:, front.node, :].transpose(1, 0, 2) + latency.start
    # Staying is one way only, with encoding 0: nothing is sent, and no segment starts.
    sent[rows, :, front.node] = np.inf
    sent[rows, 0, front.node] = 0.0
    late = front.latency_ms[:, None, None] + sent + latency.run[:, done]
    score, tie = judge.ways(done, front)
    # A partial route that misses the deadline even on its fastest continuation is dropped here, not at the end.
    possible = limits.in_time(late + late_togo[done + 1]) & _room(front, limits, done)[:, None, :]
    score = np.where(possible, score, np.inf).ravel()
    # Sorting by score, tie-breaker and index costs more than finding the smallest scores first. Four times the width
    # leaves room for ties. Among more equal scores than that the partition decides, without the tie-breaker.
    many = 4 * width
    near = np.argpartition(score, many)[:many] if many < len(score) else np.arange(len(score))
    near = near[np.isfinite(score[near])]
    chosen = near[np.lexsort((near, tie.ravel()[near], score[near]))[:width]]
    steps = Steps(*(np.asarray(index) for index in np.unravel_index(chosen, late.shape)))
    judge.take(done, front, steps)
    moved = replace(_selected(front, steps.origin), latency_ms=late.ravel()[chosen])
    return _placed(moved, limits, done, steps.node), steps


def _ended(
    latency: CostMeasure, limits: Limits, judge: Judge, keep: int, front: Front, trail: Sequence[Steps]
) -> list[Path]:
    """Return the best routes of the last front, each with the encoding of its result that costs least."""
    late = front.latency_ms[:, None] + latency.finish[:, front.node].T
    cost = np.where(limits.in_time(late), judge.ends(front), np.inf)
    codec = cost.argmin(axis=1)
    least = cost.min(axis=1)
    rows = np.argsort(least, kind="stable")[:keep]
    return [
        _followed(float(least[row]), trail, row, int(codec[row])) for row in rows[np.isfinite(least[rows])].tolist()
    ]


def _followed(cost: float, trail: Sequence[Steps], row: int, codec: int) -> Path:
    """Read a route backwards from its place in the last front; ``codec`` is that of its result."""
    devices: list[int] = []
    codecs: list[int] = [codec]
    for steps in reversed(trail):
        devices.append(int(steps.node[row]))
        codecs.append(int(steps.codec[row]))
        row = int(steps.origin[row])
    # The first step has no encoding: the input travels raw.
    return Path(cost, devices[::-1], codecs[-2::-1])


def _room(front: Front, limits: Limits, block: int) -> Flags:
    """Return for every partial route and node whether memory and the number of devices let ``block`` run there."""
    allowed = np.ones(front.used.shape, dtype=np.bool_)
    if limits.max_devices is not None:
        # A node that computes already adds no device.
        allowed &= front.used.sum(axis=1)[:, None] + ~front.used <= limits.max_devices
    if limits.memory_bytes is not None:
        largest = np.maximum(front.working, limits.working_bytes[block])
        allowed &= front.parameters + limits.parameter_bytes[block] + largest <= np.array(limits.memory_bytes)
    return allowed


def _selected(front: Front, rows: Index) -> Front:
    return Front(
        front.node[rows],
        front.latency_ms[rows],
        front.parameters[rows],
        front.working[rows],
        front.used[rows],
    )


def _placed(front: Front, limits: Limits, block: int, node: Index) -> Front:
    """Put ``block`` on ``node``, [W]; changes the arrays of ``front``, which no other front may share."""
    rows = np.arange(len(node))
    front.parameters[rows, node] += limits.parameter_bytes[block]
    front.working[rows, node] = np.maximum(front.working[rows, node], limits.working_bytes[block])
    front.used[rows, node] = True
    return replace(front, node=node)
