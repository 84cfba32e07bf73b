"""Plans of long bursts after the plan of a short one, in whose place every job stands for many.

In a long burst the resources that limit it are busy nearly all of the time. So the best shares of routes and the best
order hardly depend on the number of jobs, while the work of a search grows with it.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from planning.cost.cost_model import CostModel
from planning.problem.job_order import start_places
from planning.problem.plan import Infeasible, Plan, Route, StreamPlan
from planning.problem.problem import Problem
from planning.scheduling.burst_planning import indexed_plan
from planning.search.result import make_plan
from shared.policy import Objective

# Jobs of the short burst, all streams together. Of 16, 40 and 100 jobs, 40 gave the best plans of 200 to 20,000.
SHORT_JOBS = 40

# The same for throughput, for which the order of jobs does not count: the shares of routes are multiples of 1 / 1000.
SHORT_SHARES = 1000


def shortened(problem: Problem) -> Problem | None:
    """Return the problem with fewer jobs in about the same shares of the streams, at least one of each.

    None where that is more than half of the jobs.
    """
    jobs = sum(stream.jobs for stream in problem.streams)
    most = SHORT_SHARES if problem.policy.objective is Objective.THROUGHPUT else SHORT_JOBS
    streams = tuple(
        replace(stream, jobs=max(1, round(stream.jobs * min(1.0, most / jobs)))) for stream in problem.streams
    )
    short = replace(problem, streams=streams)
    return short if 2 * sum(stream.jobs for stream in streams) <= jobs else None


def scaled(short: Plan, costs: CostModel, strategy: str) -> Plan | Infeasible:
    """Return the plan of ``costs.problem`` in which every job of ``short`` is replaced by several on its route.

    Args:
        short: the plan of the shortened problem.
        costs: predicts the plan.
        strategy: the name of the plan.
    """
    problem = costs.problem
    plans = {stream.name: _scaled(short.streams[stream.name], stream.jobs) for stream in problem.streams}
    return make_plan(problem, strategy, plans, turns=_scaled_turns(short, plans), costs=costs)


def _scaled(plan: StreamPlan, jobs: int) -> StreamPlan:
    routes = [Route(route.stages) for route in plan.routes]
    route_of_job = np.repeat(np.arange(len(routes)), [route.jobs for route in plan.routes])[list(plan.order)]
    return indexed_plan(routes, route_of_job[np.arange(jobs) * len(plan.order) // jobs].tolist())


def _scaled_turns(short: Plan, plans: Mapping[str, StreamPlan]) -> tuple[str, ...]:
    """Return the order in which the streams' jobs start; none if those of ``short`` take turns."""
    if not short.turns:
        return ()
    places = start_places(short.streams, short.turns)
    starts = []
    for name, plan in plans.items():
        # The whole part numbers the job that a job stands for. The fraction grows from the first such job to the last.
        number = np.arange(len(plan.order)) * len(places[name]) / len(plan.order)
        starts.append(places[name][number.astype(np.int64)] + number % 1.0)
    names = np.repeat(np.array([*plans], dtype=object), [len(own) for own in starts])
    return tuple(names[np.argsort(np.concatenate(starts), kind="stable")].tolist())
