"""Exact plans over any number of devices: the cheapest path through blocks x devices x encodings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import ClassVar

import numpy as np

from planning.cost.constraints import memory_bytes, memory_violations
from planning.problem.plan import Constraint, Infeasible, Plan, StreamPlan
from planning.problem.problem import Problem, Stream
from planning.queueing.operations import Work
from planning.search.arrays import Array
from planning.search.chain_path import Path, cheapest_path, cost_to_go
from planning.search.cost_tables import (
    CostMeasure,
    Tables,
    build_tables,
    busy_measure,
    energy_measure,
    latency_measure,
    latency_tables,
    off_source_measure,
    table_size,
    with_source,
)
from planning.search.device_network import DeviceNetwork
from planning.search.label_search import search_labels
from planning.search.labels import SearchOutcome
from planning.search.limits import Limits, limits_of
from planning.search.planning_context import PlanningContext, context_of
from planning.search.result import make_plan, same_route_for_all, unsupported
from planning.strategies.traits import BURST_OBJECTIVES, ROUTE_OBJECTIVES, BudgetLimit, CostClass, Traits, Trial
from shared.policy import Objective

_ADDITIVE = (Objective.LATENCY, Objective.ENERGY, Objective.DEADLINE)

# Objectives for which slower leaves of the network are never needed.
_QUICKEST = (Objective.LATENCY, Objective.DEADLINE)

# Largest number of transfers in the arrays of several streams.
MAX_TRANSFERS = 40_000_000

# Pairs of stream and device per second of time budget up to which ``auto`` balances the routes of several streams.
BALANCED_PAIRS_PER_SECOND = 200

# Searches for the largest throughput of one of several streams, per second of time budget. The other streams, which
# come first, take the path that suits the loads so far.
SEARCHES_PER_SECOND = 300

# Exponent of the loads in the sum that streams without a search keep small.
STEEPNESS = 32

# Rounding error of a number of blocks.
_ROUNDING = 1e-6

# Weight of an idle resource, relative to that of the busiest one.
_IDLE_WEIGHT = 1e-3


def balanced_pairs(problem: Problem) -> int:
    """Return the pairs of stream and device that a balance of several streams weighs; 0 for a single stream."""
    return len(problem.streams) * len(problem.devices) if len(problem.streams) > 1 else 0


@dataclass(frozen=True, slots=True)
class ShortestPath:
    """Least latency, energy or off-source work, or largest throughput, of one route per stream.

    For latency and energy, dynamic programming is exact in O(B E D^2); a device may be visited again. Dynamic
    programming cannot handle throughput, nor memory, a number of devices, or a deadline of another objective. For these
    a label-setting search is exact while it stays within the time budget. Several streams are planned each for itself.
    If their segments do not fit together, they are planned one after the other in the order given, which proves
    nothing.

    For makespan, total delay and delay variance all jobs take the route that is best for ``route_objective``. Without
    it this is the route of least latency, which is exact for one job.
    """

    traits: ClassVar[Traits] = Traits(
        objectives=ROUTE_OBJECTIVES, cost_class=CostClass.PER_STREAM, exact=True, proves_infeasibility=True
    )

    name: str = "shortest_path"
    description: str = "exact cheapest path over blocks, devices and encodings; throughput by label-setting search"
    citation: str = (
        "Bellman, On a routing problem, 1958; for pipelines PipeEdge (arXiv 2110.14895), EdgeShard (2405.14371)"
    )
    trial: Trial | None = field(default=Trial(turn=10))
    route_objective: Objective | None = None

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the cheapest plan; see the class."""
        context, searched = context_of(problem, context), self._searched(problem)
        network = context.network
        size = _size(network, searched)
        if len(problem.streams) > 1 and size > MAX_TRANSFERS:
            return unsupported(problem, self.name, f"{size} transfers to look at, more than {MAX_TRANSFERS}")
        # Half of the budget is for a second pass, which is needed where the streams do not fit together.
        joint = _solve_streams(context, searched, time_budget_s / 2, in_turn=False)
        bound = joint.bound
        if not joint.missing and memory_violations(problem, joint.plans):
            joint = _solve_streams(context, searched, time_budget_s / 2, in_turn=True)
        if joint.missing:
            return _infeasible(problem, self.name, joint, time_budget_s)
        plans, proved = joint.plans, joint.proved
        jobs = sum(stream.jobs for stream in problem.streams)
        objective = problem.policy.objective
        # One route per stream is optimal where the objective is a sum over requests, or where there is one request. Of
        # several requests, some might better take other routes, or wait less in another order.
        own = self._searched(problem) is _searched(objective)
        simple = own and (objective in _ADDITIVE or (jobs == 1 and objective is not Objective.THROUGHPUT))
        alone = own and objective is Objective.THROUGHPUT and jobs == 1
        optimal = proved and (simple or alone)
        known = bound / jobs if simple or alone else None
        # Each job takes at least its latency, however the queues are.
        if own and objective is Objective.TOTAL_DELAY:
            known = bound
        return make_plan(problem, self.name, plans, optimal=optimal, lower_bound=known, costs=context.costs)

    def _searched(self, problem: Problem) -> Objective:
        return self.route_objective or _searched(problem.policy.objective)


