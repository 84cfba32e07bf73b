"""Bursts of identical jobs with one cut each: the curve of cuts to every server, and plans along it."""

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

# Weights of the source's computing and sending in a bound, in steps of 1/4; the rest up to 1 is for the server.
_WEIGHTS = [(near / 4, sent / 4) for near in range(5) for sent in range(5 - near)]

# From the cuts to one server and the number of jobs to candidate mixes, each a list of one cut per job.
Chooser = Callable[["BurstCurve", int], list[list[int]]]


@dataclass(frozen=True, slots=True, eq=False)
class BurstCurve:
    """The cuts to one server that keep the constraints. A place is an index into ``chosen`` and ``jobs``.

    Attributes:
        cuts: all routes of the stream with one cut.
        chosen: the routes to this server, by index into ``cuts``, ascending in the cut. The last one computes
            everything at the source, if the source can.
        jobs: (f, g) of each: the source's computing and its sending, in ms.
    """

    cuts: SplitTable
    chosen: Sequence[int]
    jobs: Sequence[JobTimes]

    def blocks(self) -> list[int]:
        """Return the places of the cuts that Duan & Wu's virtual blocking leaves."""
        return virtual_blocks(self.jobs)

    def uniform_ms(self, jobs: int) -> Array:
        """Return the makespan in ms of every cut if all jobs take it, [cuts].

        The first job takes its latency, and each further job ends one time of the slowest stage later. That is exact
        where no device works twice for a job.
        """
        cuts, chosen = self.cuts, list(self.chosen)
        stages = [cuts.source_ms, cuts.send_ms, cuts.helper_ms, cuts.return_ms, cuts.sink_ms]
        slowest_ms: Array = np.maximum.reduce(stages)[chosen]
        return np.asarray(cuts.latency_ms[chosen] + (jobs - 1) * slowest_ms)

    def bound_ms(self, jobs: int) -> float:
        """Return a lower bound in ms of the makespan over all mixes of these cuts.

        It is the largest of three:

        - The bound of the source alone (`coarse_bound_ms`).
        - The least latency.
        - The jobs times the least weighted mean of a cut's computing, sending and server time, for the best of a few
          weights. The busiest of the three is at least as busy as any weighted mean of them.
        """
        cuts, chosen = self.cuts, list(self.chosen)
        f, g, far = cuts.source_ms[chosen], cuts.send_ms[chosen], cuts.helper_ms[chosen]
        near, sent = np.array(_WEIGHTS).T[:, :, None]
        shared_ms = float((near * f + sent * g + (1 - near - sent) * far).min(axis=1).max())
        return max(coarse_bound_ms(f, g, jobs), float(cuts.latency_ms[chosen].min()), jobs * shared_ms)

    def route(self, place: int) -> Route:
        """Return the route of a cut."""
        return self.cuts.route(self.chosen[place])


def solve_bursts(
    context: PlanningContext, name: str, choose: Chooser, time_budget_s: float, servers: int | None = None
) -> Plan | Infeasible:
    """Return the burst with the least predicted makespan over all servers, for every stream on its own.

    For branching models the mixes of Duan & Wu's algorithm 3 are candidates, too.

    Args:
        context: the problem, its devices and links, and its costs.
        name: of the strategy.
        choose: the candidates of one server.
        time_budget_s: for the reasons, if a stream has no plan.
        servers: bound of the number of servers of a stream; None for all.
    """
    costs, network = context.costs, context.network

    def best(stream: Stream) -> StreamPlan | None:
        return best_burst(costs, split_table(context.problem, stream, network), choose, servers)

    return plan_each_stream(context, name, best, time_budget_s)


def burst_curves(cuts: SplitTable) -> dict[str, BurstCurve]:
    """Return the curve of every server. Running everything locally belongs to every server's curve.

    Without any server the only curve is that of the source. The curves are cached in ``cuts``.
    """
    curves: dict[str, BurstCurve] = cuts.curves
    if curves:
        return curves
    feasible = cuts.feasible
    local = np.flatnonzero(feasible & (cuts.helper < 0))
    for place, helper in enumerate(cuts.helpers):
        own = np.flatnonzero(feasible & (cuts.helper == place))
        if len(own):
            # The local route is a cut after the last block, so a mix may keep some jobs at the source.
            curves[helper] = _curve(cuts, np.concatenate([own, local]))
    if not curves and len(local):
        curves[cuts.stream.source] = _curve(cuts, local)
    return curves


