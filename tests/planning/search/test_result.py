import json
from typing import Any

import pytest

from planning.cost.cost_model import CostModel
from planning.files.plan_file import read_plan
from planning.files.problem_file import read_problem
from planning.problem.plan import Plan
from planning.problem.problem import Problem
from planning.search.result import proves
from planning.strategies.registry import strategies
from tests.support.shared_paths import REPOSITORY

TILES = REPOSITORY / "examples" / "tiles"


def _problem(**changed: Any) -> Problem:
    values = json.loads((TILES / "problem.json").read_bytes())
    return read_problem(json.dumps({**values, **changed}).encode())


@pytest.mark.parametrize("strategy", ["shortest_path", "milp"])
def test_only_a_bound_is_proved_where_a_stage_could_be_split(strategy: str) -> None:
    """The plan by hand in examples/tiles takes half as long as the best one of whole stages."""
    problem = _problem()
    answer = strategies()[strategy].solve(problem, seed=0, time_budget_s=1.0)
    assert isinstance(answer, Plan)
    by_hand = read_plan((TILES / "plan.json").read_bytes())
    stream = problem.streams[0]
    assert CostModel(problem).latency_ms(stream, by_hand.streams[stream.name].routes[0]) < answer.cost
    assert not answer.optimal
    assert answer.lower_bound is not None
    assert answer.lower_bound <= CostModel(problem).latency_ms(stream, by_hand.streams[stream.name].routes[0])


def test_a_bound_proves_what_it_reaches() -> None:
    assert proves(2.0, 2.0)
    assert not proves(2.0, 2.1)
    assert not proves(None, 0.0)
