import json
from itertools import product
from typing import Any

import pytest

from planning.cost.cost_model import CostModel
from planning.files.plan_file import read_plan
from planning.files.problem_file import read_problem
from planning.problem.plan import Plan
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.search.result import proves
from planning.strategies.registry import strategies
from shared.policy import Objective, Policy
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


def test_bounds_that_add_up_sendings_do_not_hold_where_they_overlap() -> None:
    blocks = (Block("x", 8000), Block("y", 8000))
    devices = {name: Device({"m": times}) for name, times in {"b": (1.0, 9.0), "c": (9.0, 1.0)}.items()}
    links = (Link("phone", "b", 8.0), Link("phone", "c", 8.0), Link("b", "c", 8.0))
    stream = Stream("s", "m", "phone", jobs=6)
    for separate_links, objective in product((False, True), (Objective.THROUGHPUT, Objective.MAKESPAN)):
        phone = {"phone": Device(separate_links=separate_links)}
        problem = Problem({"m": Model(40_000, blocks)}, {**phone, **devices}, links, (stream,), Policy(objective))
        answer = strategies()["auto"].solve(problem, seed=0, time_budget_s=0.1)
        assert isinstance(answer, Plan)
        # Every request has to leave the phone: 40 ms each over one uplink, half of them over either link.
        least_ms = 20.0 if separate_links else 40.0
        assert answer.lower_bound is not None
        assert answer.lower_bound <= answer.cost
        if objective is Objective.THROUGHPUT:
            assert answer.cost >= least_ms
            assert answer.optimal is not separate_links


def test_a_bound_proves_what_it_reaches() -> None:
    assert proves(2.0, 2.0)
    assert not proves(2.0, 2.1)
    assert not proves(None, 0.0)
