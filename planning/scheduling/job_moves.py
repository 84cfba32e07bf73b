"""Bursts that get better one job at a time: another route for one of them, and the order anew."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import inf

import numpy as np

from planning.cost.cost_model import CostModel
from planning.problem.plan import Route, StreamPlan
from planning.problem.problem import Stream
from planning.scheduling.burst_planning import indexed_plan
from planning.scheduling.flow_shop import johnson_order
from planning.search.result import policy_queues


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


def moved_jobs(
    costs: CostModel, plans: Mapping[str, StreamPlan], pools: Mapping[str, Sequence[Route]], jobs: int
) -> dict[str, StreamPlan]:
    """Move single jobs to other routes as long as that helps and no more than ``jobs`` jobs have been simulated.

    Args:
        costs: the cost model.
        plans: by stream, to begin with.
        pools: routes that jobs may take, by stream.
        jobs: bound on the work.
    """
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
