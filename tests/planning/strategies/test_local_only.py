"""The baseline without a network."""

import random
from collections.abc import Callable

import pytest

from planning.cost.cost_model import CostModel
from planning.problem.plan import Infeasible, Plan
from planning.problem.problem import Problem
from planning.strategies.local_only import LocalOnly
from shared.policy import Objective


def test_everything_runs_at_the_source_or_there_is_no_plan(make_problem: Callable[..., Problem]) -> None:
    rng, outcomes = random.Random("local"), set()
    for _ in range(40):
        problem = make_problem(rng, Objective.LATENCY)
        stream, costs = problem.streams[0], CostModel(problem)
        answer = LocalOnly().solve(problem, seed=0, time_budget_s=0.1)
        able = "m" in problem.devices[stream.source].block_ms
        returns = stream.sink is None or costs.linked(stream.source, stream.sink)
        assert isinstance(answer, Plan) == (able and returns)
        outcomes.add(type(answer))
        if isinstance(answer, Plan):
            (route,) = answer.streams["s"].routes
            assert route.devices == (stream.source,)
            assert answer.cost == pytest.approx(costs.latency_ms(stream, route))
    assert outcomes == {Plan, Infeasible}