@dataclass(frozen=True, slots=True)
class _Joint:
    """One route per stream; or the stream that has none, and whether its search has ended."""

    plans: dict[str, StreamPlan]
    proved: bool
    bound: float
    missing: Stream | None = None


def _size(network: DeviceNetwork, objective: Objective) -> int:
    """Return how many transfers the arrays of all streams hold."""
    size = 0
    for stream in network.problem.streams:
        devices = network.useful if objective in _QUICKEST else network.able
        size += table_size(network, stream, len(devices(stream.model)) + 2)
    return size


def _solve_streams(context: PlanningContext, objective: Objective, time_budget_s: float, *, in_turn: bool) -> _Joint:
    """Plan every stream for itself, or, ``in_turn``, within the memory that the earlier ones leave.

    For throughput the busy times of earlier streams count either way. The streams share the time budget.
    """
    problem = context.problem
    searcher = _Searcher(context, objective, time_budget_s / len(problem.streams))
    plans: dict[str, StreamPlan] = {}
    proved, bound = not in_turn, 0.0
    for stream in problem.streams:
        held = memory_bytes(problem, plans) if in_turn else {}
        tables, outcome = searcher.solve(stream, plans, held)
        if outcome.path is None:
            return _Joint(plans, outcome.proved and not in_turn, bound, stream)
        plans[stream.name] = same_route_for_all(tables.route(outcome.path.devices, outcome.path.codecs, 1), stream.jobs)
        proved = proved and outcome.proved
        # The measure counts at most a quarter of a block for the latency, and blocks are whole.
        least = ceil(outcome.bound - 0.25 - _ROUNDING) if objective is Objective.DEADLINE else outcome.bound
        bound += least * stream.jobs
    return _Joint(plans, proved, bound)


def _searched(objective: Objective) -> Objective:
    """Return the objective that a single route is searched for."""
    return objective if objective in (*_ADDITIVE, Objective.THROUGHPUT) else Objective.LATENCY


