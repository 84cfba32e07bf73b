"""Several routes side by side: the best fractional mix over any number of devices, rounded to whole jobs."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from services.planner.scheduling.burst_bounds import burst_bound
from services.planner.scheduling.curves import indexed_plan
from services.planner.scheduling.johnson import johnson_order
from services.planner.scheduling.route_mix import RouteMix, mix_routes, rounds_of
from services.planner.search.answers import conclude, policy_queues, unsupported
from services.planner.search.candidates import keeps_constraints
from services.planner.search.diagnosis import diagnose, fastest_within, no_split
from services.planner.search.network import Network, network_of
from services.planner.search.tables import build_tables, table_size
from services.planner.strategies.shortest_path import ShortestPath
from shared.plan.constraints import memory_violations
from shared.plan.cost import CostModel
from shared.plan.plan import Infeasible, Plan, Route, StreamPlan
from shared.plan.problem import Problem, Stream

MAX_TRANSFERS = 4_000_000
"""Up to how many transfers the arrays of a stream may hold."""

JOBS_PER_SECOND = 2_500
"""How many jobs of changed plans may be simulated per second of time budget."""


@dataclass(frozen=True, slots=True)
class MixedRoutes:
    """Column generation for the mix, largest remainders for whole jobs, Johnson's order, then single jobs change.

    The linear programme's optimum bounds throughput and makespan from below for every plan, whatever its routes; it is
    approached as the burst grows. The time is that of some tens of shortest paths and small linear programmes.
    """

    name: str = "mixed_routes"
    description: str = "best mix of routes over any number of devices, for bursts and sustained rate, with a bound"
    citation: str = "this project; column generation: Gilmore & Gomory, Operations Research 9, 1961"
    network: Network | None = field(default=None, repr=False, compare=False)

    def solve(self, problem: Problem, *, seed: int, time_budget_s: float) -> Plan | Infeasible:
        """Return the best rounding of the mix."""
        network = network_of(problem, self.network)
        costs = network.costs
        size = max(table_size(network, stream, len(network.able(stream.model))) for stream in problem.streams)
        if size > MAX_TRANSFERS:
            return unsupported(problem, self.name, f"{size} transfers to look at, more than {MAX_TRANSFERS}")
        tables = [build_tables(problem, stream, network) for stream in problem.streams]
        mix = mix_routes(problem, tables, rounds_of(tables, time_budget_s), costs)
        plans: dict[str, StreamPlan] = {}
        pools: dict[str, list[Route]] = {}
        for stream in problem.streams:
            pool = [
                route for route in mix.routes.get(stream.name, ()) if keeps_constraints(problem, stream, route, costs)
            ]
            if not pool and (quickest := fastest_within(problem, stream, time_budget_s)) is not None:
                pool = [quickest]
            if not pool:
                reasons = diagnose(problem, stream, time_budget_s) or (no_split(stream, self.name),)
                return Infeasible(self.name, problem.policy.objective, reasons)
            pools[stream.name] = pool
            plans[stream.name] = _rounded(costs, stream, mix, pool)
        plans = _improved(costs, plans, pools, int(JOBS_PER_SECOND * time_budget_s))
        bound = burst_bound(problem, tables, mix)
        if memory_violations(problem, plans):
            single = ShortestPath(network=network).solve(problem, seed=seed, time_budget_s=time_budget_s)
            if isinstance(single, Plan):
                plans = {name: replace(plan, predicted=None) for name, plan in single.streams.items()}
        return conclude(problem, self.name, plans, lower_bound=bound, costs=costs)


def _rounded(costs: CostModel, stream: Stream, mix: RouteMix, pool: Sequence[Route]) -> StreamPlan:
    """Give each route the whole part of its share, and what is left to the largest remainders."""
    shares = {route: mix.shares[stream.name].get(route, 0.0) for route in pool}
    total = sum(shares.values())
    if total <= 0:
        shares, total = {pool[0]: 1.0}, 1.0
    scaled = {route: share * stream.jobs / total for route, share in shares.items()}
    counts = {route: int(share + 1e-9) for route, share in scaled.items()}
    ranked = sorted(scaled, key=lambda route: counts[route] - scaled[route])
    for route in ranked[: stream.jobs - sum(counts.values())]:
        counts[route] += 1
    routes = list(counts)
    return ordered_plan(
        costs, stream, routes, [place for place, route in enumerate(routes) for _ in range(counts[route])]
    )


def ordered_plan(costs: CostModel, stream: Stream, routes: Sequence[Route], taken: Sequence[int]) -> StreamPlan:
    """Return the better of two orders, by makespan: Johnson's (first operation against the rest), and evenly spread.

    Args:
        costs: the cost model.
        stream: whose jobs they are.
        routes: distinct routes.
        taken: the place of every job's route.
    """
    if len(taken) == 1:
        return indexed_plan(routes, taken)
    counts = Counter(taken)
    times: dict[int, tuple[float, float]] = {}
    for place in counts:
        own = [step.duration_ms for step in costs.operations(stream, routes[place])]
        times[place] = sum(own[:1]), sum(own[1:])
    johnson = [taken[index] for index in johnson_order([times[place] for place in taken])]
    number = np.empty(len(taken))
    for place, count in counts.items():
        number[np.array(johnson) == place] = (np.arange(1, count + 1) - 0.5) / count
    evenly = np.array(johnson)[np.argsort(number, kind="stable")].tolist()
    plans = [indexed_plan(routes, order) for order in ([johnson] if evenly == johnson else [johnson, evenly])]
    if len(plans) == 1:
        return plans[0]
    return min(plans, key=lambda plan: costs.makespan_ms({stream.name: plan}))


def _improved(
    costs: CostModel, plans: Mapping[str, StreamPlan], pools: Mapping[str, Sequence[Route]], jobs: int
) -> dict[str, StreamPlan]:
    """Move single jobs to other routes as long as that helps and no more than ``jobs`` jobs have been simulated."""
    best = dict(plans)
    everyone = sum(len(plan.order) for plan in plans.values())
    left, improving = jobs - everyone, True
    best_cost = _cost(costs, best) if left > 0 else inf
    while improving and left > 0:
        improving = False
        for name, candidate in _neighbours(costs, best, pools):
            left -= everyone + 2 * len(best[name].order)
            cost = _cost(costs, candidate)
            if cost < best_cost * (1 - 1e-9):
                best, best_cost, improving = candidate, cost, True
                break
            if left <= 0:
                break
    return best


def _neighbours(
    costs: CostModel, plans: Mapping[str, StreamPlan], pools: Mapping[str, Sequence[Route]]
) -> Iterator[tuple[str, dict[str, StreamPlan]]]:
    for name, plan in plans.items():
        stream, routes = costs.stream(name), [Route(route.stages) for route in plan.routes]
        distinct = [*routes, *(route for route in pools[name] if route not in routes)]
        repeated = [place for place, route in enumerate(plan.routes) for _ in range(route.jobs)]
        jobs = [repeated[index] for index in plan.order]
        for old in dict.fromkeys(jobs):
            for new in [distinct.index(route) for route in pools[name]]:
                if new != old:
                    changed = list(jobs)
                    changed[jobs.index(old)] = new
                    yield name, {**plans, name: ordered_plan(costs, stream, distinct, changed)}


def _cost(costs: CostModel, plans: Mapping[str, StreamPlan]) -> float:
    problem = costs.problem
    queues = policy_queues(problem, plans)
    return costs.cost(problem.policy.objective, plans, costs.predict(plans, queues), queues)
