"""Bursts of identical jobs with one cut each: the curves of a stream's servers, and plans along them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from planning.cost.cost_model import CostModel
from planning.problem.plan import Infeasible, Plan, Route, StreamPlan
from planning.problem.problem import Stream
from planning.scheduling.flow_shop import JobTimes, johnson_key
from planning.scheduling.identical_jobs import coarse_bound_ms, virtual_blocks
from planning.scheduling.path_expansion import mix_local_sets, path_cuts
from planning.search.arrays import Array, Index
from planning.search.planning_context import PlanningContext
from planning.search.stream_by_stream import plan_each_stream
from planning.search.two_device_splits import SplitTable, split_table

_WEIGHTS = [(near / 4, sent / 4) for near in range(5) for sent in range(5 - near)]
"""By how much computing and sending at the source count in a bound; the rest is for the server."""

Chooser = Callable[["BurstCurve", int], list[list[int]]]
"""From the cuts to one server and the number of jobs to candidate lists of cuts, one per job."""


@dataclass(frozen=True, slots=True, eq=False)
class BurstCurve:
    """The cuts to one server that keep the constraints.

    Attributes:
        cuts: all routes of the stream with one cut.
        chosen: which of them, by index, ascending in the cut; the last one computes everything at the source.
        jobs: (f, g) of each: the source's computing and its sending, in ms.
    """

    cuts: SplitTable
    chosen: Sequence[int]
    jobs: Sequence[JobTimes]

    def blocks(self) -> list[int]:
        """Return the cuts that Duan & Wu's virtual blocks leave, as places in ``jobs``."""
        return virtual_blocks(self.jobs)

    def uniform_ms(self, jobs: int) -> Array:
        """Return the makespan of every cut if all jobs take it, [cuts]; where no device works twice for a job."""
        cuts, chosen = self.cuts, list(self.chosen)
        stages = [cuts.source_ms, cuts.send_ms, cuts.helper_ms, cuts.return_ms, cuts.sink_ms]
        slowest_ms: Array = np.maximum.reduce(stages)[chosen]
        return np.asarray(cuts.latency_ms[chosen] + (jobs - 1) * slowest_ms)

    def bound_ms(self, jobs: int) -> float:
        """Return a makespan that no mix of these cuts can beat."""
        cuts, chosen = self.cuts, list(self.chosen)
        f, g, far = cuts.source_ms[chosen], cuts.send_ms[chosen], cuts.helper_ms[chosen]
        near, sent = np.array(_WEIGHTS).T[:, :, None]
        shared_ms = float((near * f + sent * g + (1 - near - sent) * far).min(axis=1).max())
        return max(coarse_bound_ms(f, g, jobs), float(cuts.latency_ms[chosen].min()), jobs * shared_ms)

    def route(self, place: int) -> Route:
        """Return the route of a cut."""
        return self.cuts.route(self.chosen[place])


def solve_bursts(context: PlanningContext, name: str, choose: Chooser, time_budget_s: float) -> Plan | Infeasible:
    """Return the burst with the least predicted makespan over all servers, for every stream on its own.

    Algorithm 3's mixes of branching models are candidates too.
    """
    costs, network = context.costs, context.network

    def best(stream: Stream) -> StreamPlan | None:
        return best_burst(costs, split_table(context.problem, stream, network), choose)

    return plan_each_stream(context, name, best, time_budget_s)


def burst_curves(cuts: SplitTable) -> dict[str, BurstCurve]:
    """Return the curve of every server. Running everything locally belongs to every server's curve."""
    found: dict[str, BurstCurve] = cuts.curves
    if found:
        return found
    kept = cuts.kept
    local = np.flatnonzero(kept & (cuts.helper < 0))
    for place, helper in enumerate(cuts.helpers):
        own = np.flatnonzero(kept & (cuts.helper == place))
        if len(own):
            found[helper] = _curve(cuts, np.concatenate([own, local]))
    if not found and len(local):
        found[cuts.stream.source] = _curve(cuts, local)
    return found


