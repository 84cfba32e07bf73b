"""Hu & Mishra: as many layers at the source as the deadline allows, the rest on one or two helpers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from typing import ClassVar

import numpy as np

from planning.cost.constraints import SLACK, exceeds
from planning.problem.plan import Infeasible, Plan, Route
from planning.problem.problem import Problem, Stream
from planning.search.arrays import Array, Flags
from planning.search.cost_tables import build_tables, latency_measure, spans_ms
from planning.search.device_network import DeviceNetwork
from planning.search.planning_context import PlanningContext, context_of
from planning.search.stream_by_stream import plan_each_stream
from planning.search.two_device_splits import SplitTable, split_table
from planning.strategies.traits import CostClass, Traits, Trial
from shared.policy import Objective


@dataclass(frozen=True, slots=True)
class HuMishra:
    """Algorithm 1 of Hu & Mishra: the largest local part whose latency keeps the deadline, in O(D^2 P^2).

    P are the cuts after pooling layers (blocks with "pool" in their name) and the two ends. They are all cuts where a
    model has no pooling, and with ``all_cuts``. Choices that the paper leaves open:

    - The printed loop has no break, so the smallest feasible local part would survive. The first one from the top is
      returned instead, as the text says, unless ``as_printed``.
    - Layer b is not counted twice, and each cut has its own transfer times.
    - Without a feasible cut, the plan of least latency is tried. It misses the deadline, and the answer gives by how
      much.
    - Without a deadline everything stays local.
    - One helper is tried before two, the faster one first.
    - The server's load is its load factor.
    """

    traits: ClassVar[Traits] = Traits(
        objectives=frozenset({Objective.DEADLINE}), cost_class=CostClass.PER_STREAM, budgeted=False
    )

    name: str = "hu_mishra"
    description: str = "most layers at the source within the deadline, the rest on one or two helpers"
    citation: str = "Hu & Mishra, A dynamic distributed scheduler for DNN inference on the edge, algorithm 1"
    trial: Trial | None = field(default=Trial(turn=80))
    as_printed: bool = False
    all_cuts: bool = False

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the plan of algorithm 1 for every stream on its own."""
        context = context_of(problem, context)
        network = context.network
        return plan_each_stream(context, self.name, lambda stream: self._route(network, stream), time_budget_s)

    def _route(self, network: DeviceNetwork, stream: Stream) -> Route | None:
        deadline_ms = network.problem.deadline_ms(stream) or inf
        fallback: _Timed | None = None
        printed: _Timed | None = None
        cuts = every_cut(network.problem, stream) if self.all_cuts else pool_cuts(network.problem, stream)
        for timed in _groups(network, stream, cuts):
            if fallback is None or timed.latency_ms < fallback.latency_ms:
                fallback = timed
            if not exceeds(timed.latency_ms, deadline_ms):
                if not self.as_printed or timed.local:
                    return timed.route()
                printed = timed
        chosen = printed or fallback
        return None if chosen is None else chosen.route()


@dataclass(frozen=True, slots=True, eq=False)
class _Timed:
    """The quickest route of a group that keeps all constraints but the deadline, and how to make it."""

    latency_ms: float
    local: bool
    route: Callable[[], Route]


def pool_cuts(problem: Problem, stream: Stream) -> list[int]:
    """Return the cuts that Hu & Mishra consider, ascending: after pooling layers, and the two ends.

    A pooling layer is a block with "pool" in its name, and cut n is before block n. A model without pooling layers has
    all cuts.
    """
    blocks = problem.models[stream.model].blocks
    pools = [index + 1 for index, block in enumerate(blocks) if "pool" in block.name.lower()]
    return sorted({0, *pools, len(blocks)}) if pools else every_cut(problem, stream)


def every_cut(problem: Problem, stream: Stream) -> list[int]:
    """Return all cuts of the stream's model, its two ends among them, ascending."""
    return list(range(len(problem.models[stream.model].blocks) + 1))


def _groups(network: DeviceNetwork, stream: Stream, cuts: Sequence[int]) -> Iterator[_Timed]:
    """Yield the best route of every group in the order of preference.

    Groups have less and less at the source. Of the same local part, one helper comes before two.
    """
    problem = network.problem
    splits = split_table(problem, stream, network)
    blocks = cuts[-1]
    latency_ms = np.where(splits.allowed, splits.latency_ms, np.inf)
    yield from _best_of(splits, np.where(splits.helper < 0, latency_ms, np.inf))
    pairs = _Pairs(network, stream)
    for cut in reversed(cuts[:-1]):
        yield from _best_of(splits, np.where((splits.helper >= 0) & (splits.cut == cut), latency_ms, np.inf))
        yield from pairs.quickest(cut, [other for other in reversed(cuts) if cut < other < blocks])


