"""DADS: one cut between source and server, for latency under light load and for the bottleneck under heavy load."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

import numpy as np

from planning.problem.plan import Infeasible, Plan, Route
from planning.problem.problem import Problem
from planning.search.arrays import Array
from planning.search.planning_context import PlanningContext, context_of
from planning.search.stream_by_stream import plan_each_stream
from planning.search.two_device_splits import SplitTable, cheapest_split, split_table
from planning.strategies.traits import CostClass, Traits, Trial
from shared.policy import Objective


class LoadLevel(StrEnum):
    """The algorithm that is used: DSL under light load, DSH under heavy load, or by the stream's rate."""

    BY_RATE = "by_rate"
    LIGHT = "light"
    HEAVY = "heavy"


@dataclass(frozen=True, slots=True)
class Dads:
    """DSL: the cut with the least sum of edge, transfer and cloud time. DSH: the one with the least of their maximum.

    Unless ``load`` selects one of them, DSL is used while each of its three stages keeps up with the stream's rate
    (``rate_hz``), otherwise DSH. The load of a stream without a rate is light. A scan of all cuts, O(B) per server, is
    exact on chains. For branching models plans are limited to contiguous blocks; ``min_cut.cheapest_division`` has the
    original's minimum cut over all closed sets. For a burst of jobs this is Duan & Wu's baseline PO: one cut for all.
    """

    traits: ClassVar[Traits] = Traits(
        objectives=frozenset({Objective.LATENCY, Objective.THROUGHPUT}), cost_class=CostClass.PER_STREAM, budgeted=False
    )

    name: str = "dads"
    description: str = "one cut to one server: least sum under light load, least maximum under heavy load"
    citation: str = "Hu, Bao, Wang, Liu, Dynamic adaptive DNN surgery for inference acceleration, INFOCOM 2019"
    trial: Trial | None = field(default=Trial(turn=90))
    load: LoadLevel = LoadLevel.BY_RATE

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return DSL's or DSH's cut for every stream."""
        context = context_of(problem, context)
        network, load = context.network, self.load
        return plan_each_stream(
            context, self.name, lambda stream: _surgery(split_table(problem, stream, network), load), time_budget_s
        )


def _surgery(splits: SplitTable, load: LoadLevel) -> Route | None:
    kept = np.flatnonzero(splits.feasible)
    if not len(kept):
        return None
    stages = [splits.source_ms, splits.send_ms, splits.helper_ms, splits.return_ms, splits.sink_ms]
    slowest_ms: Array = np.maximum.reduce(stages)
    rate_hz = splits.stream.rate_hz
    light = int(kept[splits.latency_ms[kept].argmin()])
    keeps_up = rate_hz is None or slowest_ms[light] < 1000 / rate_hz
    if load is LoadLevel.LIGHT or (load is LoadLevel.BY_RATE and keeps_up):
        return splits.route(light)
    return cheapest_split(splits, slowest_ms)


VARIANTS = (
    Dads(
        name="dads:light_load",
        description="DSL whatever the rate: least sum of edge, transfer and cloud",
        trial=Trial(turn=160),
        load=LoadLevel.LIGHT,
    ),
    Dads(
        name="dads:heavy_load",
        description="DSH whatever the rate: least maximum of the three",
        trial=Trial(turn=160),
        load=LoadLevel.HEAVY,
    ),
)