def _curve(cuts: SplitTable, chosen: Index) -> BurstCurve:
    jobs = zip(cuts.source_ms[chosen].tolist(), cuts.send_ms[chosen].tolist(), strict=True)
    return BurstCurve(cuts, chosen.tolist(), list(jobs))


def sequence_plan(routes: Sequence[Route]) -> StreamPlan:
    """Return the plan whose jobs take ``routes`` in exactly this order."""
    known: dict[int, int] = {}
    places: dict[Route, int] = {}
    taken: list[int] = []
    for route in routes:
        place = known.get(id(route))
        if place is None:
            place = known[id(route)] = places.setdefault(route, len(places))
        taken.append(place)
    return indexed_plan(list(places), taken)


def indexed_plan(routes: Sequence[Route], taken: Sequence[int]) -> StreamPlan:
    """Return the plan whose jobs take ``routes[taken[0]]``, ``routes[taken[1]]``, ...; the routes are distinct."""
    used = {place: number for number, place in enumerate(dict.fromkeys(taken))}
    numbers = np.array([used[place] for place in taken])
    order = np.empty(len(taken), dtype=np.int64)
    order[np.argsort(numbers, kind="stable")] = np.arange(len(taken))
    counts = np.bincount(numbers).tolist()
    named = tuple(Route(routes[place].stages, count) for place, count in zip(used, counts, strict=True))
    return StreamPlan(named, tuple(order.tolist()))


def best_burst(costs: CostModel, cuts: SplitTable, choose: Chooser) -> StreamPlan | None:
    """Return the burst with the least predicted makespan over all servers, or None if there is none.

    Servers whose bound is above the best are left out.
    """
    stream, branching = cuts.stream, costs.problem.models[cuts.stream.model].edges is not None
    best: tuple[float, StreamPlan] | None = None
    curves = burst_curves(cuts)
    for helper, curve in sorted(curves.items(), key=lambda entry: float(entry[1].uniform_ms(stream.jobs).min())):
        if best is not None and curve.bound_ms(stream.jobs) >= best[0]:
            continue
        mixes = choose(curve, stream.jobs)
        if branching and helper != stream.source:
            mixes = mixes + expanded(curve, helper)
        for chosen in dict.fromkeys(map(tuple, mixes)):
            plan = ordered_burst(curve, chosen)
            total_ms = costs.makespan_ms({stream.name: plan})
            if best is None or total_ms < best[0]:
                best = total_ms, plan
    return None if best is None else best[1]


def ordered_burst(curve: BurstCurve, chosen: Sequence[int]) -> StreamPlan:
    """Return the plan whose jobs have these cuts, in Johnson's order."""
    counts = Counter(chosen)
    places = sorted(counts, key=lambda place: johnson_key(curve.jobs[place]))
    return grouped_plan([(curve.route(place), counts[place]) for place in places])


def grouped_plan(groups: Sequence[tuple[Route, int]]) -> StreamPlan:
    """Return the plan whose jobs take each of these distinct routes so many times in a row."""
    jobs = sum(count for _, count in groups)
    return StreamPlan(tuple(Route(route.stages, count) for route, count in groups), tuple(range(jobs)))


def expanded(curve: BurstCurve, helper: str) -> list[list[int]]:
    """Return algorithm 3's mix along the cuts of the block order; nothing where a constraint forbids one of them."""
    problem, stream = curve.cuts.problem, curve.cuts.stream
    if stream.model not in problem.devices[stream.source].block_ms:
        return []
    by_cut: dict[int, int] = {}
    for place, index in enumerate(curve.chosen):
        by_cut.setdefault(int(curve.cuts.cut[index]), place)
    sets = path_cuts(problem, stream, helper)
    chosen = [sets[index].prefix for index in mix_local_sets(sets, stream.jobs)]
    return [[by_cut[cut] for cut in chosen]] if all(cut in by_cut for cut in chosen) else []