def _curve(cuts: SplitTable, chosen: Index) -> BurstCurve:
    jobs = zip(cuts.source_ms[chosen].tolist(), cuts.send_ms[chosen].tolist(), strict=True)
    return BurstCurve(cuts, chosen.tolist(), list(jobs))


def sequence_plan(routes: Sequence[Route]) -> StreamPlan:
    """Return the plan whose jobs take ``routes`` in exactly this order."""
    # Hashing a route takes longer than a look-up by identity, and many jobs share one object.
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
    """Return the plan whose jobs take ``routes[taken[0]]``, ``routes[taken[1]]``, ...; the routes are distinct.

    A plan numbers jobs route by route: ``order[i]`` is the number of the job that starts as the i-th.
    """
    used = {place: number for number, place in enumerate(dict.fromkeys(taken))}
    numbers = np.array([used[place] for place in taken])
    # A stable sort by route numbers the jobs route by route; ``order`` is its inverse.
    order = np.empty(len(taken), dtype=np.int64)
    order[np.argsort(numbers, kind="stable")] = np.arange(len(taken))
    counts = np.bincount(numbers).tolist()
    named = tuple(Route(routes[place].stages, count) for place, count in zip(used, counts, strict=True))
    return StreamPlan(named, tuple(order.tolist()))


def best_burst(costs: CostModel, cuts: SplitTable, choose: Chooser, servers: int | None = None) -> StreamPlan | None:
    """Return the burst with the least predicted makespan over all servers, or None if there is none.

    Servers are tried by the makespan of their best single cut. Those whose bound exceeds the best burst are left out.

    Args:
        costs: the cost model.
        cuts: the routes of the stream with one cut.
        choose: the candidates of one server.
        servers: bound of the number of servers that are tried; None for all.
    """
    stream, branching = cuts.stream, costs.problem.models[cuts.stream.model].edges is not None
    best: tuple[float, StreamPlan] | None = None
    curves = burst_curves(cuts)
    ranked = sorted(curves.items(), key=lambda entry: float(entry[1].uniform_ms(stream.jobs).min()))
    for helper, curve in ranked[:servers]:
        # The bound holds for every mix to this server, so the server cannot improve the best burst.
        if best is not None and curve.bound_ms(stream.jobs) >= best[0]:
            continue
        mixes = choose(curve, stream.jobs)
        if branching and helper != stream.source:
            mixes = mixes + expanded_mixes(curve, helper)
        for chosen in dict.fromkeys(map(tuple, mixes)):
            plan = ordered_burst(curve, chosen)
            total_ms = costs.makespan_ms({stream.name: plan})
            if best is None or total_ms < best[0]:
                best = total_ms, plan
    return None if best is None else best[1]


def ordered_burst(curve: BurstCurve, chosen: Sequence[int]) -> StreamPlan:
    """Return the plan whose jobs have the cuts at these places, in Johnson's order."""
    counts = Counter(chosen)
    # Jobs with one cut have one key, so sorting the distinct cuts sorts all jobs: O(k log k) for k cuts.
    places = sorted(counts, key=lambda place: johnson_key(curve.jobs[place]))
    return grouped_plan([(curve.route(place), counts[place]) for place in places])


def grouped_plan(groups: Sequence[tuple[Route, int]]) -> StreamPlan:
    """Return the plan whose jobs take distinct routes, each given with its number of jobs in a row."""
    jobs = sum(count for _, count in groups)
    return StreamPlan(tuple(Route(route.stages, count) for route, count in groups), tuple(range(jobs)))


def expanded_mixes(curve: BurstCurve, helper: str) -> list[list[int]]:
    """Return the mix of Duan & Wu's algorithm 3, as places; nothing where a constraint forbids one of its cuts.

    Algorithm 3 cuts a branching model into local sets. A route can only cut along the order of blocks, so that each set
    becomes the shortest prefix that contains it.
    """
    problem, stream = curve.cuts.problem, curve.cuts.stream
    if stream.model not in problem.devices[stream.source].block_ms:
        return []
    by_cut: dict[int, int] = {}
    for place, index in enumerate(curve.chosen):
        by_cut.setdefault(int(curve.cuts.cut[index]), place)
    sets = path_cuts(problem, stream, helper)
    chosen = [sets[index].prefix for index in mix_local_sets(sets, stream.jobs)]
    return [[by_cut[cut] for cut in chosen]] if all(cut in by_cut for cut in chosen) else []
