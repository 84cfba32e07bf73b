"""Plans of several routes side by side: the best fractional mix over any devices, rounded to whole jobs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from planning.cost.constraints import memory_violations
from planning.cost.cost_model import CostModel
from planning.problem.plan import Infeasible, Plan, Route, StreamPlan
from planning.problem.problem import Problem, Stream
from planning.scheduling.burst_bounds import burst_bound
from planning.scheduling.column_generation import RouteMix, mix_routes, rounds_of
from planning.scheduling.job_moves import moved_jobs, ordered_plan
from planning.search.chain_path import cheapest_path
from planning.search.cost_tables import build_tables, latency_measure, table_size
from planning.search.infeasibility import diagnose, fastest_within, no_plan
from planning.search.planning_context import PlanningContext, context_of
from planning.search.result import make_plan, unsupported
from planning.search.simple_routes import keeps_constraints
from planning.search.stream_by_stream import no_plan_for
from planning.strategies.shortest_path import ShortestPath
from planning.strategies.traits import CostClass, Joint, Traits, Trial
from shared.policy import Objective

# Largest number of transfers in the arrays of a stream.
MAX_TRANSFERS = 4_000_000

# Jobs of changed plans that may be simulated per second of time budget.
JOBS_PER_SECOND = 2_500


@dataclass(frozen=True, slots=True)
class MixedRoutes:
    """Column generation for the mix, largest remainders for whole jobs, Johnson's order, then single jobs change.

    The optimum of the linear programme bounds throughput and makespan from below for every plan, whatever its routes.
    Plans approach it as the burst grows. The time is that of some tens of shortest paths and small linear programmes.
    """

    traits: ClassVar[Traits] = Traits(
        objectives=frozenset({Objective.THROUGHPUT, Objective.MAKESPAN}),
        cost_class=CostClass.PER_STREAM,
        joint=Joint.IN_A_PROBLEM,
    )

    name: str = "mixed_routes"
    description: str = "best mix of routes over any number of devices, for bursts and sustained rate, with a bound"
    citation: str = "this project; column generation: Gilmore & Gomory, Operations Research 9, 1961"
    trial: Trial | None = field(default=Trial(turn=30))

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the best rounding of the mix."""
        context = context_of(problem, context)
        network, costs = context.network, context.costs
        size = max(table_size(network, stream, len(network.able(stream.model))) for stream in problem.streams)
        if size > MAX_TRANSFERS:
            return unsupported(problem, self.name, f"{size} transfers to look at, more than {MAX_TRANSFERS}")
        tables = [build_tables(problem, stream, network) for stream in problem.streams]
        mix = mix_routes(problem, tables, rounds_of(tables, time_budget_s), costs)
        if not mix.routes:
            missing = [entry.stream for entry in tables if cheapest_path(latency_measure(entry)) is None]
            reasons = [reason for stream in missing for reason in diagnose(problem, stream, time_budget_s)]
            return no_plan(problem, self.name, reasons, time_budget_s)
        plans: dict[str, StreamPlan] = {}
        pools: dict[str, list[Route]] = {}
        for stream in problem.streams:
            pool = [
                route for route in mix.routes.get(stream.name, ()) if keeps_constraints(problem, stream, route, costs)
            ]
            # All routes of the mix may break a constraint that the linear programme ignores.
            if not pool and (quickest := fastest_within(problem, stream, time_budget_s)) is not None:
                pool = [quickest]
            if not pool:
                return no_plan_for(problem, stream, self.name, time_budget_s)
            pools[stream.name] = pool
            plans[stream.name] = _rounded(costs, stream, mix, pool)
        plans = moved_jobs(costs, plans, pools, int(JOBS_PER_SECOND * time_budget_s))
        bound = burst_bound(problem, tables, mix)
        # The mix counts memory per route: together its routes may hold more segments than fit.
        if memory_violations(problem, plans):
            single = ShortestPath().solve(problem, seed=seed, time_budget_s=time_budget_s, context=context)
            if isinstance(single, Plan):
                plans = {name: replace(plan, predicted=None) for name, plan in single.streams.items()}
        return make_plan(problem, self.name, plans, lower_bound=bound, costs=costs)


def _rounded(costs: CostModel, stream: Stream, mix: RouteMix, pool: Sequence[Route]) -> StreamPlan:
    """Return the plan that gives each route the whole part of its share, and the rest to the largest remainders."""
    shares = {route: mix.shares[stream.name].get(route, 0.0) for route in pool}
    total = sum(shares.values())
    if total <= 0:
        shares, total = {pool[0]: 1.0}, 1.0
    scaled = {route: share * stream.jobs / total for route, share in shares.items()}
    # A share of 2.9999999 is 3 that the solver has rounded.
    counts = {route: int(share + 1e-9) for route, share in scaled.items()}
    ranked = sorted(scaled, key=lambda route: counts[route] - scaled[route])
    for route in ranked[: stream.jobs - sum(counts.values())]:
        counts[route] += 1
    routes = list(counts)
    return ordered_plan(
        costs, stream, routes, [place for place, route in enumerate(routes) for _ in range(counts[route])]
    )