def _best_of(cuts: SplitTable, latency_ms: Array) -> Iterator[_Timed]:
    if len(latency_ms) and np.isfinite(latency_ms.min()):
        least = int(latency_ms.argmin())
        yield _Timed(float(latency_ms[least]), bool(cuts.helper[least] < 0), partial(cuts.route, least))


class _Pairs:
    """Routes over the source and two helpers; every transfer has the encoding that arrives soonest."""

    def __init__(self, network: DeviceNetwork, stream: Stream) -> None:
        self._tables = tables = build_tables(network.problem, stream, network)
        self._policy = network.problem.policy
        model = network.problem.models[stream.model]
        self._parameters = np.array([0.0, *(block.parameter_bytes for block in model.blocks)]).cumsum()
        self._working = np.array([block.working_bytes for block in model.blocks])
        # The tolerance of the constraint check, so that a pair that fits here is not rejected there.
        limits = [network.problem.devices[name].memory_bytes for name in tables.nodes]
        self._room = np.array([inf if limit is None else limit + SLACK * max(1.0, limit) for limit in limits])
        latency = latency_measure(tables)
        self._span = spans_ms(tables)
        self._move, self._codec = latency.move.min(axis=1), latency.move.argmin(axis=1)
        self._finish, self._finish_codec = latency.finish.min(axis=0), latency.finish.argmin(axis=0)
        self._raw = latency.move[0, 0, tables.source].copy()
        nodes = len(tables.nodes)
        self._helper = np.arange(nodes) != tables.source
        self._distinct = ~np.eye(nodes, dtype=np.bool_)

    def quickest(self, cut: int, seconds: Sequence[int]) -> Iterator[_Timed]:
        """Yield the quickest pair of helpers for every second cut at which a pair keeps the constraints."""
        tables, policy = self._tables, self._policy
        most = policy.max_devices
        if not seconds or (cut == 0 and policy.raw_input_stays_on_source):
            return
        if most is not None and most < (2 if cut == 0 else 3):
            return
        source, blocks = tables.source, tables.blocks
        before = 0.0
        reach = np.where(self._helper, self._raw, np.inf)
        if cut:
            before = float(self._span[source, 0, cut]) if self._fits(0, cut)[source] else inf
            reach = np.where(self._helper, self._move[cut, source], np.inf)
        begin = before + reach
        if not np.isfinite(begin).any():
            return
        for second in seconds:
            # total[near, far]: the way to the near helper, both segments, the transfer between them, and the way to the
            # sink.
            near = np.where(self._fits(cut, second), begin + self._span[:, cut, second], np.inf)
            far = np.where(self._helper & self._fits(second, blocks), self._span[:, second, blocks], np.inf)
            total = near[:, None] + self._move[second] + (far + self._finish)
            total = np.where(self._distinct, total, np.inf)
            least = int(total.argmin())
            pair = divmod(least, len(tables.nodes))
            if np.isfinite(total[pair]):
                yield _Timed(float(total[pair]), False, partial(self._route, cut, second, *pair))

    def _route(self, cut: int, second: int, near: int, far: int) -> Route:
        tables, blocks = self._tables, self._tables.blocks
        codecs = [0] * blocks
        if cut:
            codecs[cut - 1] = int(self._codec[cut, tables.source, near])
        codecs[second - 1] = int(self._codec[second, near, far])
        codecs[-1] = int(self._finish_codec[far])
        return tables.route([tables.source] * cut + [near] * (second - cut) + [far] * (blocks - second), codecs, 1)

    def _fits(self, start: int, stop: int) -> Flags:
        """Return which nodes can hold blocks [start, stop) in their memory, [D]."""
        need = self._parameters[stop] - self._parameters[start] + self._working[start:stop].max()
        return np.asarray(need <= self._room)


VARIANTS = (
    HuMishra(
        name="hu_mishra:all_cuts",
        description="every cut is a candidate, not only those after pooling layers",
        trial=Trial(turn=150),
        all_cuts=True,
    ),
    HuMishra(
        name="hu_mishra:as_printed",
        description="the printed loop without break: the smallest local part",
        trial=Trial(turn=150),
        as_printed=True,
    ),
)
