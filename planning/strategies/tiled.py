"""Plans with stages split into tiles of rows: stages, devices and rows together, by search on the exact costs."""

from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import ClassVar, Final

import numpy as np

from planning.cost.constraints import SLACK
from planning.problem.plan import Infeasible, Plan, Route, StreamPlan
from planning.problem.problem import Problem, Stream
from planning.search.arrays import Array, Index
from planning.search.planning_context import PlanningContext, context_of
from planning.search.result import make_plan, same_route_for_all
from planning.search.spatial_group import spatial_group
from planning.search.tiled_bounds import may_split
from planning.strategies.shortest_path import ShortestPath
from planning.strategies.spatial import aofl, deepthings, modnn
from planning.strategies.spatial.aofl import AOFL
from planning.strategies.spatial.coedge import COEDGE
from planning.strategies.spatial.deeperthings import DEEPERTHINGS
from planning.strategies.spatial.deepthings import DEEPTHINGS
from planning.strategies.spatial.mednn import MEDNN
from planning.strategies.spatial.modnn import MODNN
from planning.strategies.spatial.offload import OFFLOAD
from planning.strategies.traits import ROUTE_OBJECTIVES, BudgetLimit, CostClass, Traits, Trial
from planning.tiled_search.batch_costs import BatchCosts
from planning.tiled_search.plan_batch import chain_of, route_of
from planning.tiled_search.tile_tables import MOST_DEVICES, MOST_UNITS, TileTables, tile_tables
from planning.tiled_search.tiled_descent import DescentWork, Score, TiledDescent
from planning.tiled_search.volume_programme import best_volumes
from shared.policy import Objective

# Work of the local search per second of time budget; see `DescentWork`.
WORK_PER_SECOND = 4_000_000

# Pairs of blocks and device of all streams but the first, per second of time budget, up to which ``auto`` tries it: the
# dynamic programme of a stream does not depend on the budget.
PAIRS_PER_SECOND = 40_000

# Number of devices up to which every subset of them is tried; of more, those that come first in some ranking.
ALL_SUBSETS = 4

# Objectives whose cost is the latency of a request, of a single job.
_OF_LATENCY = frozenset({Objective.LATENCY, Objective.MAKESPAN, Objective.TOTAL_DELAY})

# Published rules whose routes the search begins with, too. Their choice of volumes takes long for longer models.
SEEDS: Final = (
    COEDGE,
    MODNN,
    MEDNN,
    DEEPTHINGS,
    DEEPERTHINGS,
    AOFL,
    OFFLOAD,
    *modnn.VARIANTS,
    *deepthings.VARIANTS,
    *aofl.VARIANTS,
)
MOST_SEEDED_BLOCKS: Final = 60

# Scores of plans that break a constraint, which rank behind all others.
_BROKEN = 1e15


@dataclass(frozen=True, slots=True)
class Tiled:
    """Dynamic programme over stage boundaries for every subset of devices, then local search on the simulated costs.

    The local search moves rows between tiles, and moves, joins and divides stages. Devices leave, join or change
    places. It weighs the true times by rows, halo, every message, memory and encodings. It begins with the plans of the
    dynamic programme, those of published rules, and the best route without tiles, which is the answer where nothing is
    better.

    It does not split stages of problems whose objective depends on how jobs of a burst wait for each other, nor for the
    throughput of several streams. Their answers are those of `ShortestPath`.
    """

    traits: ClassVar[Traits] = Traits(objectives=ROUTE_OBJECTIVES, cost_class=CostClass.SEARCH, splits_stages=True)

    name: str = "tiled"
    description: str = "stages split into tiles of rows where that is better, by search on the exact costs"
    citation: str = "this project; for its subject DistrEdge (Hou et al., IPDPS 2022)"
    trial: Trial | None = field(
        default_factory=lambda: Trial(
            turn=35, applies=_is_searched, limits=(BudgetLimit(_further_pairs, PAIRS_PER_SECOND),)
        )
    )

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the best plan with or without tiles."""
        context = context_of(problem, context)
        whole = ShortestPath().solve(problem, seed=seed, time_budget_s=time_budget_s, context=context)
        whole = replace(whole, strategy=self.name)
        if not _is_searched(problem) or (isinstance(whole, Plan) and whole.optimal):
            return whole
        plans: dict[str, StreamPlan] = {}
        for stream in problem.streams:
            known = whole.streams[stream.name].routes[0] if isinstance(whole, Plan) else None
            route = _best_route(context, stream, known, time_budget_s / len(problem.streams)) or known
            if route is None:
                return whole
            plans[stream.name] = same_route_for_all(route, stream.jobs)
        split = make_plan(problem, self.name, plans, lower_bound=0.0, costs=context.costs)
        if isinstance(split, Infeasible):
            return whole
        return split if isinstance(whole, Infeasible) or split.cost < whole.cost else whole


def _is_searched(problem: Problem) -> bool:
    """Return whether the cost of the plan is one of each stream's route alone, and stages may be split."""
    objective = problem.policy.objective
    if objective is Objective.THROUGHPUT:
        alone = len(problem.streams) == 1
    elif objective in ROUTE_OBJECTIVES:
        alone = True
    else:
        alone = objective in _OF_LATENCY and sum(stream.jobs for stream in problem.streams) == 1
    return alone and may_split(problem)