class _Searcher:
    """Plans stream after stream. Streams of one model over the same devices share the dynamic programme."""

    def __init__(self, context: PlanningContext, objective: Objective, time_budget_s: float) -> None:
        self._network, self._problem = context.network, context.problem
        self._objective, self._time_budget_s = objective, time_budget_s
        self._costs, self._clock = context.costs, context.clock
        self._shared: dict[tuple[str, tuple[str, ...], int | None], tuple[CostMeasure, Array]] = {}
        self._taken: dict[tuple[str, Work], float] = {}
        self._counted = 0
        # The number of streams, from the first on, that take a path by the loads; the searches come last, because they
        # see all loads.
        streams = len(self._problem.streams)
        self._balanced = streams - max(1, int(SEARCHES_PER_SECOND * time_budget_s * streams))

    def _balanced_path(self, tables: Tables, busy: Sequence[float]) -> Path | None:
        """Return the path of least weighted busy time, where a resource weighs more the busier it is.

        The weights are the slopes of the sum of load^STEEPNESS over all resources. Streams that follow them one after
        the other keep the largest load low (Awerbuch, Azar, Grove, Kao, Krishnan & Vitter, FOCS 1995).

        Args:
            tables: the stream's arrays.
            busy: [2 D] busy times of every node's computing and sending so far.
        """
        loads = np.array(busy)
        # A little weight on idle resources, so that streams without load yet take short ways.
        weights = (loads / max(float(loads.max()), 1e-300)) ** (STEEPNESS - 1) + _IDLE_WEIGHT
        nodes = len(tables.nodes)
        return cheapest_path(busy_measure(tables, weights[:nodes], weights[nodes:]))

    def solve(
        self, stream: Stream, plans: dict[str, StreamPlan], held: dict[str, float]
    ) -> tuple[Tables, SearchOutcome]:
        """Return the best path for one stream, given the plans of earlier ones and the memory that is held."""
        problem, network = self._problem, self._network
        quickest = self._objective in _QUICKEST
        tables = latency_tables(network, stream) if quickest else build_tables(problem, stream, network)
        limits = limits_of(problem, tables, self._time_budget_s, held, self._clock)
        latency, togo = self._latency(tables)
        if self._objective is Objective.THROUGHPUT:
            # Imported here: the other objectives need neither of them.
            from planning.scheduling.column_generation import mix_routes, rounds_of
            from planning.search.bottleneck_search import search_bottleneck

            busy = self._busy(tables, plans)
            if busy is not None and len(plans) < self._balanced:
                path = self._balanced_path(tables, busy)
                if path is None or self._within(tables, path, limits):
                    return tables, SearchOutcome(path, path is None, 0.0 if path else float("inf"))
            weights: Mapping[tuple[str, Work], float] = {}
            if len(problem.streams) == 1:
                rounds = rounds_of([tables], self._time_budget_s)
                weights = mix_routes(problem, [tables], rounds, self._costs).weights
            return tables, search_bottleneck(tables, latency, togo, limits, busy, weights)
        measure = _measure(tables, self._objective, latency, limits)
        path = cheapest_path(measure, togo if measure is latency else None)
        if path is None:
            return tables, SearchOutcome(None, True, float("inf"))
        if self._within(tables, path, limits):
            return tables, SearchOutcome(path, True, path.cost)
        return tables, search_labels(tables, measure, None if measure is latency else latency, limits)

    def _latency(self, tables: Tables) -> tuple[CostMeasure, Array]:
        key = tables.stream.model, tables.nodes, tables.sink
        shared = self._shared.get(key)
        if shared is None:
            measure = latency_measure(tables)
            shared = self._shared[key] = measure, cost_to_go(measure)
        return with_source(shared[0], tables), shared[1]

    def _within(self, tables: Tables, path: Path, limits: Limits) -> bool:
        """Return whether a path of the plain dynamic programme keeps the constraints that it ignores."""
        if limits.max_devices is not None and len(set(path.devices)) > limits.max_devices:
            return False
        if limits.deadline_ms is None and limits.memory_bytes is None:
            return True
        route = tables.route(path.devices, path.codecs, 1)
        if limits.deadline_ms is not None and self._costs.latency_ms(tables.stream, route) > limits.deadline_ms:
            return False
        if limits.memory_bytes is None:
            return True
        need = memory_bytes(self._problem, {tables.stream.name: same_route_for_all(route, 1)})
        return all(need.get(name, 0.0) <= room for name, room in zip(tables.nodes, limits.memory_bytes, strict=True))

    def _busy(self, tables: Tables, plans: dict[str, StreamPlan]) -> tuple[float, ...] | None:
        """Return the busy times on the nodes of ``tables`` that earlier streams cause; None if there are none."""
        if not plans:
            return None if len(self._problem.streams) == 1 else (0.0,) * (2 * len(tables.nodes))
        # Plans are only ever added, so the earlier ones are counted already.
        for name, plan in [*plans.items()][self._counted :]:
            for route in plan.routes:
                for resource, time_ms in self._costs.busy_ms(self._costs.stream(name), route).items():
                    self._taken[resource] = self._taken.get(resource, 0.0) + route.jobs * time_ms
        self._counted = len(plans)
        return tuple(self._taken.get((name, work), 0.0) for work in (Work.COMPUTE, Work.SEND) for name in tables.nodes)


def _measure(tables: Tables, objective: Objective, latency: CostMeasure, limits: Limits) -> CostMeasure:
    if objective is Objective.ENERGY:
        return energy_measure(tables)
    if objective is Objective.DEADLINE:
        return off_source_measure(tables, latency, limits.deadline_ms)
    return latency


def _infeasible(problem: Problem, name: str, joint: _Joint, time_budget_s: float) -> Infeasible:
    # Imported here: most problems have a plan.
    from planning.search.infeasibility import diagnose, no_plan, unproved

    assert joint.missing is not None, "only a missing stream has reasons"
    reasons = diagnose(problem, joint.missing, time_budget_s)
    # The proof of the objective's search counts, whatever the search for reasons has proved.
    known = tuple(reason for reason in reasons if reason.constraint is not Constraint.SUPPORT)
    if not joint.proved or not known:
        known = tuple(dict.fromkeys((*reasons, unproved(problem, joint.missing))))
    return no_plan(problem, name, known, time_budget_s)


# Tried by ``auto`` for bursts, under the name of the strategy: the route of largest throughput for all jobs.
BALANCED = ShortestPath(
    trial=Trial(
        turn=15,
        objectives=BURST_OBJECTIVES,
        limits=(BudgetLimit(balanced_pairs, BALANCED_PAIRS_PER_SECOND, least_s=1.0),),
    ),
    route_objective=Objective.THROUGHPUT,
)
