"""Local search over bursts: moves single jobs to other routes and puts the jobs in order again."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import inf

import numpy as np

from planning.cost.cost_model import CostModel
from planning.problem.plan import Route, StreamPlan
from planning.problem.problem import Stream
from planning.scheduling.burst_planning import indexed_plan
from planning.scheduling.flow_shop import in_johnson_order
from planning.search.result import policy_queues

# A cost has to be lower by this share to count as better.
_MIN_GAIN = 1e-9


def ordered_plan(costs: CostModel, stream: Stream, routes: Sequence[Route], taken: Sequence[int]) -> StreamPlan:
    """Return the better of two orders by makespan: Johnson's, and all routes evenly spread.

    Johnson's rule takes the first operation of a route for the first machine and the rest for the second, which is
    exact for two operations. Spreading keeps jobs of one route from queueing for its slowest device.

    Args:
        costs: the cost model.
        stream: the stream of the jobs.
        routes: distinct routes.
        taken: per job, the index of its route.
    """
    if len(taken) == 1:
        return indexed_plan(routes, taken)
    counts = Counter(taken)
    times: dict[int, tuple[float, float]] = {}
    for place in counts:
        own = [step.duration_ms for step in costs.operations(stream, routes[place])]
        times[place] = sum(own[:1]), sum(own[1:])
    johnson = in_johnson_order(taken, times)
    # The i-th of n jobs on a route goes to the fraction (i - 1/2) / n of the burst.
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
    """Return the plans after moving single jobs to other routes as long as that lowers the predicted cost.

    Takes the first move that helps, then begins again.

    Args:
        costs: the cost model.
        plans: the plan to begin with, by stream.
        pools: routes that jobs may take, by stream.
        jobs: bound of the work, in simulated jobs.
    """
    best = dict(plans)
    everyone = sum(len(plan.order) for plan in plans.values())
    left, improving = jobs - everyone, True
    best_cost = _cost(costs, best) if left > 0 else inf
    while improving and left > 0:
        improving = False
        for name, candidate in _neighbours(costs, best, pools):
            # All jobs are simulated once for the cost, and those of the stream twice for its order.
            left -= everyone + 2 * len(best[name].order)
            cost = _cost(costs, candidate)
            if cost < best_cost * (1 - _MIN_GAIN):
                best, best_cost, improving = candidate, cost, True
                break
            if left <= 0:
                break
    return best


def _neighbours(
    costs: CostModel, plans: Mapping[str, StreamPlan], pools: Mapping[str, Sequence[Route]]
) -> Iterator[tuple[str, dict[str, StreamPlan]]]:
    """Yield the stream that changes, and all plans, for every move of one job of a route to another route.

    Jobs of one route are alike, so that moving the first of them stands for moving any.
    """
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