def _further_pairs(problem: Problem) -> int:
    sizes = [min(len(problem.models[stream.model].blocks), MOST_UNITS) ** 2 for stream in problem.streams[1:]]
    return sum(sizes) * min(len(problem.devices), MOST_DEVICES)


def _best_route(context: PlanningContext, stream: Stream, known: Route | None, time_budget_s: float) -> Route | None:
    """Return the best route of one stream, no worse than ``known``; None if none is found."""
    tables = tile_tables(context.problem, stream, context.network)
    if tables is None:
        return None
    order = _row_order(tables)
    starts = best_volumes(tables, order, _weights(tables, order))
    routes = [*([] if known is None else [known]), *_published_routes(context, stream)]
    starts += [chain for route in routes if (chain := chain_of(tables, route)) is not None]
    if not starts:
        return None
    needs_loads = context.problem.policy.objective not in _OF_LATENCY
    work = DescentWork(WORK_PER_SECOND * time_budget_s)
    best = TiledDescent(tables, _score(context.problem, stream), needs_loads, work).improved(starts)
    return route_of(tables, best)


def _published_routes(context: PlanningContext, stream: Stream) -> list[Route]:
    """Return the routes of the published rules for one stream, without those of models for which they take long."""
    if len(context.problem.models[stream.model].blocks) > MOST_SEEDED_BLOCKS:
        return []
    group = spatial_group(context.network, stream)
    return [] if group is None else list(dict.fromkeys(each.route(group) for each in SEEDS))


def _score(problem: Problem, stream: Stream) -> Score:
    """Return the function that ranks plans: by the objective, then by slack; plans that break a constraint last."""
    deadline_ms = problem.deadline_ms(stream)
    most_devices = problem.policy.max_devices
    objective = problem.policy.objective

    def score(costs: BatchCosts) -> Array:
        # Of plans with about the same cost, the one whose tiles end earlier leaves more room for the next move.
        slack_ms = 1e-3 * costs.ready_ms + 1e-6 * costs.latency_ms
        if costs.loads is None:
            value = costs.latency_ms + slack_ms
        elif objective is Objective.THROUGHPUT:
            value = costs.loads.bottleneck_ms + slack_ms
        elif objective is Objective.ENERGY:
            value = costs.loads.energy_j + 1e-6 * slack_ms
        else:
            value = costs.loads.off_source_blocks + 1e-6 * slack_ms
        excess = costs.memory_excess.copy()
        if deadline_ms is not None:
            excess += np.maximum(0.0, costs.latency_ms / deadline_ms - 1)
        if most_devices is not None:
            excess += np.maximum(0, costs.devices - most_devices)
        value = np.where(excess > SLACK, _BROKEN * (1 + excess), value)
        return np.where(np.isfinite(costs.latency_ms), value, np.inf)

    return score


def _row_order(tables: TileTables) -> Index:
    """Return [D] the nodes in the order of their rows: the source, then the nodes that its rows reach soonest."""
    away_ms = tables.latency_ms[tables.source] + tables.byte_ms[tables.source]
    away_ms[tables.source] = -1.0
    return np.argsort(away_ms, kind="stable")


def _weights(tables: TileTables, order: Index) -> Array:
    """Return [R, D] the shares of rows of the nodes of every subset, in the order of their rows."""
    own_ms = (tables.whole_ms.sum(axis=0) + tables.overhead_ms)[order]
    input_bytes = tables.encodings.whole_bytes[0, 0] * tables.heights[0]
    send_ms = tables.latency_ms[tables.source, order] + input_bytes * tables.byte_ms[tables.source, order]
    able = np.flatnonzero(tables.able[order] & np.isfinite(send_ms))
    if len(able) <= ALL_SUBSETS:
        subsets = [subset for size in range(1, len(able) + 1) for subset in combinations(able.tolist(), size)]
    else:
        rankings = (own_ms, send_ms, own_ms + send_ms)
        ranked = [able[np.argsort(ranking[able], kind="stable")].tolist() for ranking in rankings]
        subsets = [tuple(sorted(own[:size])) for own in ranked for size in range(1, len(able) + 1)]
    unique = list(dict.fromkeys(subsets))
    weights = np.zeros((len(unique), len(order)))
    speeds = 1 / np.maximum(own_ms, 1e-9)
    for row, subset in zip(weights, unique, strict=True):
        row[list(subset)] = speeds[list(subset)]
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
