"""No plan beats the bound of bursts: all routes for every job, in all orders, are compared."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from planning.cost.cost_model import CostModel
from planning.problem.plan import Route
from planning.problem.problem import Problem, Stream
from planning.scheduling.burst_bounds import burst_bound
from planning.scheduling.burst_planning import sequence_plan
from planning.scheduling.column_generation import mix_routes
from planning.search.cached_costs import CachedCosts
from planning.search.cost_tables import build_tables
from planning.strategies.exhaustive import every_route
from shared.policy import Objective

CASES = 200


def _least(problem: Problem) -> tuple[float, float]:
    """Return the least makespan and the least total delay of all plans."""
    costs, streams = CachedCosts(CostModel(problem)), problem.streams
    jobs = [stream for stream in streams for _ in range(stream.jobs)]
    turns = {tuple(order) for order in _orders([stream.name for stream in jobs])}
    makespan_ms = total_ms = float("inf")
    for routes in product(*(list(every_route(problem, stream)) for stream in jobs)):
        taken: dict[str, list[Route]] = {stream.name: [] for stream in streams}
        for stream, route in zip(jobs, routes, strict=True):
            taken[stream.name].append(route)
        plans = {name: sequence_plan(own) for name, own in taken.items()}
        for order in turns:
            delays_ms = costs.delays_ms(plans, {}, order)
            makespan_ms, total_ms = min(makespan_ms, max(delays_ms)), min(total_ms, sum(delays_ms))
    return makespan_ms, total_ms


def _orders(names: list[str]) -> list[list[str]]:
    if len(set(names)) < 2:
        return [names]
    return [names, names[::-1], [*names[1:], names[0]]]


@pytest.mark.parametrize("several", [False, True])
def test_no_plan_beats_it(make_problem: Callable[..., Problem], several: bool) -> None:
    rng = random.Random(f"bounds {several}")
    gaps: list[float] = []
    while len(gaps) < CASES:
        problem = make_problem(rng, Objective.MAKESPAN, codecs=rng.random() < 0.3, most_blocks=3)
        first = problem.streams[0]
        streams: tuple[Stream, ...] = (replace(first, jobs=rng.randint(1, 2)),)
        if several:
            streams = first, Stream("t", "m", rng.choice(list(problem.devices)))
        problem = replace(problem, streams=streams)
        if any(not 0 < len(list(every_route(problem, stream))) < 40 for stream in streams):
            continue
        tables = [build_tables(problem, stream) for stream in streams]
        mix = mix_routes(problem, tables)
        for objective, least_ms in zip((Objective.MAKESPAN, Objective.TOTAL_DELAY), _least(problem), strict=True):
            own = replace(problem, policy=replace(problem.policy, objective=objective))
            bound_ms = burst_bound(own, tables, mix)
            assert bound_ms is not None
            assert bound_ms <= least_ms * (1 + 1e-9) + 1e-9, own
            gaps.append(least_ms / bound_ms - 1 if bound_ms else 0.0)
    assert np.mean(gaps) < 0.12
