"""DADS: one cut between source and server, for latency under light load and for the bottleneck under heavy load."""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from planning.problem.plan import Infeasible, Plan, Route, StreamPlan
from planning.problem.problem import Problem
from planning.search.arrays import Array
from planning.search.device_network import DeviceNetwork, network_of
from planning.search.infeasibility import diagnose, no_split
from planning.search.result import make_plan, same_route_for_all
from planning.search.two_device_splits import SplitTable, cheapest_split, split_table


class LoadLevel(StrEnum):
    """Which of the two algorithms is used."""

    BY_RATE = "by_rate"
    LIGHT = "light"
    HEAVY = "heavy"


@dataclass(frozen=True, slots=True)
class Dads:
    """DSL: the cut with the least sum of edge, transfer and cloud time. DSH: the one with the least of their maximum.

    Unless ``load`` says which, DSL is used while each of its three stages keeps up with the stream's rate (``rate_hz``;
    without one the load is light), else DSH. Exact on chains by a scan of all cuts, O(B) per server. For branching
    models plans are limited to contiguous blocks; ``min_cut.cheapest_division`` has the original's minimum cut over all
    closed sets. For a burst of jobs this is Duan & Wu's baseline PO: one cut for all.
    """

    name: str = "dads"
    description: str = "one cut to one server: least sum under light load, least maximum under heavy load"
    citation: str = "Hu, Bao, Wang, Liu, Dynamic adaptive DNN surgery for inference acceleration, INFOCOM 2019"
    load: LoadLevel = LoadLevel.BY_RATE
    network: DeviceNetwork | None = field(default=None, repr=False, compare=False)

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return DSL's or DSH's cut for every stream."""
        network = network_of(problem, self.network)
        plans: dict[str, StreamPlan] = {}
        for stream in problem.streams:
            route = _surgery(split_table(problem, stream, network), self.load)
            if route is None:
                reasons = diagnose(problem, stream, time_budget_s) or (no_split(stream, self.name),)
                return Infeasible(self.name, problem.policy.objective, reasons)
            plans[stream.name] = same_route_for_all(route, stream.jobs)
        return make_plan(problem, self.name, plans, costs=network.costs)


def _surgery(cuts: SplitTable, load: LoadLevel) -> Route | None:
    kept = np.flatnonzero(cuts.kept)
    if not len(kept):
        return None
    stages = [cuts.source_ms, cuts.send_ms, cuts.helper_ms, cuts.return_ms, cuts.sink_ms]
    slowest_ms: Array = np.maximum.reduce(stages)
    rate_hz = cuts.stream.rate_hz
    light = int(kept[cuts.latency_ms[kept].argmin()])
    keeps_up = rate_hz is None or slowest_ms[light] < 1000 / rate_hz
    if load is LoadLevel.LIGHT or (load is LoadLevel.BY_RATE and keeps_up):
        return cuts.route(light)
    return cheapest_split(cuts, slowest_ms)
