"""The baseline that uploads every input."""

import random
from collections.abc import Callable

import pytest

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.search.result import same_route_for_all
from planning.strategies.exhaustive import every_route
from planning.strategies.remote_only import RemoteOnly
from shared.policy import Objective


def test_the_quickest_single_helper_runs_everything(make_problem: Callable[..., Problem]) -> None:
    rng, outcomes = random.Random("remote"), set()
    for _ in range(40):
        problem = make_problem(rng, Objective.LATENCY, constrained=True, most_blocks=3)
        stream, costs = problem.streams[0], CostModel(problem)
        remote = [
            costs.latency_ms(stream, route)
            for route in every_route(problem, stream)
            if len(route.stages) == 1
            and route.stages[0].device != stream.source
            and not violations(costs, {"s": same_route_for_all(route, 1)})
        ]
        answer = RemoteOnly().solve(problem, seed=0, time_budget_s=0.1)
        outcomes.add(type(answer))
        if isinstance(answer, Plan):
            assert answer.predicted.latency_ms == pytest.approx(min(remote))
        else:
            assert not remote
    assert outcomes == {Plan, Infeasible}
